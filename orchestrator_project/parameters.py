"""Reading settings from the environment, so that every mistake is told at once, by name, with its cure.

A `Parameters` reads each value where it is declared and remembers the declaration, so that `.env.example`,
`show_config` and the table in the documentation come from the very lines that the program runs on. The process
environment wins over the settings file; an empty value counts as unset. A bad value is noted and the default read in
its place; nothing may start while `problems` is not empty.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

import environ

Value = TypeVar("Value")
Source = Literal["default", "settings file", "environment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One declared setting: `default` and `value` as a person would write them, `allowed` in words."""

    name: str
    group: str
    kind: str
    default: str
    description: str
    allowed: str
    secret: bool
    source: Source
    value: str = field(repr=False)

    @property
    def shown(self) -> str:
        """The value as it may be shown: a secret only by its length."""
        if not self.secret:
            return self.value
        if self.kind == "URL" and self.value:
            return f"{urlsplit(self.value).scheme}://..."
        return f"set, {len(self.value)} characters" if self.value else "not set"


def read_settings_file(path: Path) -> dict[str, str]:
    """The variables of a `.env` file, empty when there is none; the process environment is left alone."""

    class SettingsFile(environ.Env):  # type: ignore[misc] # django-environ has no types
        ENVIRON: dict[str, str] = {}  # noqa: RUF012 - django-environ's own name for what it reads from and writes to

    if path.is_file():
        SettingsFile.read_env(path)
    return SettingsFile.ENVIRON


class Unfit(ValueError):
    """A value that is refused for a reason of its own: the text goes on after "must be"."""


def _check_ports(netloc: str) -> None:
    """Raises `Unfit` where a port of `[user:password@]host[:port][,host[:port]...]` is not one."""
    for host in netloc.rpartition("@")[2].split(","):
        try:
            _ = urlsplit(f"//{host}").port
        except ValueError:
            raise Unfit("a URL whose port, if it has one, is a number from 0 to 65535") from None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


class Parameters:
    """Typed readers over an environment and a settings file. Each returns the value and records the declaration."""

    def __init__(self, environment: Mapping[str, str], settings_file: Mapping[str, str]) -> None:
        self.environment = environment
        self.settings_file = settings_file
        self.declared: dict[str, Parameter] = {}
        self.problems: list[str] = []
        self._group = ""

    def group(self, title: str) -> None:
        """The declarations that follow belong under this heading."""
        self._group = title

    def text(self, name: str, default: str, description: str, *, choices: tuple[str, ...] = ()) -> str:
        def parse(raw: str) -> str:
            if choices and raw not in choices:
                raise ValueError
            return raw

        allowed = " or ".join(choice or "empty" for choice in choices) or "text"
        return self._read(name, default, description, parse, kind="text", allowed=allowed)

    def secret(self, name: str, description: str) -> str:
        return self._read(name, "", description, str, kind="text", allowed="text", secret=True)

    def key(self, name: str, description: str) -> str:
        """The key of a service, empty for none. It travels in headers and addresses: what cannot stand there, such as a
        line end that was copied along, would fail each request and be quoted in the failure, spelt so that it is not
        recognised as a secret."""

        def parse(raw: str) -> str:
            if not raw.isascii() or not raw.isprintable() or " " in raw:
                raise ValueError
            return raw

        allowed = "the key alone: ASCII without spaces or line ends"
        return self._read(name, "", description, parse, kind="text", allowed=allowed, secret=True)

    def url(self, name: str, default: str, description: str, *, schemes: tuple[str, ...], secret: bool = True) -> str:
        """A URL of one of `schemes`. Secret unless told otherwise, since a password may stand in it."""

        def parse(raw: str) -> str:
            parts = urlsplit(raw)
            if raw and parts.scheme not in schemes:
                raise ValueError
            _check_ports(parts.netloc)
            return raw

        allowed = "a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes)
        return self._read(name, default, description, parse, kind="URL", allowed=allowed, secret=secret)

    def boolean(self, name: str, default: bool, description: str) -> bool:
        def parse(raw: str) -> bool:
            if raw.strip().lower() in {"true", "yes", "on", "1"}:
                return True
            if raw.strip().lower() in {"false", "no", "off", "0"}:
                return False
            raise ValueError

        return self._read(name, str(default).lower(), description, parse, kind="yes or no", allowed="true or false")

    def integer(self, name: str, default: int, description: str, *, at_least: int, at_most: int) -> int:
        def parse(raw: str) -> int:
            number = int(raw)
            if not at_least <= number <= at_most:
                raise ValueError
            return number

        allowed = f"a whole number from {at_least} to {at_most}"
        return self._read(name, str(default), description, parse, kind="whole number", allowed=allowed)

    def decimal(self, name: str, default: str, description: str, *, at_least: str, at_most: str) -> Decimal:
        def parse(raw: str) -> Decimal:
            number = Decimal(raw)
            if not number.is_finite() or not Decimal(at_least) <= number <= Decimal(at_most):
                raise ValueError
            return number

        allowed = f"a number from {at_least} to {at_most}"
        return self._read(name, default, description, parse, kind="number", allowed=allowed)

    def optional_decimal(
        self, name: str, default: str, description: str, *, at_least: str, at_most: str
    ) -> Decimal | None:
        """A number, or the word none."""

        def parse(raw: str) -> Decimal | None:
            if raw.strip().lower() == "none":
                return None
            number = Decimal(raw)
            if not number.is_finite() or not Decimal(at_least) <= number <= Decimal(at_most):
                raise ValueError
            return number

        allowed = f"a number from {at_least} to {at_most}, or none"
        return self._read(name, default, description, parse, kind="number", allowed=allowed)

    def names(
        self, name: str, default: str, description: str, *, pattern: Callable[[str], bool], like: str
    ) -> list[str]:
        """A list: JSON, or separated by commas. Not empty, without repetition, each entry accepted by `pattern`; `like`
        is an example of one."""

        def parse(raw: str) -> list[str]:
            listed = json.loads(raw) if raw.lstrip().startswith("[") else raw.split(",")
            entries = [str(entry).strip() for entry in listed]
            if not entries or len(set(entries)) < len(entries) or not all(map(pattern, entries)):
                raise ValueError
            return entries

        allowed = f"a JSON list, or separated by commas, of names like {like}, each once"
        return self._read(name, default, description, parse, kind="list", allowed=allowed)

    def path(self, name: str, default: Path, description: str, *, shown: str) -> Path:
        """A folder or file, relative to the working folder; `shown` stands for the default in documents."""
        chosen = self._read(
            name, str(default), description, Path, kind="path", allowed="a path", documented_default=shown
        )
        return chosen.expanduser().absolute()

    def optional_path(self, name: str, description: str) -> Path | None:
        """A folder or file, relative to the working folder, or nothing."""
        chosen = self._read(name, "", description, str, kind="path", allowed="a path")
        return Path(chosen).expanduser().absolute() if chosen else None

    def given(self, name: str) -> bool:
        """Whether a person set this parameter, in the environment or the settings file."""
        return bool(self.environment.get(name) or self.settings_file.get(name))

    def declare(
        self,
        name: str,
        default: str,
        description: str,
        *,
        kind: str,
        allowed: str,
        secret: bool = False,
        documented_default: str | None = None,
    ) -> Parameter:
        """Record a parameter and where its value comes from, without judging the value."""
        found: tuple[tuple[str | None, Source], ...] = (
            (self.environment.get(name), "environment"),
            (self.settings_file.get(name), "settings file"),
        )
        value, source = next(((text, place) for text, place in found if text), (default, "default"))
        parameter = Parameter(
            name=name,
            group=self._group,
            kind=kind,
            default=default if documented_default is None else documented_default,
            description=description,
            allowed=allowed,
            secret=secret,
            source=source,
            value=value,
        )
        self.declared[name] = parameter
        return parameter

    def _read(
        self,
        name: str,
        default: str,
        description: str,
        parse: Callable[[str], Value],
        *,
        kind: str,
        allowed: str,
        secret: bool = False,
        documented_default: str | None = None,
    ) -> Value:
        parameter = self.declare(
            name,
            default,
            description,
            kind=kind,
            allowed=allowed,
            secret=secret,
            documented_default=documented_default,
        )
        try:
            return parse(parameter.value)
        except (ValueError, InvalidOperation) as error:
            value = f"{len(parameter.value)} secret characters" if secret else repr(_one_line(parameter.value))
            wanted = error if isinstance(error, Unfit) else allowed
            self.problems.append(f"{name}={value} (from the {parameter.source}): must be {wanted}")
            return parse(default)

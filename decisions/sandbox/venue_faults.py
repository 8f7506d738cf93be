"""The fault plan's file: read with an answer that a person can act on, and read again whenever it has changed."""

import json
from os import stat_result
from pathlib import Path

from pydantic import ValidationError

from orchestrator_project.logs import get_logger

from .venue import FaultPlan
from .venue.faults import FAULT_NAMES

log = get_logger(__name__)


class BadPlan(ValueError):
    """The file holds no fault plan. The text names the file, the key and the cure."""


def read_plan(path: Path) -> FaultPlan:
    """Raises `BadPlan`."""
    try:
        written = json.loads(path.read_text())
    except OSError as error:
        raise BadPlan(f"the fault plan {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadPlan(f"the fault plan {path} is not UTF-8 text: write it as JSON") from error
    except json.JSONDecodeError as error:
        raise BadPlan(f"the fault plan {path} is not JSON: line {error.lineno}: {error.msg}") from error
    try:
        return FaultPlan.model_validate(written)
    except ValidationError as error:
        raise BadPlan(f"the fault plan {path}: {_complaint(error)}") from error


class PlanFile:
    """A plan that may be exchanged while the venue runs. A new one that cannot be understood leaves the old one on."""

    def __init__(self, path: Path) -> None:
        """Raises `BadPlan`."""
        self._path = path
        self._version = _version(path)
        self._plan = read_plan(path)

    def plan(self) -> FaultPlan:
        """The plan as the file has it now."""
        version = _version(self._path)
        if version != self._version:
            self._version = version
            self._read_again()
        return self._plan

    def _read_again(self) -> None:
        try:
            self._plan = read_plan(self._path)
        except BadPlan as error:
            log.error("venue_fault_plan_refused", reason=str(error), action="the former plan stays")
        else:
            log.info("venue_fault_plan_read", quiet=self._plan.quiet)


def _version(path: Path) -> tuple[int, int, int] | None:
    """What changes with the file's content; None while there is no file."""
    try:
        found: stat_result = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _complaint(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"{key} is missing: add it"
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg']}" if key else "a JSON object of faults was expected"
    if len(fault["loc"]) > 1:
        return f"{key} is unknown: remove it, or see what {fault['loc'][0]} takes"
    return f"{key} is unknown: known are seed, {', '.join(FAULT_NAMES)}"

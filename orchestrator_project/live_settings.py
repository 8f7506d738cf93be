"""What settings must not be when real money moves, told as `Parameters` tells its problems."""

from collections.abc import Collection, Iterator, Mapping

LIVE_NEEDS = ("ANTHROPIC_API_KEY", "SECRET_KEY", "FLOWER_BASIC_AUTH")
SHORTEST_KEY = 50
"""Characters, and what Django's own check asks for; `get_random_secret_key` makes as many."""
FEWEST_DIFFERENT = 5
DEFAULT_PREFIX = "django-insecure-"
"""What Django's templates begin a key with that nobody has changed."""
SHORTEST_COMMAND_KEY = 32
SHORTEST_PASSWORD = 12
"""What a person's password has at least too; and by far what the logs need to know it as a secret."""
OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
WHEN_LIVE = "when SANDBOX is false"


def weaknesses(
    *,
    live: bool,
    given: Collection[str],
    secret_key: str,
    debug: bool,
    hosts: Collection[str],
    second_factor: bool,
    https_only: bool,
    command_key: str,
    passwords: Mapping[str, str],
) -> Iterator[str]:
    """Each with its cure. `given` are those of `LIVE_NEEDS` that somebody has set, `passwords` the secrets by name that
    others show us or sign with, empty where there is none."""
    if command_key and len(command_key) < SHORTEST_COMMAND_KEY:
        yield (
            f"COMMAND_HMAC_KEY={len(command_key)} secret characters: must be at least {SHORTEST_COMMAND_KEY}, "
            "such as those of `openssl rand -hex 32`"
        )
    if not live:
        return
    for name in LIVE_NEEDS:
        if name not in given:
            yield f"{name} is not set: it must be {WHEN_LIVE}"
    if "SECRET_KEY" in given and _guessable(secret_key):
        yield (
            f"SECRET_KEY={len(secret_key)} secret characters: must be at least {SHORTEST_KEY} random ones {WHEN_LIVE}, "
            "such as those of `openssl rand -hex 32`"
        )
    for name, password in passwords.items():
        if password and (len(password) < SHORTEST_PASSWORD or len(set(password)) < FEWEST_DIFFERENT):
            yield (
                f"{name}={len(password)} secret characters: must be at least {SHORTEST_PASSWORD} random ones "
                f"{WHEN_LIVE}, such as those of `openssl rand -hex 16`"
            )
    if debug:
        yield f"DEBUG=true: must be false {WHEN_LIVE}, since its pages show settings and data"
    if wide := [host for host in hosts if host == "*" or host.startswith(".")]:
        yield f"ALLOWED_HOSTS={','.join(wide)!r}: must name each host {WHEN_LIVE}"
    if not second_factor:
        yield f"REQUIRE_SECOND_FACTOR=false: must be true {WHEN_LIVE}"
    if not https_only and not OWN_NAMES.issuperset(hosts):
        yield (
            f"HTTPS_ONLY=false: {WHEN_LIVE} only where ALLOWED_HOSTS holds nothing but {', '.join(sorted(OWN_NAMES))}"
        )


def _guessable(key: str) -> bool:
    return len(key) < SHORTEST_KEY or len(set(key)) < FEWEST_DIFFERENT or key.startswith(DEFAULT_PREFIX)

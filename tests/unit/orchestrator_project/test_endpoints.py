import os
import stat
from pathlib import Path

import pytest
import redis

from orchestrator_project.local import endpoints


def test_sockets_stand_in_the_local_folder():
    assert endpoints.socket_dir(Path("/srv/bot/.local")) == Path("/srv/bot/.local/run")


@pytest.mark.parametrize(("length", "beside"), [(0, True), (1, False)])
def test_a_path_too_long_for_a_socket_moves_to_the_temporary_folder(length: int, beside: bool):
    room = endpoints.LONGEST_SOCKET_PATH - len(f"/run/{endpoints.POSTGRES_SOCKET}")
    folder = Path("/" + "d" * (room - 1 + length))
    chosen = endpoints.socket_dir(folder)
    assert (chosen == folder / "run") is beside
    assert len(os.fsencode(chosen / endpoints.POSTGRES_SOCKET)) <= endpoints.LONGEST_SOCKET_PATH


def test_two_long_paths_get_two_folders():
    first, second = (endpoints.socket_dir(Path("/" + letter * 200)) for letter in "ab")
    assert first != second


def test_urls_carry_odd_paths_unharmed():
    folder = Path("/srv/A b%c?d&é")
    database = endpoints.database(endpoints.database_url(folder))
    assert database["HOST"] == str(folder / "run")
    assert (database["NAME"], database["USER"], database["OPTIONS"]) == (
        "orchestrator",
        "orchestrator",
        endpoints.PREPARED,
    )
    with redis.Redis.from_url(endpoints.redis_url(folder)) as client:
        assert client.connection_pool.connection_kwargs["path"] == str(folder / "run/redis.sock")


def test_a_remote_database_is_left_as_it_is():
    database = endpoints.database("postgresql://me:s%40t@db.example:5433/book?sslmode=require")
    assert (database["HOST"], database["PORT"], database["PASSWORD"]) == ("db.example", 5433, "s@t")
    assert database["OPTIONS"] == {**endpoints.PREPARED, "sslmode": "require"}


def test_celery_names_a_unix_socket_its_own_way_and_other_urls_the_same():
    assert endpoints.broker_url("unix:///run/redis.sock?db=3") == "redis+socket:///run/redis.sock?virtual_host=3"
    assert endpoints.broker_url("redis://host:6379/1") == "redis://host:6379/1"


def test_a_private_folder_is_opened_to_nobody_else(tmp_path: Path):
    folder = tmp_path / "a" / "b"
    endpoints.private_dir(folder)
    folder.chmod(0o777)
    assert stat.S_IMODE(endpoints.private_dir(folder).stat().st_mode) == 0o700


def test_a_link_in_place_of_a_private_folder_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError, match="Not a folder of this user"):
        endpoints.private_dir(tmp_path / "link")


@pytest.mark.parametrize(
    ("failed", "ours"),
    [("/srv/bot/.local/logs", True), ("/srv/bot/.local", True), ("/srv", True), ("/srv/bot/manage.py", False)],
)
def test_an_error_in_the_local_folder_or_on_the_way_there_names_it(failed: str, ours: bool):
    sentence = endpoints.unusable(Path("/srv/bot/.local"), OSError(30, "Read-only file system", failed))
    assert (sentence is not None) is ours
    assert not ours or sentence.startswith(
        f"LOCAL_DIR=/srv/bot/.local cannot be used: Read-only file system: {failed}."
    )


def test_an_error_in_the_sockets_folder_elsewhere_names_the_local_folder_too():
    local_dir = Path("/" + "d" * 200)
    error = PermissionError(1, "Not a folder of this user", str(endpoints.socket_dir(local_dir)))
    assert endpoints.unusable(local_dir, error) is not None
    assert endpoints.unusable(local_dir, BrokenPipeError(32, "Broken pipe")) is None


def test_the_secret_key_is_made_once_and_readable_by_us_alone(tmp_path: Path):
    key = endpoints.generated_secret_key(tmp_path)
    assert len(key) >= 50
    assert endpoints.generated_secret_key(tmp_path) == key
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600]

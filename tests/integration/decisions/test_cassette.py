"""Cassettes round real clients of both libraries: what a server said is said again without it."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anthropic
import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.clients import cassette
from decisions.clients.bounded import bind, limits
from tests.integration.decisions.misbehaving import End, MisbehavingServer, Script, http, misbehaving

KEY = "sk-ant-canary-1357924680"
PATH = "/v1/responses"
NOON = "analyze BTC-USDT-SWAP 2026-02-07T12:00Z round 1"
LATER = "analyze BTC-USDT-SWAP 2026-02-07T12:05Z round 1"

both_libraries = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with misbehaving() as running:
        yield running


@contextmanager
def asked_by(name: str) -> Iterator[None]:
    token = cassette.occasion.set(name)
    yield
    cassette.occasion.reset(token)


class Player:
    """A client of either library that records into a folder, or answers from it."""

    def __init__(self, library: ModuleType, folder: Path, server: MisbehavingServer) -> None:
        self.library, self.folder, self.server = library, folder, server
        self.recorder = cassette.recording(bind(library.Client()), folder)
        self.replayer = library.Client(transport=cassette.replaying(library, folder))

    def record(self, body: object = "What now?", name: str = NOON, seconds: float = 20, path: str = PATH) -> Any:
        """The response, or the failure, as the one who asks meets it."""
        with limits(seconds=seconds, most_bytes=1_000_000):
            return self._ask(self.recorder, body, name, path)

    def replay(self, body: object = "What now?", name: str = NOON, path: str = PATH) -> Any:
        return self._ask(self.replayer, body, name, path)

    def _ask(self, client: Any, body: object, name: str, path: str) -> Any:
        with asked_by(name):
            try:
                return client.post(self.server.url + path, json=body, headers={"authorization": f"Bearer {KEY}"})
            except self.library.RequestError as failure:
                return failure

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def player(request: pytest.FixtureRequest, tmp_path: Path, server: MisbehavingServer) -> Player:
    return Player(request.param, tmp_path / "made" / "when missing", server)


def test_what_was_recorded_is_said_again_without_the_server(player: Player) -> None:
    headers = {"request_id": "req_1", "retry_after": "sieben Uhr, spät", "set_cookie": "session=1", "server": "nginx"}
    player.server.will("research", [(http({"text": "Käse", "price": 1.5}, 529, **headers),)])
    recorded = player.record()
    player.server.end()
    replayed = player.replay()
    assert (replayed.status_code, replayed.content) == (recorded.status_code, recorded.content)
    assert replayed.json() == {"text": "Käse", "price": 1.5}
    assert replayed.headers["request-id"] == "req_1"
    assert replayed.headers["retry-after"] == recorded.headers["retry-after"] == "sieben Uhr, spät"
    assert not {"set-cookie", "server"} & set(replayed.headers)
    assert len(player.server.asked) == 1


def test_a_charset_that_cannot_be_read_disturbs_no_replay(player: Player) -> None:
    player.server.will("research", [(http('{"text":"Käse"}', content_type="application/json; charset=undefined"),)])
    assert (player.record().text, player.replay().text) == ('{"text":"Käse"}', '{"text":"Käse"}')


def test_the_file_can_be_read_by_a_person_and_holds_no_key(player: Player) -> None:
    player.server.will("research", [(http('{"text":"Käse"}', request_id="req_1"),)])
    player.record({"model": "m", "input": "BTC?"})
    (file,) = player.files()
    assert file.name.startswith("analyze-BTC-USDT-SWAP-2026-02-07T12-00Z-round-1.")
    assert json.loads(file.read_text()) == {
        "occasion": NOON,
        "request": {"method": "POST", "path": PATH, "body": {"model": "m", "input": "BTC?"}},
        "response": {
            "status": 200,
            "headers": {"content-type": "application/json", "request-id": "req_1"},
            "body": {"text": "Käse"},
        },
    }
    assert '"text": "Käse"' in file.read_text()
    assert KEY not in file.read_text()


def test_secrets_in_the_bodies_are_taken_out_and_the_request_is_still_known(player: Player, settings: Any) -> None:
    settings.SECRETS = (KEY,)
    player.server.will("research", [(http({"error": f"the key {KEY} is refused"}, 401),)])
    player.record({"input": f"my key is {KEY}"})
    (file,) = player.files()
    assert KEY not in file.read_text()
    assert player.replay({"input": f"my key is {KEY}"}).status_code == 401


def test_the_same_text_asked_on_two_occasions_has_two_answers(player: Player) -> None:
    player.server.will("research", [(http({"answer": number}),) for number in (1, 2, 3)])
    for name in (NOON, LATER, f"{NOON} attempt 2"):
        player.record(name=name)
    assert player.replay(name=LATER).json() == {"answer": 2}
    assert player.replay(name=f"{NOON} attempt 2").json() == {"answer": 3}
    assert player.replay(name=NOON).json() == {"answer": 1}


def test_occasions_that_differ_only_in_what_no_file_name_holds_are_kept_apart(player: Player) -> None:
    names = ["look up a/b", "look up a:b", "x" * 200 + "1", "x" * 200 + "2"]
    player.server.will("research", [(http({"answer": name}),) for name in names])
    for name in names:
        player.record(name=name)
    assert [player.replay(name=name).json() for name in names] == [{"answer": name} for name in names]


def test_an_occasion_recorded_again_is_answered_as_the_last_time(player: Player) -> None:
    player.server.will("research", [(http({"answer": 1}),), (http({"answer": 2}),)])
    player.record()
    player.record()
    assert player.replay().json() == {"answer": 2}
    assert len(player.files()) == 1


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ([(End.RESET,)], "ReadError"),
        ([(http()[:10], End.RESET)], "ReadError"),
        ([(b"",)], "RemoteProtocolError"),
        ([(http("cut off", content_length="100"),)], "RemoteProtocolError"),
        ([(End.HANG,)], "ReadTimeout"),
        ([(http("a long wait", content_length="100"), End.HANG)], "ReadTimeout"),
        ([(http("x" * 1_000_001),)], "ReadError"),
        ([(http(b"\x1f\x8b", content_encoding="gzip"),)], "DecodingError"),
        ([], "ConnectError"),
    ],
    ids=["reset", "reset in the head", "closed", "cut off", "hang", "hang in the body", "long", "compressed", "gone"],
)  # fmt: skip
def test_a_failure_without_a_response_is_met_again(player: Player, script: Script, kind: str) -> None:
    player.server.will("research", script)
    recorded = player.record(seconds=0.3)
    assert type(recorded) is getattr(player.library, kind)
    replayed = player.replay()
    assert type(replayed) is type(recorded)
    if kind != "DecodingError":  # which is refused by the client, over the recorder's head
        assert str(replayed) == str(recorded)


def test_nothing_of_the_occasion_is_a_miss_that_says_so(player: Player) -> None:
    player.record()
    with pytest.raises(cassette.Miss, match=f"nothing is recorded of '{LATER}' in {player.folder}"):
        player.replay(name=LATER)
    assert player.server.asked == ["research"]


def test_another_request_on_the_occasion_is_a_miss_that_names_the_file_and_what_differs(player: Player) -> None:
    player.record({"input": "a" * 1000 + "2026-02-07" + "b" * 1000})
    (file,) = player.files()
    with pytest.raises(cassette.Miss) as miss:
        player.replay({"input": "a" * 1000 + "2026-02-08" + "b" * 1000})
    assert f"{NOON!r} was recorded with another request, see {file}: " in str(miss.value)
    assert f"'{'a' * 31}2026-02-07{'b' * 29}' was recorded and '{'a' * 31}2026-02-08{'b' * 29}'" in str(miss.value)


@pytest.mark.parametrize(
    ("asked", "path", "told"),
    [
        ({"input": "BTC?"}, "/proxy", '"/v1/resp'),
        ({"input": "BTC?", "effort": "low"}, PATH, '"effort"'),
        ({}, PATH, "{}"),
        ("BTC?", PATH, '"BTC?"'),
        ({"input": "BTC??"}, PATH, "BTC??"),
    ],
)
def test_whatever_differs_is_shown(player: Player, asked: object, path: str, told: str) -> None:
    player.record({"input": "BTC?"})
    with pytest.raises(cassette.Miss, match="was recorded with another request") as miss:
        player.replay(asked, path=path)
    assert told in str(miss.value)


def test_an_empty_folder_answers_nothing_and_a_client_without_an_occasion_is_told_apart(player: Player) -> None:
    with pytest.raises(cassette.Miss, match="nothing is recorded of '' in"):
        player.replay(name="")
    player.record(name="")
    assert player.replay(name="").status_code == 200
    assert player.server.asked == ["research"]


def test_an_answer_changed_by_hand_is_the_answer(player: Player) -> None:
    player.server.will("research", [(http({"text": "buy"}),)])
    player.record()
    (file,) = player.files()
    file.write_text(file.read_text().replace("buy", "sell"))
    assert player.replay().json() == {"text": "sell"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read as a recorded exchange: Expecting"),
        ("{}", "cannot be read as a recorded exchange: occasion: Field required"),
        ('{"occasion": "x", "request": {"method": "GET", "path": "/", "body": ""}}', "holds neither a response nor"),
        (
            '{"occasion": "x", "request": {"method": "GET", "path": "/", "body": ""}, "error": "Client: no failure"}',
            "holds neither a response nor a failure of httpx",
        ),
    ],
)
def test_a_file_that_is_no_recording_is_a_miss_that_names_it(player: Player, content: str, told: str) -> None:
    player.record()
    (file,) = player.files()
    file.write_text(content)
    with pytest.raises(cassette.Miss, match=told) as miss:
        player.replay()
    assert str(file) in str(miss.value)


def test_an_exchange_that_cannot_be_written_is_logged_and_answered(
    player: Player, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "made").write_text("a file where a folder should be")
    with caplog.at_level(logging.ERROR):
        assert player.record().status_code == 200
    assert f"the exchange '{NOON}' is not recorded" in caplog.text


def test_many_at_once_leave_whole_files_only(player: Player) -> None:
    ready = threading.Barrier(8)

    def record() -> None:
        ready.wait(20)
        for number in range(5):
            player.record(name=f"occasion {number}")

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(player.files()) == 5
    assert all(player.replay(name=f"occasion {number}").status_code == 200 for number in range(5))


@both_libraries
@given(said=st.one_of(st.text(), st.text().map(json.dumps), st.lists(st.floats()).map(json.dumps), st.binary()))
def test_any_body_is_replayed_as_the_client_would_read_it(
    library: ModuleType, tmp_path_factory: pytest.TempPathFactory, said: str | bytes
) -> None:
    folder = tmp_path_factory.mktemp("cassette")
    content = said.encode("utf-8", "replace") if isinstance(said, str) else said
    answering = library.MockTransport(lambda _: library.Response(200, content=content))
    recorded = cassette.recording(library.Client(transport=answering), folder).get("http://model.invalid/")
    replayed = library.Client(transport=cassette.replaying(library, folder)).get("http://model.invalid/")
    assert recorded.content == content
    assert replayed.text == content.decode("utf-8", "replace").replace("\x00", "\ufffd")


@both_libraries
def test_what_goes_through_a_proxy_is_recorded_too(library: ModuleType, tmp_path: Path) -> None:
    proxied = library.MockTransport(lambda _: library.Response(200, text="through the proxy"))
    client = library.Client(mounts={"http://": proxied, "https://": None})
    cassette.recording(client, tmp_path)
    assert client.get("http://model.invalid/v1?beta=true").text == "through the proxy"
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["request"] == {"method": "GET", "path": "/v1?beta=true", "body": ""}


def sdk(http_client: httpx2.Client, url: str) -> Callable[[], str]:
    client = anthropic.Anthropic(api_key=KEY, base_url=url, max_retries=0, http_client=http_client)

    def ask() -> str:
        with asked_by(NOON):
            reply = client.messages.with_raw_response.create(
                model="m",
                max_tokens=9,
                messages=[{"role": "user", "content": "?"}],
                output_config={"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}},
            )
        return reply.text()

    return ask


def test_the_sdk_is_recorded_and_answered_from_the_folder(tmp_path: Path, server: MisbehavingServer) -> None:
    server.will("analyze", [(http({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}, 529),)])
    with pytest.raises(anthropic.OverloadedError):
        sdk(cassette.recording(bind(httpx2.Client()), tmp_path), server.url)()
    server.end()
    with pytest.raises(anthropic.OverloadedError):
        sdk(httpx2.Client(transport=cassette.replaying(httpx2, tmp_path)), server.url)()


def test_the_sdk_tells_a_miss_as_the_cause_and_the_network_is_not_asked(
    tmp_path: Path, server: MisbehavingServer
) -> None:
    with pytest.raises(anthropic.APIConnectionError) as failure:
        sdk(httpx2.Client(transport=cassette.replaying(httpx2, tmp_path)), server.url)()
    assert isinstance(failure.value.__cause__, cassette.Miss)
    assert server.asked == []

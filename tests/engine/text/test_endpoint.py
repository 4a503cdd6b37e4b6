"""`Endpoint` against a real server on this machine that behaves as badly as servers do."""

from __future__ import annotations

import base64
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from limbeck.errors import ConfigError, EndpointError
from limbeck.text.answers import AnswerStore
from limbeck.text.endpoint import Endpoint, EndpointSettings, Picture, Question
from support.endpoint import Server, answers, closes_midway, drips, hangs, says, sends, slams_the_door, status

pytest.importorskip("httpx2", reason="an endpoint needs the extra limbeck[endpoint]")

KEY = "sk-very-secret-0123456789"
ASK = Question("what is this?")


class Pauses(list[float]):
    """Counts the seconds that it was asked to sleep, without sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LIMBECK_API_KEY", KEY)
    return KEY


def endpoint(server: Server, *, store: AnswerStore | None = None, **settings: Any) -> Endpoint:
    quick = {"silence_seconds": 0.3, "answer_seconds": 0.3, "attempts": 3, "model": "small"} | settings
    return Endpoint(EndpointSettings(url=server.url, **quick), store, sleep=Pauses())


def asked(server: Server, **settings: Any) -> str:
    with endpoint(server, **settings) as client:
        return client.answer(ASK)


def refused(server: Server, **settings: Any) -> str:
    with pytest.raises(EndpointError) as raised:
        asked(server, **settings)
    return str(raised.value)


def test_a_question_goes_to_chat_completions_with_model_and_key(key: str) -> None:
    with Server([says(" a hand \n")]) as server:
        assert asked(server) == "a hand"
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {key}"
    assert request.body == {
        "model": "small",
        "messages": [{"role": "user", "content": "what is this?"}],
        "max_tokens": 200,
        "temperature": 0.0,
    }


def test_without_a_key_in_the_environment_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIMBECK_API_KEY", raising=False)
    with Server([says("a hand")]) as server:
        asked(server)
    assert "Authorization" not in server.requests[0].headers


def test_pictures_go_along_as_data_uris_and_the_role_as_a_system_message() -> None:
    with Server([says("a hand")]) as server, endpoint(server) as client:
        client.answer(Question("what is this?", (Picture(b"\x89PNG"),), role="You are brief."))
    system, user = server.requests[0].body["messages"]
    assert system == {"role": "system", "content": "You are brief."}
    head, _, data = user["content"][1]["image_url"]["url"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:image/png;base64", b"\x89PNG")


@pytest.mark.parametrize(
    "trouble",
    [
        status(429),
        status(500),
        status(503, "busy", media_type="text/plain"),
        closes_midway(),
        slams_the_door,
        sends('{"choices": [{"mess'),
        hangs(0.8),
        drips(0.8),
    ],
    ids=["429", "500", "503", "closes midway", "slams the door", "truncated JSON", "hangs", "drips"],
)
def test_trouble_that_may_pass_is_asked_again(trouble: Any) -> None:
    with Server([trouble, says("a hand")]) as server:
        assert asked(server) == "a hand"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("trouble", "found"),
    [
        (status(401), "answered 401.*\n.*API key in the environment variable"),
        (status(404), "answered 404.*\n.*chat/completions is below"),
        (status(400, '{"error": "no images here"}'), "answered 400.*no images here"),
        (status(307, Location="http://127.0.0.1:9/elsewhere"), "answered 307"),
        (sends("<html>Welcome</html>", media_type="text/html"), "web page: <html>Welcome"),
        (sends('{"models": []}'), "another form than a chat completion .choices: Field required.*models"),
        (sends('{"choices": []}'), "another form than a chat completion"),
        (sends('{"choices": [{"message": {"content": [1]}}]}'), "choices.0.message.content"),
        (sends('"just text"'), "another form than a chat completion"),
        (says(None), "is empty"),
        (says("  "), "is empty"),
        (says("a hand that", "length"), "cut at max_tokens=200: a hand that"),
        (sends("x" * 20_000), "larger than answer_nbytes=10000"),
    ],
)
def test_trouble_that_will_not_pass_is_an_error_at_once(trouble: Any, found: str) -> None:
    with Server([trouble]) as server, pytest.raises(EndpointError, match=found):
        asked(server, answer_nbytes=10_000)
    assert len(server.requests) == 1


def test_an_endpoint_that_stays_broken_is_given_up_and_the_last_reason_named() -> None:
    with Server([status(500), status(503, "out of memory")]) as server:
        said = refused(server)
    assert len(server.requests) == 3
    assert "'small' at http://127.0.0.1" in said
    assert "not answered in 3 attempt(s), the last time because it answered 503: out of memory" in said


def test_nothing_that_listens_is_a_clear_error() -> None:
    with Server([says("a hand")]) as server:
        closed = endpoint(server, attempts=2)
    with closed, pytest.raises(EndpointError, match="the connection failed: ConnectError"):
        closed.answer(ASK)


def test_a_silent_endpoint_is_given_up_after_its_seconds() -> None:
    with Server([hangs(5)]) as server:
        start = time.monotonic()
        assert "sent nothing for 0.2 s" in refused(server, silence_seconds=0.2, attempts=1)
        assert time.monotonic() - start < 4


def test_an_answer_that_never_ends_is_given_up_after_its_seconds() -> None:
    with Server([drips(5)]) as server:
        start = time.monotonic()
        assert "took longer than answer_seconds=0.2" in refused(server, answer_seconds=0.2, attempts=1)
        assert time.monotonic() - start < 4


def test_pauses_grow_and_keep_to_their_longest() -> None:
    pauses = Pauses()
    settings = EndpointSettings(
        url="http://127.0.0.1:1/v1", model="m", attempts=6, pause_seconds=1, longest_pause_seconds=5
    )
    with Endpoint(settings, None, sleep=pauses) as client, pytest.raises(EndpointError):
        client.answer(ASK)
    bounds = [1, 2, 4, 5, 5]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))


def test_a_pause_that_is_asked_for_is_kept_to() -> None:
    with Server([status(429, Retry_After="7"), says("a hand")]) as server, endpoint(server) as client:
        client.answer(ASK)
        assert client._sleep == [7]


def test_an_endpoint_that_asks_for_too_long_a_pause_is_given_up() -> None:
    with Server([status(429, Retry_After="3600")]) as server:
        assert "asks to wait 3600 s" in refused(server)
    assert len(server.requests) == 1


def test_answers_come_in_the_order_of_the_questions_whichever_is_ready_first() -> None:
    def slow_first(request: Any) -> str:
        time.sleep(0.1 if request.content == "0" else 0)
        return f"about {request.content}"

    with Server([answers(slow_first)]) as server, endpoint(server) as client:
        assert list(client.answers(Question(str(i)) for i in range(12))) == [f"about {i}" for i in range(12)]


def test_no_more_questions_are_on_their_way_than_allowed() -> None:
    def slow(request: Any) -> str:
        time.sleep(0.02)
        return "a hand"

    with Server([answers(slow)]) as server, endpoint(server, concurrency=3) as client:
        list(client.answers(Question(str(i)) for i in range(20)))
    assert 2 <= server.most_at_once <= 3


def test_questions_are_taken_a_few_ahead_and_never_all() -> None:
    taken = []

    def questions() -> Any:
        for i in range(100):
            taken.append(i)
            yield Question(str(i))

    with Server([says("a hand")]) as server, endpoint(server, concurrency=2) as client:
        made = client.answers(questions())
        next(made)
        made.close()
    assert len(taken) <= 4


def test_after_a_failure_nobody_waits_for_the_others() -> None:
    """Which would be asked again in half a minute."""

    def first_fails(handler: Any, request: Any) -> None:
        behavior = status(400) if request.content == "0" else status(503, Retry_After="30")
        behavior(handler, request)

    settings = {"model": "small", "concurrency": 4}
    with Server([first_fails]) as server, Endpoint(EndpointSettings(url=server.url, **settings), None) as client:
        start = time.monotonic()
        with pytest.raises(EndpointError, match="answered 400"):
            list(client.answers(Question(str(i)) for i in range(4)))
        assert time.monotonic() - start < 15


def test_equal_questions_are_asked_once() -> None:
    with Server([says("a hand")]) as server, endpoint(server) as client:
        assert list(client.answers([ASK] * 9)) == ["a hand"] * 9
    assert len(server.requests) == 1


def test_an_answer_is_remembered_for_the_next_run(tmp_path: Path) -> None:
    with Server([says("a hand"), says("a foot")]) as server:
        assert [asked(server, store=AnswerStore(tmp_path)) for _ in range(2)] == ["a hand"] * 2
    assert len(server.requests) == 1


def test_what_was_answered_before_a_failure_is_remembered(tmp_path: Path) -> None:
    first, second = Question("1"), Question("2")
    with Server([says("one"), status(400)]) as server:
        with endpoint(server, store=AnswerStore(tmp_path), concurrency=1) as client, pytest.raises(EndpointError):
            list(client.answers([first, second]))
        with endpoint(server, store=AnswerStore(tmp_path)) as client:
            assert client.answer(first) == "one"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"question": Question("what else is this?")},
        {"question": Question("what is this?", (Picture(b"1"),))},
        {"question": Question("what is this?", role="You are brief.")},
        {"settings": {"model": "large"}},
        {"settings": {"temperature": 0.5}},
        {"settings": {"max_tokens": 9}},
        {"settings": {"url": "http://127.0.0.1:2/v1"}},
    ],
    ids=str,
)
def test_whatever_decides_an_answer_decides_its_key(other: Any) -> None:
    settings = {"url": "http://127.0.0.1:1/v1", "model": "small"}

    def key_of(question: Question, **changed: Any) -> str:
        with Endpoint(EndpointSettings(**settings | changed), None) as client:
            return client.key(question)

    assert key_of(other.get("question", ASK), **other.get("settings", {})) != key_of(ASK)


def test_patience_and_the_api_key_do_not_decide_the_key(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Endpoint(EndpointSettings(url="http://127.0.0.1:1/v1", model="m"), None) as client:
        first = client.key(ASK)
    monkeypatch.setenv("LIMBECK_API_KEY", "another")
    with Endpoint(EndpointSettings(url="http://127.0.0.1:1/v1/", model="m", attempts=9, concurrency=1), None) as client:
        assert client.key(ASK) == first


def test_the_api_key_is_nowhere_to_be_seen(key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    behaviors = [status(500, f"bad key {KEY}"), says("a hand"), status(401, f"bad key {KEY}")]
    with Server(behaviors) as server, endpoint(server, store=AnswerStore(tmp_path)) as client:
        client.answer(ASK)
        with pytest.raises(EndpointError) as raised:
            client.answer(Question("and this?"))
    stored = "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert "a hand" in stored
    assert KEY not in stored + caplog.text + str(raised.value) + repr(client)
    assert "bad key [key]" in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"url": "localhost:8080/v1"}, "must be as https://host/v1"),
        ({"url": "ftp://host/v1"}, "must be as https://host/v1"),
        ({"url": "https://me:secret@host/v1"}, "has a user, a password"),
        ({"url": "https://host/v1?key=secret"}, "has a user, a password"),
        ({"model": ""}, "name of a model"),
        ({"attempts": 0}, "attempts of an endpoint must be at least 1"),
        ({"silence_seconds": 0.0}, "silence_seconds of an endpoint must be above 0"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings: Any, found: str) -> None:
    with pytest.raises(ConfigError, match=found) as raised:
        EndpointSettings(**{"url": "https://host/v1", "model": "m"} | settings)
    assert "secret@" not in str(raised.value)


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_API_KEY", "sk-1\nX-Evil: 2")
    with pytest.raises(ConfigError, match="characters that no key has") as raised:
        Endpoint(EndpointSettings(url="https://host/v1", model="m"), None)
    assert "sk-1" not in str(raised.value)

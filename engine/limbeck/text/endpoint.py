"""An OpenAI-compatible endpoint: questions, with pictures if it sees, to answers.

    settings = EndpointSettings(url="http://localhost:8080/v1", model="SmolVLM-256M-Instruct")
    with Endpoint(settings, AnswerStore()) as endpoint:
        for answer in endpoint.answers(questions):
            ...

An endpoint is another machine: it may be slow, busy, down, or something else than what was meant. What may pass by
itself is asked again, with growing pauses or those that it asks for; what will not is an error at once. Whatever was
answered is kept on disk, so that a run that is continued or repeated asks nothing twice and gives the same.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from limbeck.backends.key import canonical_json
from limbeck.errors import ConfigError, EndpointError
from limbeck.text.answers import AnswerStore
from limbeck.text.retry import Again, Pauses, with_retries

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""What a server says while it is busy or broken for a moment."""

_SHOWN = 300
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """Where answers come from, and how patiently they are waited for.

    Args:
        url: The address that `/chat/completions` is below, as "https://host/v1".
        model: The model's name there.
        key_variable: The environment variable with the API key; no key is sent where it is not set. The key itself
            is no setting: it is never stored, shown or logged.
        max_tokens: The most tokens of an answer.
        temperature: 0 takes the likeliest word each time.
        silence_seconds: How long it may send nothing.
        answer_seconds: How long a whole answer may take.
        answer_nbytes: The most that an answer may be, with all that surrounds it.
        attempts: How often a question is asked before it is given up.
        pause_seconds: The first pause between attempts; each is twice the one before, less a random part.
        longest_pause_seconds: No pause is longer, and an endpoint that asks for a longer one is given up.
        concurrency: Questions on their way at once.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    url: str
    model: str
    key_variable: str = "LIMBECK_API_KEY"
    max_tokens: int = 200
    temperature: float = 0.0
    silence_seconds: float = 60.0
    answer_seconds: float = 300.0
    answer_nbytes: int = 2**20
    attempts: int = 5
    pause_seconds: float = 1.0
    longest_pause_seconds: float = 60.0
    concurrency: int = 4

    def __post_init__(self) -> None:
        """Reject settings that could only fail later."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"the endpoint's url must be as https://host/v1, got {self.url!r}")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"the endpoint's url on {parts.hostname} has a user, a password, a query or a fragment in it; what is "
                f"secret belongs in the environment variable {self.key_variable}"
            )
        if not self.model:
            raise ConfigError("an endpoint needs the name of a model, got ''")
        for name in ("max_tokens", "answer_nbytes", "attempts", "concurrency"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of an endpoint must be at least 1, got {getattr(self, name)}")
        for name in ("silence_seconds", "answer_seconds", "pause_seconds", "longest_pause_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} of an endpoint must be above 0, got {getattr(self, name)}")

    @property
    def address(self) -> str:
        """Where questions go."""
        return f"{self.url.rstrip('/')}/chat/completions"


@dataclass(frozen=True)
class Picture:
    """An encoded image that goes with a question."""

    content: bytes
    media_type: str = "image/png"


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        text: The question.
        pictures: What it is about, for a model that sees.
        role: What the model is told to be, before the question; "" tells it nothing.
    """

    text: str
    pictures: tuple[Picture, ...] = ()
    role: str = ""


class Endpoint:
    """Asks, for a while and no longer. Safe to use from any number of threads.

    Args:
        settings: Where, and how patiently.
        store: Remembers answers; None remembers nothing.
        sleep: Waits between attempts; None really does, until what was asked is not wanted any more.
    """

    def __init__(
        self, settings: EndpointSettings, store: AnswerStore | None, *, sleep: Callable[[float], object] | None = None
    ) -> None:
        """Make a client; nothing is sent.

        Raises:
            ConfigError: The package httpx2 is not installed, or the key cannot be sent.
        """
        try:
            import httpx2
        except ImportError as error:
            raise ConfigError("an endpoint needs the package httpx2: pip install 'limbeck[endpoint]'") from error
        self._settings = settings
        self._store = store
        self._sleep = sleep
        self._key = _key(settings.key_variable)
        key = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # redirects are not followed: they would carry the key to a host that nobody named
        self._client = httpx2.Client(
            timeout=settings.silence_seconds,
            # not compressed: answer_nbytes would be counted too late
            headers={"Accept-Encoding": "identity", **key},
            limits=httpx2.Limits(max_connections=settings.concurrency),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def answers(self, questions: Iterable[Question]) -> Iterator[str]:
        """One answer a question, in their order; equal questions are asked once. A few are taken ahead, never all.

        Raises:
            EndpointError: One of them was not answered. Those before it are remembered.
        """
        window = 2 * self._settings.concurrency
        asked: dict[str, Future[str]] = {}
        waiting: deque[Future[str]] = deque()
        given_up = threading.Event()
        with ThreadPoolExecutor(self._settings.concurrency) as pool:
            try:
                for question in questions:
                    key = self.key(question)
                    future = asked.get(key) or pool.submit(self._answer, key, question, given_up)
                    asked[key] = future
                    waiting.append(future)
                    if len(waiting) >= window:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                given_up.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def answer(self, question: Question) -> str:
        """The answer to one question.

        Raises:
            EndpointError: There was none.
        """
        return self._answer(self.key(question), question, threading.Event())

    def key(self, question: Question) -> str:
        """SHA-256 of everything that decides an answer; the key and how patiently it is waited for do not."""
        about = {
            "url": self._settings.url.rstrip("/"),
            "model": self._settings.model,
            "role": question.role,
            "text": question.text,
            "pictures": [hashlib.sha256(picture.content).hexdigest() for picture in question.pictures],
            "max_tokens": self._settings.max_tokens,
            "temperature": self._settings.temperature,
        }
        return hashlib.sha256(canonical_json(about).encode()).hexdigest()

    def _answer(self, key: str, question: Question, given_up: threading.Event) -> str:
        known = self._store.get(key) if self._store else None
        if known is not None:
            return known
        settings = self._settings
        pauses = Pauses(first=settings.pause_seconds, longest=settings.longest_pause_seconds)
        text = with_retries(
            lambda: self._asked(question, given_up),
            attempts=settings.attempts,
            pauses=pauses,
            sleep=given_up.wait if self._sleep is None else self._sleep,
            asked=f"a question to model '{settings.model}' at {settings.address}",
        )
        if self._store:
            self._store.put(key, text)
        return text

    def _asked(self, question: Question, given_up: threading.Event) -> str:
        """One attempt."""
        import httpx2

        if given_up.is_set():
            raise self._failed("it is not wanted any more")
        try:
            with self._client.stream("POST", self._settings.address, json=self._body(question)) as response:
                content = self._content(response.iter_bytes())
                status, headers = response.status_code, response.headers
        except httpx2.TimeoutException as error:
            raise Again(f"it sent nothing for {self._settings.silence_seconds:g} s ({type(error).__name__})") from error
        except httpx2.TransportError as error:
            raise Again(f"the connection failed: {type(error).__name__}: {self._shown(str(error))}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise self._failed(f"the exchange failed: {type(error).__name__}: {self._shown(str(error))}") from error
        if status in _AGAIN:
            raise Again(f"it answered {status}: {self._shown(content)}", retry_after=headers.get("retry-after"))
        if status != 200:
            raise self._failed(f"it answered {status}: {self._shown(content)}", _HINTS.get(status, ""))
        return self._text(content, headers.get("content-type", ""))

    def _content(self, pieces: Iterator[bytes]) -> bytes:
        """All of an answer, unless it is too long or takes too long."""
        settings, start = self._settings, time.monotonic()
        content = bytearray()
        for piece in pieces:
            content += piece
            if len(content) > settings.answer_nbytes:
                raise self._failed(f"its answer is larger than answer_nbytes={settings.answer_nbytes}")
            if time.monotonic() - start > settings.answer_seconds:
                raise Again(f"its answer took longer than answer_seconds={settings.answer_seconds:g}")
        return bytes(content)

    def _text(self, content: bytes, media_type: str) -> str:
        if "html" in media_type:
            raise self._failed(f"it answered with a web page: {self._shown(content)}", _WRONG_PLACE)
        try:
            completion = _Completion.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid":  # cut off on its way, most likely
                raise Again(f"its answer is no JSON: {self._shown(content)}") from error
            place = ".".join(str(part) for part in first["loc"])
            said = f"its answer has another form than a chat completion ({place}: {first['msg']}): "
            raise self._failed(said + self._shown(content), _WRONG_PLACE) from error
        choice = completion.choices[0]
        text = (choice.message.content or "").strip()
        if choice.finish_reason == "length":
            raise self._failed(
                f"its answer was cut at max_tokens={self._settings.max_tokens}: {self._shown(text)}",
                "raise max_tokens; a model that thinks aloud needs thousands",
            )
        if not text:
            raise self._failed(f"its answer is empty (finish_reason {choice.finish_reason!r})", "try another model")
        return text

    def _body(self, question: Question) -> Mapping[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
        for picture in question.pictures:
            uri = f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"
            content.append({"type": "image_url", "image_url": {"url": uri}})
        told = [{"role": "system", "content": question.role}] if question.role else []
        # plain text where there is no picture: some servers take nothing else
        said = content if question.pictures else question.text
        return {
            "model": self._settings.model,
            "messages": [*told, {"role": "user", "content": said}],
            "max_tokens": self._settings.max_tokens,
            "temperature": self._settings.temperature,
        }

    def _failed(self, found: str, hint: str = "") -> EndpointError:
        asked = f"model '{self._settings.model}' at {self._settings.address} gave no answer: {found}"
        return EndpointError(f"{asked}\n{hint}" if hint else asked)

    def _shown(self, content: bytes | str) -> str:
        """The beginning of what came, on one line, without the key, which some servers repeat."""
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        if self._key:
            text = text.replace(self._key, "[key]")
        line = " ".join("".join(c if c.isprintable() else " " for c in text[: 2 * _SHOWN]).split())
        return f"{line[:_SHOWN]}…" if len(line) > _SHOWN else line or "nothing"


_WRONG_PLACE = "is url the address that /chat/completions is below, as https://host/v1?"
_HINTS: Mapping[int, str] = {
    401: "set the API key in the environment variable that key_variable names",
    403: "the API key in the environment variable that key_variable names may not use this model",
    404: f"{_WRONG_PLACE} Does it have this model?",
    413: "its pictures are too large for it; make image_size smaller",
}


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """As much of a chat completion as is used; servers add more."""

    choices: list[_Choice] = Field(min_length=1)


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the API key in {variable} has characters that no key has; set it again, without quotes")
    return key

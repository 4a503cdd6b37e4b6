"""A language model in this process: a GGUF file run by llama.cpp, on the CPU.

model = LocalModel("SmolLM2-135M-Instruct.Q4_1.gguf")
(answer,) = model.answers([Question("Say hello.")])
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from limbeck.errors import ConfigError, EndpointError
from limbeck.text.endpoint import Question

_MAGIC = b"GGUF"
_CONTEXT_TOKENS = 2048


class LocalModel:
    """Answers questions, always with the likeliest word, so that a question has one answer.

    Args:
        path: A GGUF file of a model that was trained to be asked.
        max_tokens: The most tokens of an answer; what is longer is cut.
    """

    def __init__(self, path: str | Path, *, max_tokens: int = 200) -> None:
        """Load the model, or take the one that this process has loaded.

        Raises:
            ConfigError: The package xllamacpp is not installed, or the file is no GGUF file that it can load.
        """
        self._path = Path(path)
        self._max_tokens = max_tokens
        self._server = loaded(self._path)

    def answers(self, questions: Iterable[Question]) -> Iterator[str]:
        """One answer a question, in their order.

        Raises:
            ConfigError: A question with pictures: only text is understood here.
            EndpointError: The model gave no answer.
        """
        for question in questions:
            if question.pictures:
                raise ConfigError(f"{self._path.name} reads text alone; captions of pictures come from an endpoint")
            yield self._answer(question)

    def _answer(self, question: Question) -> str:
        told = [{"role": "system", "content": question.role}] if question.role else []
        completion = self._server.handle_chat_completions(
            {
                "messages": [*told, {"role": "user", "content": question.text}],
                "max_tokens": self._max_tokens,
                "temperature": 0.0,
                # with it, what was asked before changes the sums' order, and so sometimes a word
                "cache_prompt": False,
            }
        )
        try:
            text = completion["choices"][0]["message"]["content"].strip()
        except (KeyError, IndexError, TypeError, AttributeError):
            text = ""
        if not text:
            raise EndpointError(f"{self._path.name} gave no answer to {question.text[:80]!r}, but {completion!r:.300}")
        return str(text)


@lru_cache(maxsize=1)
def loaded(path: Path) -> Any:
    """The model in `path`, loaded once a process: it takes seconds, and memory that llama.cpp keeps.

    Raises:
        ConfigError: As `LocalModel`.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(_MAGIC))
    except OSError as error:
        raise ConfigError(f"the language model {path} cannot be read: {error.strerror or error}") from error
    if magic != _MAGIC:
        raise ConfigError(f"{path} is no GGUF file: it begins with {magic!r}; give a model that llama.cpp reads")
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError("a local language model needs the package xllamacpp: pip install 'limbeck[llm]'") from error
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = _CONTEXT_TOKENS
    params.n_parallel = 1
    params.n_gpu_layers = 0
    # threads that wait for a core hold all others up: no more than this process may use
    params.cpuparams.n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    params.warmup = False
    params.verbosity = -1
    try:
        return xllamacpp.Server(params)
    except Exception as error:  # the library raises what the C++ code throws
        raise ConfigError(f"llama.cpp cannot load {path}: {error}") from error

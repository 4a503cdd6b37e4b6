from __future__ import annotations

import pytest

from limbeck.backends.out_of_memory import runtime_error
from limbeck.errors import EngineError, MemoryLimitError


@pytest.mark.parametrize(
    "words",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc",
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 1073741824",
        "Available memory of 1024 is smaller than requested bytes of 2048",
        "CUDA failure 2: out of memory ; GPU=0 ; cudaMalloc",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "could not create a memory object",
    ],
)
def test_a_runtimes_words_for_too_little_memory_are_known(words):
    assert isinstance(runtime_error("it failed", RuntimeError(words)), MemoryLimitError)


def test_pythons_own_is_known_without_words():
    assert isinstance(runtime_error("it failed", MemoryError()), MemoryLimitError)


@pytest.mark.parametrize("words", ["Protobuf parsing failed.", "indices element out of data bounds, idx=7"])
def test_other_failures_are_no_memory_limits(words):
    assert type(runtime_error("it failed", RuntimeError(words))) is EngineError


def test_what_failed_and_the_runtimes_words_are_both_said():
    error = runtime_error("ONNX Runtime failed in model.onnx", RuntimeError("no such kernel"))
    assert str(error) == "ONNX Runtime failed in model.onnx: no such kernel"

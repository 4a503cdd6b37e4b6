from __future__ import annotations

import onnxruntime
import pytest

from limbeck.backends.onnxruntime import CPU, OnnxRuntime, refuse_fallback
from limbeck.engine import compile
from limbeck.errors import BackendUnavailableError
from support.graphs import linear

CUDA = "CUDAExecutionProvider"


@pytest.mark.torch
def test_an_unknown_provider_is_refused_with_those_there_are(tmp_path):
    pytest.importorskip("onnx")
    message = f"has no provider NoSuchProvider; it has .*{CPU}"
    with pytest.raises(BackendUnavailableError, match=message):
        compile(linear(tmp_path).graph, OnnxRuntime(providers=["NoSuchProvider", CPU]))


@pytest.mark.parametrize("asked", [[CUDA], [CUDA, CPU], [CPU, CUDA]])
def test_falling_back_to_another_provider_is_refused(asked):
    with pytest.raises(BackendUnavailableError, match=f"asked for {CUDA}, but ONNX Runtime could only use {CPU}"):
        refuse_fallback(asked, [CPU])


def test_a_provider_that_the_runtime_adds_is_no_fallback():
    refuse_fallback([CUDA], [CUDA, CPU])


@pytest.mark.parametrize("other", [{"threads": 2}, {"threads": None}, {"providers": [CUDA, CPU]}])
def test_a_setting_is_in_the_fingerprint(other):
    assert OnnxRuntime(**{"threads": 1} | other).fingerprint() != OnnxRuntime(threads=1).fingerprint()


def test_the_version_is_in_the_fingerprint():
    assert onnxruntime.__version__ in OnnxRuntime().fingerprint()

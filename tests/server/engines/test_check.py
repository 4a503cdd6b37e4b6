"""What is refused of a call's tensors without looking at an element."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.backends.base import TensorSpec
from limbeck_server.engines.arrays import to_array
from limbeck_server.engines.check import num_rows, violations
from limbeck_server.engines.signature import Signature
from limbeck_server.rpc import worker_pb2
from support.call_workers import tensor_of, texts_of

SIGNATURE = Signature(
    "trunk",
    (TensorSpec("latents", "float32", ("batch", 2, 3)), TensorSpec("prompts", "bytes", ("batch",))),
    (TensorSpec("noise", "float32", ("batch", 2, 3)),),
)
LATENTS = tensor_of("latents", np.zeros((2, 2, 3), np.float32))
PROMPTS = texts_of("prompts", ["a", ""])


def test_what_fits_is_let_pass() -> None:
    assert violations(SIGNATURE, [PROMPTS, LATENTS]) == []
    assert num_rows([LATENTS, PROMPTS]) == 2


@pytest.mark.parametrize(
    ("inputs", "field", "says"),
    [
        ([LATENTS], "prompts", "is missing; the call takes prompts: bytes (batch)"),
        ([LATENTS, PROMPTS, tensor_of("times", np.zeros(2))], "times", "is unknown; the call takes latents"),
        ([LATENTS, LATENTS, PROMPTS], "inputs", "two of them have the same name"),
        ([tensor_of("latents", np.zeros((2, 2, 3))), PROMPTS], "latents.dtype", "is float64"),
        ([worker_pb2.Tensor(name="latents", shape=[2, 2, 3]), PROMPTS], "latents.dtype", "is not said"),
        ([tensor_of("latents", np.zeros((2, 6), np.float32)), PROMPTS], "latents.shape", "is [2, 6]; the call takes"),
        ([tensor_of("latents", np.zeros((2, 3, 3), np.float32)), PROMPTS], "latents.shape", "is [2, 3, 3]"),
        ([LATENTS, texts_of("prompts", [])], "prompts.shape", "at least one of each"),
        ([LATENTS, texts_of("prompts", ["a"])], "prompts.shape", "where batch is 1; in latents it is 2"),
    ],
)
def test_what_does_not_fit_is_named(inputs: list[worker_pb2.Tensor], field: str, says: str) -> None:
    found = dict(violations(SIGNATURE, inputs))
    assert says in found[field]


def test_a_negative_size_is_refused() -> None:
    wrong = worker_pb2.Tensor(name="latents", dtype="float32", shape=[-2, -2, 3], data=bytes(48))
    assert dict(violations(SIGNATURE, [wrong, PROMPTS])).keys() == {"latents.shape"}


def test_bytes_that_are_missing_are_counted() -> None:
    wrong = worker_pb2.Tensor(name="latents", dtype="float32", shape=[2, 2, 3], data=bytes(47))
    assert violations(SIGNATURE, [wrong, PROMPTS]) == [("latents.data", "has 47 bytes; float32 [2, 2, 3] has 48")]


def test_texts_that_are_missing_are_counted() -> None:
    wrong = worker_pb2.Tensor(name="prompts", dtype="bytes", shape=[2], data=texts_of("prompts", ["a"]).data)
    assert violations(SIGNATURE, [LATENTS, wrong]) == [("prompts.data", "holds 1 texts; its shape has 2")]


def test_bytes_that_are_no_texts_are_refused() -> None:
    wrong = worker_pb2.Tensor(name="prompts", dtype="bytes", shape=[2], data=b"ab")
    ((field, what),) = violations(SIGNATURE, [LATENTS, wrong])
    assert field == "prompts.data"
    assert "holds no texts" in what


tensors = st.builds(
    worker_pb2.Tensor,
    name=st.sampled_from(["latents", "prompts", "times"]),
    dtype=st.sampled_from(["float32", "bytes", "int64", "", "object"]),
    shape=st.lists(st.one_of(st.integers(-1, 3), st.integers(-(2**63), 2**63 - 1)), max_size=4),
    data=st.one_of(st.binary(max_size=30), st.sampled_from([bytes(24), bytes(48), PROMPTS.data])),
)


@given(st.lists(tensors, max_size=3))
@example([LATENTS, PROMPTS])
def test_whatever_is_sent_is_refused_or_can_be_read(inputs: list[worker_pb2.Tensor]) -> None:
    if violations(SIGNATURE, inputs):
        return
    arrays = {tensor.name: to_array(tensor) for tensor in inputs}
    assert arrays["latents"].shape == (num_rows(inputs), 2, 3)
    assert arrays["prompts"].shape == (num_rows(inputs),)

"""Whether tensors fit a signature: names, element types, shapes and lengths, without looking at an element.

The front asks before a call travels, the worker before it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from limbeck.backends.base import TensorSpec
from limbeck_server.engines.signature import ITEM_NBYTES, TEXT, Signature
from limbeck_server.engines.texts import split_texts
from limbeck_server.rpc import worker_pb2

Violation = tuple[str, str]
"""What is wrong: a tensor's name, perhaps with its part (`latents.shape`), and for people what would work."""


def violations(signature: Signature, tensors: Sequence[worker_pb2.Tensor]) -> list[Violation]:
    """Everything that is wrong with the tensors of a call; nothing if it can be run."""
    given = {tensor.name: tensor for tensor in tensors}
    wanted = {spec.name: spec for spec in signature.inputs}
    found = [(name, f"is missing; the call takes {spec}") for name, spec in wanted.items() if name not in given]
    takes = "; ".join(map(str, signature.inputs))
    found += [(name, f"is unknown; the call takes {takes}") for name in given if name not in wanted]
    if len(given) < len(tensors):
        found.append(("inputs", "two of them have the same name"))
    sizes: dict[str, tuple[int, str]] = {}
    for name, spec in wanted.items():
        if name in given:
            found += _of_tensor(spec, given[name], sizes)
    return sorted(found)


def num_rows(tensors: Sequence[worker_pb2.Tensor]) -> int:
    """The samples of a call whose tensors fit a batched signature."""
    return int(tensors[0].shape[0])


def _of_tensor(spec: TensorSpec, tensor: worker_pb2.Tensor, sizes: dict[str, tuple[int, str]]) -> Iterator[Violation]:
    if tensor.dtype != spec.dtype:
        yield f"{spec.name}.dtype", f"is {tensor.dtype or 'not said'}; the call takes {spec}"
        return
    if wrong := _wrong_shape(spec, tensor, sizes):
        yield f"{spec.name}.shape", wrong
        return
    count = prod(tensor.shape)
    if spec.dtype == TEXT:
        if wrong := _wrong_texts(tensor.data, count):
            yield f"{spec.name}.data", wrong
    elif len(tensor.data) != count * ITEM_NBYTES[spec.dtype]:
        needs = count * ITEM_NBYTES[spec.dtype]
        yield f"{spec.name}.data", f"has {len(tensor.data)} bytes; {spec.dtype} {list(tensor.shape)} has {needs}"


def _wrong_shape(spec: TensorSpec, tensor: worker_pb2.Tensor, sizes: dict[str, tuple[int, str]]) -> str:
    shape = list(tensor.shape)
    if len(shape) != len(spec.shape) or any(size < 1 for size in shape):
        return f"is {shape}; the call takes {spec}, with at least one of each"
    for size, wanted in zip(shape, spec.shape, strict=True):
        if isinstance(wanted, int):
            if size != wanted:
                return f"is {shape}; the call takes {spec}"
        elif (known := sizes.setdefault(wanted, (size, spec.name)))[0] != size:
            return f"is {shape}, where {wanted} is {size}; in {known[1]} it is {known[0]}"
    return ""


def _wrong_texts(data: bytes, wanted: int) -> str:
    try:
        found = sum(1 for _ in split_texts(data))
    except ValueError as error:
        return f"holds no texts, each after its length as four bytes: {error}"
    return f"holds {found} texts; its shape has {wanted}" if found != wanted else ""

"""The Open Inference Protocol's tensors as the workers' stream has them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from limbeck_server.engines.signature import TEXT
from limbeck_server.engines.texts import join_texts
from limbeck_server.rpc import grpc_service_pb2 as kserve
from limbeck_server.rpc import worker_pb2
from limbeck_server.wire.refusal import RequestError, Violation

DATATYPES: Mapping[str, str] = MappingProxyType(
    {
        "bool": "BOOL",
        "uint8": "UINT8",
        "uint16": "UINT16",
        "uint32": "UINT32",
        "uint64": "UINT64",
        "int8": "INT8",
        "int16": "INT16",
        "int32": "INT32",
        "int64": "INT64",
        "float16": "FP16",
        "float32": "FP32",
        "float64": "FP64",
        TEXT: "BYTES",
    }
)
"""The protocol's word for each element type."""

CONFIG_TYPES: Mapping[str, kserve.DataType] = MappingProxyType(
    {
        dtype: kserve.DataType.Value("TYPE_STRING" if word == "BYTES" else f"TYPE_{word}")
        for dtype, word in DATATYPES.items()
    }
)
"""The number that a model's configuration has for each element type."""

_DTYPES = {word: dtype for dtype, word in DATATYPES.items()}

# the field of InferTensorContents that has a type's elements, and how one of them is packed
_CONTENTS = {
    "BOOL": ("bool_contents", "?"),
    "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"),
    "UINT32": ("uint_contents", "I"),
    "UINT64": ("uint64_contents", "Q"),
    "INT8": ("int_contents", "b"),
    "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"),
    "INT64": ("int64_contents", "q"),
    "FP32": ("fp32_contents", "f"),
    "FP64": ("fp64_contents", "d"),
}


def inputs_of(request: kserve.ModelInferRequest) -> list[worker_pb2.Tensor]:
    """The inputs of a request, from raw or from typed contents.

    Raises:
        RequestError: They are in neither, or in both, or lie in shared memory.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(
            Violation("raw_input_contents", f"has {len(raw)} entries; {len(request.inputs)} inputs need one each")
        )
    return [
        worker_pb2.Tensor(
            name=tensor.name,
            dtype=_DTYPES.get(tensor.datatype, tensor.datatype),
            shape=tensor.shape,
            data=_data(f"inputs[{index}]", tensor, raw[index] if raw else None),
        )
        for index, tensor in enumerate(request.inputs)
    ]


def _data(field: str, tensor: kserve.ModelInferRequest.InferInputTensor, raw: bytes | None) -> bytes:
    if shared := [name for name in tensor.parameters if name.startswith("shared_memory")]:
        raise RequestError(Violation(f"{field}.parameters", f"{shared[0]} is not offered; send the elements"))
    if raw is None:
        return _packed(field, tensor)
    if tensor.HasField("contents"):
        raise RequestError(Violation(f"{field}.contents", "is given beside raw_input_contents; give one of them"))
    return raw


def _packed(field: str, tensor: kserve.ModelInferRequest.InferInputTensor) -> bytes:
    if tensor.datatype == "BYTES":
        return join_texts(tensor.contents.bytes_contents)
    if tensor.datatype not in _CONTENTS:
        words = ", ".join([*_CONTENTS, "BYTES"])
        raise RequestError(
            Violation(f"{field}.datatype", f"is '{tensor.datatype:.20}'; contents can have {words}, the others are raw")
        )
    name, code = _CONTENTS[tensor.datatype]
    values = getattr(tensor.contents, name)
    try:
        return struct.pack(f"<{len(values)}{code}", *values)
    except struct.error as error:
        raise RequestError(Violation(f"{field}.contents", f"does not fit {tensor.datatype}: {error}")) from error

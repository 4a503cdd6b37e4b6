"""The backends that a job may ask for, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from limbeck.backends.base import Backend
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.backends.openvino import OpenVino
from limbeck.backends.reference import Reference
from limbeck.backends.settings import configured
from limbeck.backends.tensorrt import TensorRt, TensorRtRtx
from limbeck.build.feeds import symbolic_sizes
from limbeck.pack import Pack

BackendName = Literal["onnxruntime", "openvino", "tensorrt", "tensorrt-rtx", "reference"]

BACKENDS: Mapping[BackendName, type[Backend]] = {
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "tensorrt": TensorRt,
    "tensorrt-rtx": TensorRtRtx,
    "reference": Reference,
}

BATCHES = (1, 8, 64)
"""The samples that TensorRT's engines take in a call, unless profiles are given: fewest, those it chooses kernels for,
most."""


def named_backend(name: BackendName, settings: Mapping[str, Any], *, pack: str) -> Backend:
    """A backend by its name.

    Args:
        name: Which.
        settings: Its constructor's arguments by name; text is converted.
        pack: For TensorRT, whose engines are built for certain sizes: those of this pack, unless profiles are given.

    Raises:
        ConfigError: A setting that the backend does not have, or a value that does not fit.
        PackError: TensorRT is to take its sizes from a pack that is not there.
    """
    kind = BACKENDS[name]
    given = dict(settings)
    if issubclass(kind, TensorRt) and "profiles" not in given:
        given["profiles"] = [{**symbolic_sizes(Pack.open(pack).manifest, batch=BATCHES[1]), "batch": BATCHES}]
    return configured(kind, given)

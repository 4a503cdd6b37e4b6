"""Graphs to quantize, and two independent runtimes to run what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from limbeck.arrays import Array


def with_external_weights(path: Path, out: Path) -> Path:
    """The same graph with every weight in a file beside it."""
    import onnx

    onnx.save(onnx.load(path), out, save_as_external_data=True, location=f"{out.name}.data", size_threshold=0)
    return out


def run(path: Path, feeds: Mapping[str, Array]) -> Array:
    """The first output, by ONNX Runtime with all of its fusions.

    A DequantizeLinear before a product becomes MatMulNBits, which would make int8 of the activations too unless it
    is told to stay in float32.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, dict(feeds))[0]
    return result


def run_by_the_standard(path: Path, feeds: Mapping[str, Array]) -> Array:
    """The first output, by the reference implementation of ONNX's operators, node by node."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    result: Array = ReferenceEvaluator(onnx.load(path)).run(None, dict(feeds))[0]
    return result


def operators(path: Path) -> list[str]:
    """The operators of a graph, in its order."""
    import onnx

    return [node.op_type for node in onnx.load(path, load_external_data=False).graph.node]


def fused_operators(path: Path, folder: Path) -> list[str]:
    """The operators that ONNX Runtime's CPU provider makes of a graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return operators(folder / "optimized.onnx")


def relative_error(found: Array, truth: Array) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))

"""A folder in optimum-onnx's layout, made by hand: graphs whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from support.pipelines import SCHEDULE, write_vocabulary

STATES = 16
UNET = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 8,
    "block_out_channels": [8],
    "down_block_types": ["CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "cross_attention_dim": STATES,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
CODEC = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "scaling_factor": 0.5,
}


def write_optimum(folder: Path, *, times: Sequence[int | str] = (), half: bool = False, batch: int | str = "b") -> Path:
    """Write a pipeline that predicts sample + timestep / 1000 + the mean state, and whose VAE halves by averaging.

    Args:
        folder: To make.
        times: Shape of the UNet's timestep.
        half: The UNet takes and gives float16.
        batch: Size of every first dimension; a text is free.
    """
    size = write_vocabulary(folder / "tokenizer")
    _write_unet(folder, times, "float16" if half else "float32", batch)
    _write_text(folder, size, batch)
    _write_codec(folder, batch)
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler/scheduler_config.json", SCHEDULE)
    _write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    return folder


def table(size: int) -> np.ndarray:
    """The states of every token."""
    return np.random.default_rng(0).standard_normal((size, STATES)).astype(np.float32)


def _write_unet(folder: Path, times: Sequence[int | str], dtype: str, batch: int | str) -> None:
    from onnx import helper as make

    sample = (batch, 4, "h", "w")
    nodes = [
        make.make_node("Mul", ["timestep", "per_mille"], ["noon"]),
        make.make_node("Cast", ["noon"], ["latents"], to=make.np_dtype_to_tensor_dtype(np.dtype(dtype))),
        make.make_node("ReduceMean", ["encoder_hidden_states", "axes"], ["mean"], keepdims=1),
        make.make_node("Unsqueeze", ["mean", "last"], ["mean4"]),
        make.make_node("Add", ["sample", "mean4"], ["shifted"]),
        make.make_node("Add", ["shifted", "latents"], ["out_sample"]),
    ]
    constants = {"per_mille": np.float32(1e-3), "axes": np.array([1, 2]), "last": np.array([3])}
    ends = [("sample", dtype, sample), ("timestep", "float32", times)]
    ends.append(("encoder_hidden_states", dtype, (batch, "s", STATES)))
    _write(folder / "unet", nodes, ends, [("out_sample", dtype, sample)], constants, UNET)


def _write_text(folder: Path, size: int, batch: int | str) -> None:
    from onnx import helper as make

    nodes = [
        make.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"]),
        make.make_node("ReduceMean", ["last_hidden_state", "axes"], ["pooler_output"], keepdims=0),
    ]
    outputs = [("last_hidden_state", "float32", (batch, "s", STATES)), ("pooler_output", "float32", (batch, STATES))]
    config = {"hidden_size": STATES, "max_position_embeddings": 77, "model_type": "clip_text_model"}
    constants = {"table": table(size), "axes": np.array([1])}
    _write(folder / "text_encoder", nodes, [("input_ids", "int32", (batch, "s"))], outputs, constants, config)


def _write_codec(folder: Path, batch: int | str) -> None:
    from onnx import helper as make

    pixels, latents = (batch, 3, "ph", "pw"), (batch, 4, "h", "w")
    halve = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        make.make_node("AveragePool", ["sample"], ["mean"], **halve),
        make.make_node("Concat", ["mean", "mean", "mean"], ["nine"], axis=1),
        make.make_node("Slice", ["nine", "zero", "eight", "axis"], ["latent_parameters"]),
    ]
    constants = {"zero": np.array([0]), "eight": np.array([8]), "axis": np.array([1])}
    parameters = [("latent_parameters", "float32", (batch, 8, "h", "w"))]
    _write(folder / "vae_encoder", nodes, [("sample", "float32", pixels)], parameters, constants, CODEC)
    nodes = [
        make.make_node("Slice", ["latent_sample", "zero", "three", "axis"], ["three_channels"]),
        make.make_node("Resize", ["three_channels", "", "twice"], ["sample"], mode="nearest"),
    ]
    constants = {
        "zero": np.array([0]),
        "three": np.array([3]),
        "axis": np.array([1]),
        "twice": np.array([1, 1, 2, 2], np.float32),
    }
    inputs = [("latent_sample", "float32", latents)]
    _write(folder / "vae_decoder", nodes, inputs, [("sample", "float32", pixels)], constants, CODEC)


def _write(
    folder: Path,
    nodes: Sequence[Any],
    inputs: Sequence[tuple[str, str, Sequence[int | str]]],
    outputs: Sequence[tuple[str, str, Sequence[int | str]]],
    constants: dict[str, Any],
    config: dict[str, Any],
) -> None:
    import onnx
    from onnx import helper as make

    def value(name, dtype, shape):
        return make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    folder.mkdir()
    tensors = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = make.make_graph(nodes, "known", [value(*end) for end in inputs], [value(*end) for end in outputs], tensors)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    _write_json(folder / "config.json", config)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")

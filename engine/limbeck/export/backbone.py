"""Image backbones to one graph: normalized pixels to a feature vector.

    timm:NAME                  any image network of timm, its classifier taken off
    efficientnet-lite0:FILE    a safetensors file in lukemelas' names
    mobilenetv2:FILE           a safetensors file in tonylins' names

What a pixel must be normalized with is part of the network, and goes into the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export import efficientnet_lite, mobilenet_v2
from limbeck.export.graph import Tracing
from limbeck.export.options import ExportOptions
from limbeck.export.parity import export_checked
from limbeck.pack import BackboneInfo, GraphEntry, Role

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneNetwork:
    """A feature network, (batch, 3, size, size) to (batch, features), and what the manifest says of it."""

    network: nn.Module
    info: BackboneInfo


def load_backbone(kind: str, name: str, options: ExportOptions) -> BackboneNetwork:
    """The backbone of source `kind:name`; `kind` is one of `BACKBONES`.

    Raises:
        ExportError: timm is not installed or has no such network, or the file does not hold one.
    """
    return BACKBONES[kind](name, options)


def export_backbone(backbone: BackboneNetwork, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write the graph of a backbone in float32, and compare it with the network.

    Raises:
        ExportError: The network cannot be traced.
        ParityError: The graph computes something else.
    """
    size = backbone.info.image_size
    spec = GraphSpec(
        inputs=(TensorSpec("pixels", "float32", ("batch", 3, size, size)),),
        outputs=(TensorSpec("features", "float32", ("batch", backbone.info.features)),),
    )
    tracing = Tracing(network=backbone.network, spec=spec, sizes={"batch": 2})
    return {"backbone": export_checked("backbone", tracing, pack, "backbone", options)}


def _efficientnet_lite0(path: str, options: ExportOptions) -> BackboneNetwork:
    info = BackboneInfo(
        name="efficientnet-lite0",
        image_size=efficientnet_lite.IMAGE_SIZE,
        mean=(efficientnet_lite.MEAN,) * 3,
        std=(efficientnet_lite.STD,) * 3,
        interpolation="bicubic",
        features=efficientnet_lite.FEATURES,
    )
    return BackboneNetwork(efficientnet_lite.EfficientNetLite0.from_file(path), info)


def _mobilenet_v2(path: str, options: ExportOptions) -> BackboneNetwork:
    info = BackboneInfo(
        name="mobilenetv2",
        image_size=mobilenet_v2.IMAGE_SIZE,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        interpolation="bilinear",
        features=mobilenet_v2.FEATURES,
    )
    return BackboneNetwork(mobilenet_v2.MobileNetV2.from_file(path), info)


def _timm(name: str, options: ExportOptions) -> BackboneNetwork:
    timm = _import_timm()
    try:
        network: Any = timm.create_model(name, pretrained=not options.random_init, num_classes=0)
    except (RuntimeError, ValueError, OSError) as error:
        raise ExportError(
            f"timm cannot make '{name}': {error}\n"
            "look for its name with timm.list_models('*part*', pretrained=True); weights come from the Hugging "
            "Face hub, or from its cache on this machine"
        ) from error
    network.eval()
    config = timm.data.resolve_model_data_config(network)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise ExportError(
            f"timm's '{name}' takes inputs of shape {config['input_size']}; limbeck needs (3, size, size)"
        )
    with torch.no_grad():
        features = network(torch.zeros(1, 3, height, width))
    if features.ndim != 2:
        raise ExportError(f"timm's '{name}' gives {tuple(features.shape)} for one image; limbeck needs one vector")
    info = BackboneInfo(
        name=name,
        image_size=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
        features=features.shape[1],
    )
    return BackboneNetwork(network, info)


def _import_timm() -> ModuleType:
    # torchvision's wheels for PyPI expect CUDA's torch: beside a CPU torch its import fails unless the two
    # operators are declared. Where they are, declaring them again raises.
    for operator in ("nms", "qnms"):
        with suppress(RuntimeError):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    try:
        import timm
    except ImportError as error:
        raise ExportError(f"a timm backbone needs the 'timm' package: pip install 'limbeck[timm]' ({error})") from error
    module: ModuleType = timm
    return module


BACKBONES: Mapping[str, Callable[[str, ExportOptions], BackboneNetwork]] = {
    "timm": _timm,
    "efficientnet-lite0": _efficientnet_lite0,
    "mobilenetv2": _mobilenet_v2,
}
"""The kinds of backbone, by the prefix of their source."""

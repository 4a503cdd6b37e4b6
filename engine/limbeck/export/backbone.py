"""Image backbones to one graph: normalized pixels to a feature vector.

    timm:NAME[@SIDE]           any image network of timm, its classifier taken off, fed images of SIDE pixels
    efficientnet-lite0:FILE    a safetensors file in lukemelas' names
    mobilenetv2:FILE           a safetensors file in tonylins' names
    clip:NAME                  the image tower of a CLIPModel of transformers with its projection, from a folder or hub
    clip-unnormed:NAME         the same without the norm before the projection

What a pixel must be normalized with is part of the network, and goes into the manifest. NAME may be `hf-hub:ORG/REPO`
or `local-dir:FOLDER`, whose `config.json` then says architecture and normalization.

What the features of the layouts are (timm 1.0, classifier taken off):

    resnet18, resnet50                   512, 2048: mean over the image of the last stage (He et al. 2016, section 3.3)
    vit_base_patch14_dinov2              768: CLS token after the last norm, as `forward` of DINOv2's release
    vit_base_patch16_clip_224            768: CLS token after the last norm, *before* CLIP's projection to 512
    vit_base_patch16_clip_quickgelu_224  the same with the activation that OpenAI's weights were trained with
    eva02_base_patch14_224               768: mean of the patch tokens, then a norm; rotary positions
    vit_base_patch16_224                 768: CLS token after the last norm; MoCo-v3's ViT-B is of this layout (sin-cos
                                         positions are weights there): normalize as ImageNet, which its config must say
    efficientnet-lite0, mobilenetv2      1280: mean over the image of the last layer
    clip                                 the CLS token after the last norm and CLIP's projection, as get_image_features
    clip-unnormed                        the CLS token through the projection alone, as EDITS' release has it

For another side than its own the positions of a ViT are resized: DINOv2's 37 x 37 become 16 x 16 with `@224`, by
timm's bicubic interpolation with antialiasing. DINOv2's own code interpolates without it, so that features differ
slightly from the release's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export import efficientnet_lite, mobilenet_v2
from limbeck.export.clip import ClipImages, describe_clip, load_clip
from limbeck.export.gradient import export_gradients
from limbeck.export.graph import Tracing
from limbeck.export.options import ExportOptions
from limbeck.export.parity import export_checked
from limbeck.export.torchvision_operators import declare_operators
from limbeck.pack import BackboneInfo, GraphEntry, Role

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BackboneNetwork:
    """A feature network, (batch, 3, size, size) to (batch, features), and what the manifest says of it.

    `clip` is the `CLIPModel` that it is the image tower of.
    """

    network: nn.Module
    info: BackboneInfo
    clip: Any = None


def load_backbone(kind: str, name: str, options: ExportOptions) -> BackboneNetwork:
    """The backbone of source `kind:name`; `kind` is one of `BACKBONES`.

    Raises:
        ExportError: timm is not installed or has no such network, or the file does not hold one.
    """
    return BACKBONES[kind](name, options)


def export_backbone(backbone: BackboneNetwork, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write the graph of a backbone in float32, and its gradient's if asked for, and compare them with the network.

    Raises:
        ExportError: The network cannot be traced, or has an operator whose gradient is not known.
        ParityError: A graph computes something else.
    """
    size = backbone.info.image_size
    spec = GraphSpec(
        inputs=(TensorSpec("pixels", "float32", ("batch", 3, size, size)),),
        outputs=(TensorSpec("features", "float32", ("batch", backbone.info.features)),),
    )
    tracing = Tracing(network=backbone.network, spec=spec, sizes={"batch": 2})
    if not options.gradient:
        return {"backbone": export_checked("backbone", tracing, pack, "backbone", options)}
    beside = replace(options, external_above_nbytes=0)  # the gradient graphs use the same file of weights
    entry = export_checked("backbone", tracing, pack, "backbone", beside)
    return {"backbone": entry, **export_gradients(backbone.network, entry, pack)}


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


def describe_timm(network: Any, name: str, *, side: int | None = None) -> BackboneNetwork:
    """A network of timm without its classifier, and what its own config says of its input.

    Args:
        network: From `timm.create_model(..., num_classes=0)`; it is changed if `side` is another than its own.
        name: For the manifest.
        side: Of the images it is to be fed, in pixels; None is its own.

    Raises:
        ExportError: It does not take square color images of that side, or gives another thing than a vector for one.
    """
    config = _import_timm().data.resolve_model_data_config(network.eval())
    channels, height, width = config["input_size"] if side is None else (3, side, side)
    if channels != 3 or height != width:
        raise ExportError(f"timm's '{name}' takes inputs of shape {(channels, height, width)}; limbeck needs squares")
    try:
        if side is not None and hasattr(network, "set_input_size"):
            network.set_input_size((side, side))
        with torch.no_grad():
            features = network(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ExportError(f"timm's '{name}' cannot be fed images of side {height}: {error}") from error
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


def _timm(source: str, options: ExportOptions) -> BackboneNetwork:
    timm = _import_timm()
    name, _, side = source.partition("@")
    if side and not side.isdecimal():
        raise ExportError(f"'timm:{source}' must end in a number of pixels after the @, as timm:{name}@224")
    try:
        network = timm.create_model(name, pretrained=not options.random_init, num_classes=0)
    except (RuntimeError, ValueError, OSError) as error:
        raise ExportError(
            f"timm cannot make '{name}': {error}\n"
            "look for its name with timm.list_models('*part*', pretrained=True); weights come from the Hugging "
            "Face hub, or from its cache on this machine"
        ) from error
    return describe_timm(network, Path(name).name, side=int(side) if side else None)


def _clip(source: str, options: ExportOptions, *, norm: bool) -> BackboneNetwork:
    model = load_clip(source)
    return BackboneNetwork(ClipImages(model, norm=norm), describe_clip(model, Path(source).name), model)


def _import_timm() -> ModuleType:
    declare_operators()
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
    "clip": partial(_clip, norm=True),
    "clip-unnormed": partial(_clip, norm=False),
}
"""The kinds of backbone, by the prefix of their source."""

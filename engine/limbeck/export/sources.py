"""The networks of a pack, gathered from what the user named, each with what the manifest says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from limbeck.errors import ExportError
from limbeck.export.backbone import BACKBONES, BackboneNetwork, load_backbone
from limbeck.export.bert import round_to_int8
from limbeck.export.clip import TEXT_PROJECTION, has_text_tower
from limbeck.export.codec import describe_codec
from limbeck.export.diffusers_source import DiffusersSource, LoadedText, load_diffusers
from limbeck.export.dit import describe_dit
from limbeck.export.optimum_import import OptimumCodec, OptimumDenoiser, load_optimum
from limbeck.export.options import ExportOptions
from limbeck.export.schedule import checked_schedule
from limbeck.export.unet import describe_unet, schedule_of_noise
from limbeck.export.weights import round_to_half
from limbeck.pack import CodecInfo, DenoiserInfo, UnetInfo


@dataclass(frozen=True)
class DenoiserNetwork:
    """A `DiTTransformer2DModel`, its part of the manifest, and its noise schedule's config."""

    network: Any
    info: DenoiserInfo
    schedule: Mapping[str, Any]


@dataclass(frozen=True)
class UnetNetwork:
    """A `UNet2DConditionModel` with its text encoder and tokenizer, as `DenoiserNetwork`."""

    unet: Any
    text_encoder: Any
    tokenizer: Any
    info: UnetInfo
    schedule: Mapping[str, Any]

    @property
    def network(self) -> nn.Module:
        """Both networks, for what is done to all weights."""
        return nn.ModuleList([self.unet, self.text_encoder])


@dataclass(frozen=True)
class CodecNetwork:
    """A VAE of diffusers, and its part of the manifest."""

    network: Any
    info: CodecInfo


DenoiserSource: TypeAlias = DenoiserNetwork | UnetNetwork | OptimumDenoiser
CodecSource: TypeAlias = CodecNetwork | OptimumCodec
_Part: TypeAlias = DenoiserSource | CodecSource | BackboneNetwork

OPTIMUM = "optimum"
"""What goes before the folder of a pipeline that optimum-onnx exported."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The parts of one pack; `labels` says of each part where it is from, without a path of this machine."""

    denoiser: DenoiserSource | None
    codec: CodecSource | None
    backbone: BackboneNetwork | None
    labels: Mapping[str, str]

    @property
    def image_size(self) -> int | None:
        """Side of the images that denoiser and codec make together, in pixels."""
        if self.denoiser is None or self.codec is None:
            return None
        return self.denoiser.info.latent_shape[1] * self.codec.info.downsample


def load_networks(sources: Sequence[str], options: ExportOptions) -> Networks:
    """Load every source. With float16 storage the networks come back rounded to what will be stored.

    Raises:
        ExportError: A source cannot be loaded, two give the same part, or the parts do not fit together.
    """
    parts: dict[str, _Part] = {}
    labels: dict[str, str] = {}
    for source in sources:
        found = _load(source, options)
        for part in parts.keys() & found.keys():
            raise ExportError(f"both '{labels[part]}' and '{source}' have a {part}; a pack holds one")
        parts |= found
        labels |= dict.fromkeys(found, _label(source))
    if not parts:
        raise ExportError("an export needs at least one source with a DiT, a UNet, a VAE or a backbone")
    parts = _with_text_projection(parts)
    if options.weights == "float16":
        for loaded in parts.values():
            assert not isinstance(loaded, OptimumDenoiser | OptimumCodec), "refused when it was loaded"
            round_to_half(loaded.network)
    if options.text_int8:
        for loaded in parts.values():
            if isinstance(loaded, UnetNetwork):
                round_to_int8(loaded.text_encoder)
    denoiser, codec, backbone = (parts.get(name) for name in ("denoiser", "codec", "backbone"))
    assert denoiser is None or isinstance(denoiser, DenoiserSource)
    assert codec is None or isinstance(codec, CodecSource)
    assert backbone is None or isinstance(backbone, BackboneNetwork)
    if denoiser and codec and denoiser.info.latent_shape[0] != codec.info.latent_channels:
        raise ExportError(
            f"the denoiser '{labels['denoiser']}' works on latents of {denoiser.info.latent_shape[0]} channels, "
            f"the codec '{labels['codec']}' makes {codec.info.latent_channels}; give the codec it was trained with"
        )
    return Networks(denoiser=denoiser, codec=codec, backbone=backbone, labels=labels)


def _with_text_projection(parts: dict[str, _Part]) -> dict[str, _Part]:
    """Where the UNet's text encoder is the text tower of the backbone's CLIP, the pack is to have its projection."""
    backbone, denoiser = parts.get("backbone"), parts.get("denoiser")
    if not isinstance(backbone, BackboneNetwork) or backbone.clip is None or not isinstance(denoiser, UnetNetwork):
        return parts
    if not has_text_tower(backbone.clip, denoiser.text_encoder):
        return parts
    info = backbone.info.model_copy(update={"text_projection": TEXT_PROJECTION})
    return parts | {"backbone": replace(backbone, info=info)}


def _load(source: str, options: ExportOptions) -> dict[str, _Part]:
    kind, separator, name = source.partition(":")
    if separator and kind in BACKBONES:
        return {"backbone": load_backbone(kind, name, options)}
    if separator and kind == OPTIMUM:
        denoiser, codec = load_optimum(Path(name), options)
        return {"denoiser": denoiser, "codec": codec}
    found = load_diffusers(source)
    parts: dict[str, _Part] = {}
    if found.transformer:
        network = found.transformer.network
        names = _class_names(source, found, network.config.num_embeds_ada_norm, options)
        parts["denoiser"] = DenoiserNetwork(network, describe_dit(network, names), checked_schedule(found.schedule))
    if found.unet and found.text:
        parts["denoiser"] = _unet(found.unet.network, found.text, found.schedule, options)
    if found.codec:
        info = describe_codec(found.codec.network, found.codec.config, options)
        parts["codec"] = CodecNetwork(found.codec.network, info)
    return parts


def _unet(unet: Any, text: LoadedText, schedule: Mapping[str, Any], options: ExportOptions) -> UnetNetwork:
    info = describe_unet(
        unet,
        options,
        tokens=text.tokens,
        states=text.network.config.hidden_size,
        prediction=schedule.get("prediction_type", "epsilon"),
    )
    return UnetNetwork(unet, text.network, text.tokenizer, info, schedule_of_noise(schedule))


def _class_names(source: str, found: DiffusersSource, count: int, options: ExportOptions) -> tuple[str, ...]:
    if options.classes is not None:
        origin = str(options.classes)
        try:
            text = options.classes.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ExportError(
                f"cannot read the class names in '{origin}': {error}; it must be a text file in UTF-8, one name a line"
            ) from error
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
    elif found.id2label:
        origin = f"id2label of '{source}'"
        try:
            by_id = {int(key): str(name) for key, name in found.id2label.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise ExportError(f"{origin} must map ids to names; give a file of names with --classes") from error
        if sorted(by_id) != list(range(count)):
            raise ExportError(f"{origin} must name the ids 0 to {count - 1}; it names {min(by_id)} to {max(by_id)}")
        names = tuple(by_id[class_id] for class_id in range(count))
    else:
        raise ExportError(f"'{source}' does not name its {count} classes; give a file of names with --classes")
    if len(names) != count:
        raise ExportError(f"{origin} names {len(names)} classes, the network has {count}")
    # A network's own names may repeat, as ImageNet's "crane" does; in a file, it is a slip that can be mended.
    twice = [name for name, times in Counter(names).items() if times > 1]
    if options.classes is not None and twice:
        raise ExportError(f"{origin} names {', '.join(twice[:5])} more than once; every class needs a name of its own")
    return names


def _label(source: str) -> str:
    """A hub id or timm name as it is; of a local path, only its last part."""
    kind, separator, name = source.partition(":")
    if separator and kind in BACKBONES:
        named = kind == "timm" and not name.startswith("local-dir:")
        return source if named else f"{kind}:{Path(name).name}"
    if separator and kind == OPTIMUM:
        return f"{kind}:{Path(name).resolve().name}"
    return Path(source).resolve().name if Path(source).is_dir() else source

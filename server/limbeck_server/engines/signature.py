"""What a pack can be asked directly: its calls, and the tensors that each of them takes and gives.

    encode    images -> latents              decode    latents -> images            (in [0, 1]; of unit variance)
    denoise   latents, times, class_ids or prompts -> noise
    features  images -> features             features_gradient   images, cotangent -> features, gradient
    graph:ROLE   what the graph of that role takes and gives, as it is

All of it follows from the manifest, so that the front knows it without a runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from limbeck.backends.base import TensorSpec
from limbeck.pack import PackManifest, Role, TensorEntry, UnetInfo

BATCH = "batch"
"""The dimension along which samples lie."""

TEXT = "bytes"
"""The element type of texts: UTF-8, each after its length as four bytes, little-endian."""

ITEM_NBYTES: Mapping[str, int] = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "float16": 2,
    "uint32": 4,
    "int32": 4,
    "float32": 4,
    "uint64": 8,
    "int64": 8,
    "float64": 8,
}
"""The element types of fixed size that a tensor may have, and their sizes."""

_GRAPH = "graph:"


@dataclass(frozen=True)
class Signature:
    """What a call takes and gives.

    Args:
        role: The graph that does most of its work; where it is loaded, the call is answered soonest.
        inputs: Of equal names in shapes, sizes are equal.
        outputs: As `inputs`.
    """

    role: Role
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batched(self) -> bool:
        """Whether every tensor has a row a sample, so that calls can share a run and be cut into several."""
        return all(tensor.shape[:1] == (BATCH,) for tensor in (*self.inputs, *self.outputs))

    @property
    def output_row_nbytes(self) -> int:
        """What one row of all outputs takes, sizes that are not known counted as 1."""
        return sum(
            prod(size for size in tensor.shape if isinstance(size, int)) * ITEM_NBYTES[tensor.dtype]
            for tensor in self.outputs
        )


def signatures(manifest: PackManifest) -> dict[str, Signature]:
    """Every call that a pack answers, by name; images and latents of a codec have the pack's own size."""
    made = _of_parts(manifest)
    for role, entry in manifest.graphs.items():
        pinned = _codec_sizes(manifest) if role in ("encoder", "decoder") else {}
        made[_GRAPH + role] = Signature(role, _pinned(entry.inputs, pinned), _pinned(entry.outputs, pinned))
    return made


def image_size(manifest: PackManifest) -> int | None:
    """Height and width of the images of a pack's codec, as `limbeck.models.made_image_size`; None if it says none."""
    return manifest.image_size or (manifest.backbone.image_size if manifest.backbone else None)


def graph_call(role: Role) -> str:
    """The name of the call that runs the graph of `role` as it is."""
    return _GRAPH + role


def role_of(call: str) -> Role | None:
    """The role that a call names, None for a call of a part."""
    return call.removeprefix(_GRAPH) if call.startswith(_GRAPH) else None  # type: ignore[return-value]


def _of_parts(manifest: PackManifest) -> dict[str, Signature]:
    made: dict[str, Signature] = {}
    if manifest.denoiser is not None:
        latents = _f32("latents", manifest.denoiser.latent_shape)
        by_text = isinstance(manifest.denoiser, UnetInfo)
        condition = TensorSpec("prompts", TEXT, (BATCH,)) if by_text else TensorSpec("class_ids", "int64", (BATCH,))
        times = TensorSpec("times", "int64", (BATCH,))
        made["denoise"] = Signature("trunk", (latents, times, condition), (replace(latents, name="noise"),))
    if manifest.codec is not None and (size := image_size(manifest)) is not None:
        side = size // manifest.codec.downsample
        images, latents = _f32("images", (3, size, size)), _f32("latents", (manifest.codec.latent_channels, side, side))
        made["encode"] = Signature("encoder", (images,), (latents,))
        made["decode"] = Signature("decoder", (latents,), (images,))
    if manifest.backbone is not None:
        images = _f32("images", (3, manifest.backbone.image_size, manifest.backbone.image_size))
        features = _f32("features", (manifest.backbone.features,))
        made["features"] = Signature("backbone", (images,), (features,))
        if "gradient" in manifest.graphs and "flow_gradient" in manifest.graphs:
            inputs = images, replace(features, name="cotangent")
            outputs = features, replace(images, name="gradient")
            made["features_gradient"] = Signature("gradient", inputs, outputs)
    return made


def _f32(name: str, row: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, "float32", (BATCH, *row))


def _codec_sizes(manifest: PackManifest) -> dict[str, int]:
    """Sizes of the codec's free dimensions: a worker's memory is planned for them, and for no larger ones."""
    size = image_size(manifest)
    if size is None or manifest.codec is None:
        return {}
    side = size // manifest.codec.downsample
    return {"height": size, "width": size, "latent_height": side, "latent_width": side}


def _pinned(tensors: tuple[TensorEntry, ...], sizes: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    def size(found: int | str) -> int | str:
        return sizes.get(found, found) if isinstance(found, str) else found

    return tuple(TensorSpec(one.name, one.dtype, tuple(map(size, one.shape))) for one in tensors)

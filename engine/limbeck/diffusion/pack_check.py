"""Do the graphs of a pack have the inputs and outputs that its manifest promises? Asked before anything is compiled.

of a DiT:
conditioner   timestep, class_id                       to  modulation, final_modulation
trunk         latents, modulation, final_modulation    to  prediction, and middle where there is a shallow graph
shallow       trunk's inputs and middle                to  prediction

of a UNet, cut or whole:
text_encoder  token_ids                                to  states
conditioner   states                                   to  keys_values
trunk         latents, timestep, keys_values           to  prediction
trunk         latents, timestep, states                to  prediction

of either, where there are diffusion features:
features      trunk's inputs, those that it uses       to  features

encoder       pixels                                   to  latents, and log_variance with a posterior
decoder       latents                                  to  pixels
backbone      pixels                                   to  features
gradient      pixels, cotangent                        to  features, pixel_gradient
flow_gradient pixels, flow, membership, divisor        to  loss, features, pixel_gradient
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from limbeck.backends.base import Graph, TensorSpec
from limbeck.errors import PackError
from limbeck.pack import BackboneInfo, CodecInfo, DenoiserInfo, DenoiserPart, Role, UnetInfo


@dataclass(frozen=True)
class _Free:
    """A size that may be free; a graph that fixes it must fix it to `size`."""

    size: int

    def __str__(self) -> str:
        return f"free or {self.size}"


_Size: TypeAlias = int | str | _Free
_Entry: TypeAlias = tuple[str, tuple[_Size, ...]]
_Wanted: TypeAlias = Mapping[str, _Entry]
"""Name to dtype and sizes; a text is a size that must be free."""


def check_denoiser(pack: str, info: DenoiserPart, graphs: Mapping[Role, Graph]) -> None:
    """Compare the graphs of the denoiser of the pack named `pack` with `info`.

    Raises:
        PackError: Other names, dtypes or sizes, or a condition of one graph that the next does not take.
    """
    if isinstance(info, UnetInfo):
        _check_unet(pack, info, graphs)
    else:
        _check_dit(pack, info, graphs)


def _check_dit(pack: str, info: DenoiserInfo, graphs: Mapping[Role, Graph]) -> None:
    conditioner, trunk = graphs["conditioner"].spec, graphs["trunk"].spec
    channels, *sides = info.latent_shape
    _compare(
        pack,
        "conditioner",
        "inputs",
        conditioner.inputs,
        {name: ("int64", ("batch",)) for name in ("timestep", "class_id")},
    )
    shapes = {tensor.name: tensor.shape[1:] for tensor in conditioner.outputs}
    modulations: _Wanted = {
        name: ("float32", ("batch", *shapes.get(name, ()))) for name in ("modulation", "final_modulation")
    }
    latents: _Wanted = {"latents": ("float32", ("batch", *info.latent_shape))}
    predicted = 2 * channels if info.learned_sigma else channels
    _compare(pack, "conditioner", "outputs", conditioner.outputs, modulations)
    _compare(pack, "trunk", "inputs", trunk.inputs, {**latents, **modulations})
    predictions: _Wanted = {"prediction": ("float32", ("batch", predicted, *sides))}
    middles: _Wanted = {
        tensor.name: (tensor.dtype, tensor.shape) for tensor in trunk.outputs if tensor.name == "middle"
    }
    _compare(pack, "trunk", "outputs", trunk.outputs, {**predictions, **middles})
    if "shallow" in graphs:
        shallow = graphs["shallow"].spec
        _compare(pack, "shallow", "inputs", shallow.inputs, {**latents, **modulations, **middles})
        _compare(pack, "shallow", "outputs", shallow.outputs, predictions)


def _check_unet(pack: str, info: UnetInfo, graphs: Mapping[Role, Graph]) -> None:
    trunk = graphs["trunk"].spec
    # other exporters write one time for the whole call
    shares_time = any(tensor.name == "timestep" and not tensor.shape for tensor in trunk.inputs)
    latents: _Entry = ("float32", ("batch", *info.latent_shape))
    timestep: _Entry = ("int64", () if shares_time else ("batch",))
    tokens: _Wanted = {"token_ids": ("int64", ("batch", info.tokens))}
    text = graphs["text_encoder"].spec
    _compare(pack, "text_encoder", "inputs", text.inputs, tokens)
    condition = _per_token(text.outputs, "states", info.tokens)
    _compare(pack, "text_encoder", "outputs", text.outputs, condition)
    if info.cut:
        conditioner = graphs["conditioner"].spec
        _compare(pack, "conditioner", "inputs", conditioner.inputs, condition)
        condition = _per_token(conditioner.outputs, "keys_values", info.tokens)
        _compare(pack, "conditioner", "outputs", conditioner.outputs, condition)
    _compare(pack, "trunk", "inputs", trunk.inputs, {"latents": latents, "timestep": timestep, **condition})
    _compare(pack, "trunk", "outputs", trunk.outputs, {"prediction": latents})


def check_features(pack: str, graphs: Mapping[Role, Graph]) -> None:
    """Compare the features graph of the pack named `pack` with its trunk.

    Raises:
        PackError: It takes what the trunk does not, or gives something else than maps.
    """
    trunk, features = graphs["trunk"].spec, graphs["features"].spec
    used = {tensor.name for tensor in features.inputs}
    given: _Wanted = {tensor.name: (tensor.dtype, tensor.shape) for tensor in trunk.inputs if tensor.name in used}
    maps = [tensor.shape[1:] for tensor in features.outputs if len(tensor.shape) == 4]
    _compare(pack, "features", "inputs", features.inputs, given)
    _compare(pack, "features", "outputs", features.outputs, {"features": ("float32", ("batch", *_fixed(maps)))})


def _fixed(maps: Sequence[tuple[int | str, ...]]) -> tuple[int | str, ...]:
    """Channels, height and width as they were found, if they are numbers."""
    return next((sizes for sizes in maps if all(isinstance(size, int) for size in sizes)), (1, 1, 1))


def _per_token(found: Sequence[TensorSpec], name: str, tokens: int) -> _Wanted:
    """A row of any width for each token, of the width that was found."""
    widths = [tensor.shape[-1] for tensor in found if tensor.name == name and tensor.shape]
    return {name: ("float32", ("batch", tokens, *widths[:1]))}


def check_codec(pack: str, info: CodecInfo, image_size: int, graphs: Mapping[Role, Graph]) -> None:
    """Compare `encoder` and `decoder` of the pack named `pack` with `info`; they make images of `image_size`.

    Raises:
        PackError: Other names, dtypes or sizes.
    """
    side, latent_side = _Free(image_size), _Free(image_size // info.downsample)
    pixels: _Wanted = {"pixels": ("float32", ("batch", 3, side, side))}
    latents: _Wanted = {"latents": ("float32", ("batch", info.latent_channels, latent_side, latent_side))}
    posterior: _Wanted = {"log_variance": latents["latents"]} if info.has_posterior else {}
    encoder, decoder = graphs["encoder"].spec, graphs["decoder"].spec
    _compare(pack, "encoder", "inputs", encoder.inputs, pixels)
    _compare(pack, "encoder", "outputs", encoder.outputs, {**latents, **posterior})
    _compare(pack, "decoder", "inputs", decoder.inputs, latents)
    _compare(pack, "decoder", "outputs", decoder.outputs, pixels)


def check_backbone(pack: str, info: BackboneInfo, graph: Graph) -> None:
    """Compare the backbone of the pack named `pack` with `info`.

    Raises:
        PackError: Other names, dtypes or sizes.
    """
    side = _Free(info.image_size)
    _compare(pack, "backbone", "inputs", graph.spec.inputs, {"pixels": ("float32", ("batch", 3, side, side))})
    _compare(pack, "backbone", "outputs", graph.spec.outputs, {"features": ("float32", ("batch", info.features))})


def check_gradients(pack: str, info: BackboneInfo, graphs: Mapping[Role, Graph]) -> None:
    """Compare `gradient` and `flow_gradient` of the pack named `pack` with its backbone's `info`.

    Raises:
        PackError: Other names, dtypes or sizes.
    """
    side = _Free(info.image_size)
    pixels: _Entry = ("float32", ("batch", 3, side, side))
    features: _Entry = ("float32", ("batch", info.features))
    flow: _Wanted = {
        "flow": ("float32", ("classes", info.features)),
        "membership": ("float32", ("batch", "classes")),
        "divisor": ("float32", (1,)),
    }
    made: _Wanted = {"features": features, "pixel_gradient": pixels}
    gradient, whole = graphs["gradient"].spec, graphs["flow_gradient"].spec
    _compare(pack, "gradient", "inputs", gradient.inputs, {"pixels": pixels, "cotangent": features})
    _compare(pack, "gradient", "outputs", gradient.outputs, made)
    _compare(pack, "flow_gradient", "inputs", whole.inputs, {"pixels": pixels, **flow})
    _compare(pack, "flow_gradient", "outputs", whole.outputs, {"loss": ("float32", (1,)), **made})


def _compare(pack: str, role: Role, side: str, found: Sequence[TensorSpec], wanted: _Wanted) -> None:
    by_name = {tensor.name: tensor for tensor in found}
    fits = len(by_name) == len(found) and by_name.keys() == wanted.keys()
    if not fits or not all(_fits(by_name[name], *needed) for name, needed in wanted.items()):
        needs = "; ".join(f"{name}: {dtype} ({', '.join(map(str, sizes))})" for name, (dtype, sizes) in wanted.items())
        raise PackError(
            f"pack '{pack}' contradicts itself: its {role} has the {side} {'; '.join(map(str, found)) or 'none'}\n"
            f"what pack.json says of its parts needs {needs}; export the pack again"
        )


def _fits(found: TensorSpec, dtype: str, sizes: tuple[_Size, ...]) -> bool:
    return (
        found.dtype == dtype
        and len(found.shape) == len(sizes)
        and all(_size_fits(have, need) for have, need in zip(found.shape, sizes, strict=True))
    )


def _size_fits(found: int | str, needed: _Size) -> bool:
    if isinstance(needed, _Free):
        return isinstance(found, str) or found == needed.size
    return isinstance(found, str) if isinstance(needed, str) else found == needed

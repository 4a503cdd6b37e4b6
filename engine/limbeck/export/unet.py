"""A text-conditional UNet (Rombach et al., CVPR 2022) to two graphs, `conditioner` and `trunk`.

The prompt reaches the network only as keys and values of its cross attentions, which are the same at every step. The
conditioner computes them all, once per prompt; the trunk stays resident:

    conditioner:  states                              to  keys_values
    trunk:        latents, timestep, keys_values      to  prediction

`keys_values` has the keys, then the values, of one cross attention after another along its last axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.backends.base import GraphSpec, TensorSpec
from limbeck.errors import ExportError
from limbeck.export.graph import Tracing, write_graph
from limbeck.export.options import ExportOptions
from limbeck.export.parity import BATCHES, Computation, Feeds, check_parity, computation, opened, random_feeds
from limbeck.export.schedule import checked_schedule
from limbeck.pack import GraphEntry, Role, UnetInfo

TIMES = 1000
"""Times to compare at are drawn below this."""


class KeysValues(nn.Module):
    """States to the keys and values of all cross attentions, as one product."""

    def __init__(self, unet: Any) -> None:
        """Copy the projections of a `UNet2DConditionModel` into one."""
        super().__init__()
        projections = [layer for attention in cross_attentions(unet) for layer in (attention.to_k, attention.to_v)]
        weights = torch.cat([layer.weight for layer in projections])
        self.project = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
        self.project.weight = nn.Parameter(weights.detach(), requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        """(batch, tokens, states) to (batch, tokens, keys and values)."""
        projected: Tensor = self.project(states)
        return projected


class UnetTrunk(nn.Module):
    """Latents to a prediction, the condition given; trace it inside `tabled` if that is keys and values."""

    def __init__(self, unet: Any) -> None:
        """Keep the `UNet2DConditionModel` itself."""
        super().__init__()
        self.unet = unet

    def forward(self, latents: Tensor, timestep: Tensor, condition: Tensor) -> Tensor:
        """(batch, channels, height, width) at times (batch,), int64, to what the network predicts."""
        prediction: Tensor = self.unet(latents, timestep, condition, return_dict=False)[0]
        return prediction


def describe_unet(unet: Any, options: ExportOptions, *, tokens: int, states: int, prediction: str) -> UnetInfo:
    """What the manifest says of a `UNet2DConditionModel`.

    Args:
        unet: The network.
        options: Have the prompts.
        tokens: Length of a prompt.
        states: How many numbers its text encoder makes of each token.
        prediction: The `prediction_type` of its scheduler's config.

    Raises:
        ExportError: It predicts something else than the noise or the velocity, is conditioned on more than time and
            text, or is of another pipeline than its text encoder.
    """
    if prediction not in ("epsilon", "v_prediction"):
        raise ExportError(f"the network predicts '{prediction}'; limbeck exports epsilon and v_prediction")
    config = unet.config
    beyond = [name for name in _BEYOND_TEXT if config.get(name) is not None]
    if beyond:
        found = ", ".join(f"{name}={config[name]!r:.40}" for name in beyond)
        raise ExportError(f"the UNet is conditioned on more than time and text: {found}; limbeck exports SD 1 and 2")
    if config.out_channels != config.in_channels:
        raise ExportError(
            f"a UNet with {config.in_channels} channels in and {config.out_channels} out needs more than a latent, "
            "as networks for inpainting do; limbeck exports those that make one latent of another"
        )
    attentions = cross_attentions(unet)
    if not attentions or any(_is_unusual(attention) for attention in attentions):
        raise ExportError(
            "the UNet has no cross attention, or one whose keys and values are not only a product with the text's "
            "states; limbeck cannot compute them once per prompt"
        )
    if config.cross_attention_dim != states:
        raise ExportError(
            f"the UNet attends to states of {config.cross_attention_dim} numbers, the text encoder makes {states}; "
            "they are not of one pipeline"
        )
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return UnetInfo(
        latent_shape=(config.in_channels, height, width),
        prediction=prediction,
        tokens=tokens,
        prompt=options.prompt,
        null_prompt=options.null_prompt,
    )


def schedule_of_noise(config: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config without what the network predicts: `UnetInfo` has that, and above it all is noise.

    Raises:
        ExportError: As `checked_schedule`.
    """
    return checked_schedule({key: value for key, value in config.items() if key != "prediction_type"})


def cross_attentions(unet: Any) -> list[Any]:
    """The attentions of a network whose keys and values come from elsewhere, in the order of its modules."""
    return [module for module in unet.modules() if getattr(module, "is_cross_attention", False)]


def _is_unusual(attention: Any) -> bool:
    return any(
        part is not None for part in (attention.norm_cross, attention.norm_k, attention.to_k.bias, attention.to_v.bias)
    )


@contextmanager
def tabled(unet: Any) -> Iterator[None]:
    """While open, each cross attention takes its keys and values out of what the network is given as states."""
    attentions = cross_attentions(unet)
    originals = [attention.processor for attention in attentions]
    start = 0
    for attention in attentions:
        attention.processor = _Tabled(start, attention.to_k.out_features)
        start = attention.processor.end
    try:
        yield
    finally:
        for attention, original in zip(attentions, originals, strict=True):
            attention.processor = original


def export_unet(unet: Any, info: UnetInfo, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write both graphs of a `UNet2DConditionModel` in float32, and compare them with it.

    The conditioner is compared with its own part of the network; the trunk, fed by the conditioner's graph, with the
    whole network.

    Raises:
        ExportError: The network cannot be traced.
        ParityError: A graph computes something else.
    """
    conditioner = KeysValues(unet)
    condition_spec, trunk_spec = _specs(unet, conditioner, info)
    condition_graph = write_graph(
        Tracing(network=conditioner, spec=condition_spec, sizes={"batch": 2}), pack, "unet_conditioner", options
    )
    with tabled(unet):
        trunk = Tracing(network=UnetTrunk(unet), spec=trunk_spec, sizes={"batch": 2})
        trunk_graph = write_graph(trunk, pack, "unet", options)
    inputs = (*trunk_spec.inputs[:2], *condition_spec.inputs)
    cases = [random_feeds(inputs, {"batch": batch}, timestep=TIMES) for batch in BATCHES]
    with opened(condition_graph, pack) as condition, opened(trunk_graph, pack) as predict:
        reference = computation(conditioner, ["keys_values"])
        states = [{"states": feeds["states"]} for feeds in cases]
        return {
            "conditioner": condition_graph.entry(check_parity("conditioner", condition, reference, states)),
            "trunk": trunk_graph.entry(
                check_parity("trunk", _joined(condition, predict), computation(UnetTrunk(unet), ["prediction"]), cases)
            ),
        }


def _specs(unet: Any, conditioner: KeysValues, info: UnetInfo) -> tuple[GraphSpec, GraphSpec]:
    project = conditioner.project
    states = TensorSpec("states", "float32", ("batch", info.tokens, project.in_features))
    keys_values = TensorSpec("keys_values", "float32", ("batch", info.tokens, project.out_features))
    latents = TensorSpec("latents", "float32", ("batch", *info.latent_shape))
    timestep = TensorSpec("timestep", "int64", ("batch",))
    prediction = TensorSpec("prediction", "float32", ("batch", *info.latent_shape))
    return GraphSpec((states,), (keys_values,)), GraphSpec((latents, timestep, keys_values), (prediction,))


def _joined(condition: Computation, predict: Computation) -> Computation:
    def run(feeds: Feeds) -> Feeds:
        given = {name: feeds[name] for name in ("latents", "timestep")}
        return predict({**given, **condition({"states": feeds["states"]})})

    return run


class _Tabled:
    """Stands in for the processor of one cross attention, whose keys begin at `start` of the table's last axis."""

    def __init__(self, start: int, width: int) -> None:
        self._keys = slice(start, start + width)
        self._values = slice(start + width, start + 2 * width)
        self.end = start + 2 * width

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is not None:
            raise ExportError("the UNet masks its prompt, which limbeck cannot export")
        query, key, value = (
            tensor.unflatten(2, (attention.heads, -1)).transpose(1, 2)
            for tensor in (
                attention.to_q(hidden_states),
                encoder_hidden_states[..., self._keys],
                encoder_hidden_states[..., self._values],
            )
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        projected: Tensor = attention.to_out[0](attended)
        return projected


_BEYOND_TEXT = (
    "class_embed_type",
    "num_class_embeds",
    "addition_embed_type",
    "encoder_hid_dim_type",
    "encoder_hid_dim",
    "time_cond_proj_dim",
    "cross_attention_norm",
)
"""Settings of diffusers' UNet that bring another condition, or change this one."""

"""A class-conditional DiT (Peebles & Xie, ICCV 2023) to two graphs, `conditioner` and `trunk`.

In a DiT `(timestep, class)` decides all adaptive-norm modulation, alone: a third of DiT-XL/2's weights. The
conditioner computes it, once for each `(timestep, class)` of a run; the trunk stays resident:

    conditioner:  timestep, class_id                           to  modulation, final_modulation
    trunk:        latents, modulation, final_modulation        to  prediction

Diffusers keeps a timestep and class embedder in each block; where they are all equal, one is exported.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from limbeck.pack import DenoiserInfo, GraphEntry, Role


class Conditioner(nn.Module):
    """`(timestep, class)` to modulation: (batch, depth, 6, hidden) for the blocks, (batch, 2, hidden) for the end.

    The six of a block are shift, scale and gate of its attention, then of its feed-forward; the two of the end are
    shift and scale.
    """

    def __init__(self, network: Any) -> None:
        """Take the parts of a `DiTTransformer2DModel`; they are shared with it, not copied."""
        super().__init__()
        norms = [block.norm1 for block in network.transformer_blocks]
        embedders = [norm.emb for norm in norms]
        shared = all(_equal_weights(embedders[0], other) for other in embedders[1:])
        self.embedders = nn.ModuleList(embedders[:1] if shared else embedders)
        self.modulators = nn.ModuleList(norm.linear for norm in norms)
        self.final = network.proj_out_1

    def forward(self, timestep: Tensor, class_id: Tensor) -> tuple[Tensor, Tensor]:
        """Both inputs (batch,), int64; the id after the last class is no class."""
        embeddings = [F.silu(embed(timestep, class_id, hidden_dtype=torch.float32)) for embed in self.embedders]
        for_blocks = embeddings if len(embeddings) > 1 else embeddings * len(self.modulators)
        modulation = torch.stack(
            [modulate(e).unflatten(1, (6, -1)) for modulate, e in zip(self.modulators, for_blocks, strict=True)],
            dim=1,
        )
        return modulation, self.final(embeddings[0]).unflatten(1, (2, -1))


class Trunk(nn.Module):
    """Latents to a prediction, the modulation given."""

    def __init__(self, network: Any) -> None:
        """Take the parts of a `DiTTransformer2DModel`; they are shared with it, not copied."""
        super().__init__()
        blocks = network.transformer_blocks
        self.embed = network.pos_embed
        self.attention_norms = nn.ModuleList(block.norm1.norm for block in blocks)
        self.attentions = nn.ModuleList(block.attn1 for block in blocks)
        self.forward_norms = nn.ModuleList(block.norm3 for block in blocks)
        self.forwards = nn.ModuleList(block.ff for block in blocks)
        self.final_norm = network.norm_out
        self.project = network.proj_out_2
        self.patch = network.config.patch_size
        self.patches = network.config.sample_size // self.patch
        self.channels = network.out_channels

    def forward(self, latents: Tensor, modulation: Tensor, final_modulation: Tensor) -> Tensor:
        """(batch, channels, side, side) to the noise, and to its variance behind it if learned."""
        x: Tensor = self.embed(latents)
        parts = zip(self.attention_norms, self.attentions, self.forward_norms, self.forwards, strict=True)
        for index, (norm1, attend, norm2, feed_forward) in enumerate(parts):
            shift1, scale1, gate1, shift2, scale2, gate2 = modulation[:, index].chunk(6, dim=1)
            x = x + gate1 * attend(norm1(x) * (1 + scale1) + shift1)
            x = x + gate2 * feed_forward(norm2(x) * (1 + scale2) + shift2)
        shift, scale = final_modulation.chunk(2, dim=1)
        x = self.project(self.final_norm(x) * (1 + scale) + shift)
        x = x.view(-1, self.patches, self.patches, self.patch, self.patch, self.channels)
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def describe_dit(network: Any, classes: tuple[str, ...]) -> DenoiserInfo:
    """What the manifest says of a `DiTTransformer2DModel` with these class names.

    Raises:
        ExportError: Its patches do not fill its latents, or its output is neither noise nor noise and variance.
    """
    config = network.config
    if config.sample_size % config.patch_size:
        raise ExportError(
            f"a DiT on latents of side {config.sample_size} cannot have patches of side {config.patch_size}"
        )
    if network.out_channels not in (config.in_channels, 2 * config.in_channels):
        raise ExportError(
            f"a DiT with {config.in_channels} channels in and {network.out_channels} out predicts neither the "
            "noise alone nor the noise and its variance"
        )
    return DenoiserInfo(
        latent_shape=(config.in_channels, config.sample_size, config.sample_size),
        classes=classes,
        null_class=config.num_embeds_ada_norm,
        learned_sigma=network.out_channels != config.in_channels,
    )


def export_dit(network: Any, pack: Path, options: ExportOptions) -> dict[Role, GraphEntry]:
    """Write both graphs of a `DiTTransformer2DModel` in float32, and compare them with it.

    The conditioner is compared with its own part of the network; the trunk, fed by the conditioner's graph, with
    the whole network.

    Raises:
        ExportError: The network cannot be traced.
        ParityError: A graph computes something else.
    """
    conditioner, trunk = Conditioner(network), Trunk(network)
    condition_spec, trunk_spec = _specs(network)
    sizes = {"batch": 2}
    written = {
        "conditioner": write_graph(
            Tracing(network=conditioner, spec=condition_spec, sizes=sizes),
            pack,
            "transformer_conditioner",
            options,
        ),
        "trunk": write_graph(Tracing(network=trunk, spec=trunk_spec, sizes=sizes), pack, "transformer", options),
    }
    inputs = (*condition_spec.inputs, trunk_spec.inputs[0])
    num_ids = network.config.num_embeds_ada_norm + 1
    cases = [random_feeds(inputs, {"batch": batch}, timestep=1000, class_id=num_ids) for batch in BATCHES]
    with opened(written["conditioner"], pack) as condition, opened(written["trunk"], pack) as predict:
        reference = computation(conditioner, [tensor.name for tensor in condition_spec.outputs])
        condition_cases = [_conditions(feeds) for feeds in cases]
        return {
            "conditioner": written["conditioner"].entry(
                check_parity("conditioner", condition, reference, condition_cases)
            ),
            "trunk": written["trunk"].entry(check_parity("trunk", _joined(condition, predict), _whole(network), cases)),
        }


def _specs(network: Any) -> tuple[GraphSpec, GraphSpec]:
    config = network.config
    hidden, depth = network.inner_dim, len(network.transformer_blocks)
    modulations = (
        TensorSpec("modulation", "float32", ("batch", depth, 6, hidden)),
        TensorSpec("final_modulation", "float32", ("batch", 2, hidden)),
    )
    ids = tuple(TensorSpec(name, "int64", ("batch",)) for name in ("timestep", "class_id"))
    side = config.sample_size
    latents = TensorSpec("latents", "float32", ("batch", config.in_channels, side, side))
    prediction = TensorSpec("prediction", "float32", ("batch", network.out_channels, side, side))
    return GraphSpec(ids, modulations), GraphSpec((latents, *modulations), (prediction,))


def _conditions(feeds: Feeds) -> Feeds:
    return {name: feeds[name] for name in ("timestep", "class_id")}


def _joined(condition: Computation, predict: Computation) -> Computation:
    return lambda feeds: predict({"latents": feeds["latents"], **condition(_conditions(feeds))})


def _whole(network: Any) -> Computation:
    def run(feeds: Feeds) -> Feeds:
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        with torch.no_grad():
            output = network(tensors["latents"], timestep=tensors["timestep"], class_labels=tensors["class_id"])
        return {"prediction": output.sample.numpy()}

    return run


def _equal_weights(one: nn.Module, other: nn.Module) -> bool:
    weights: Mapping[str, Tensor] = other.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())

"""Diffusion features: the trunk of a pack up to one of its blocks, as a graph of its own.

What a denoiser computes on its way tells what is where in an image (DIFT: Tang et al., "Emergent Correspondence from
Image Diffusion", NeurIPS 2023). The role `features` is the trunk without what comes after that block:

    features    the trunk's inputs, those that are still used    to  features, of shape (batch, channels, height, width)

Both graphs name the same weights in a file beside them; where these lay inside the trunk's file, they are moved out of
it first. So a pack grows by the nodes alone, some 20 KB.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.engine import compile
from limbeck.errors import ExportError
from limbeck.export.identity import identified
from limbeck.export.parity import BATCHES, check_parity, random_feeds
from limbeck.export.step_cache import block_tokens, token_grid
from limbeck.pack import (
    DenoiserPart,
    FileEntry,
    GraphEntry,
    Pack,
    PackManifest,
    TensorEntry,
    UnetInfo,
    file_entry,
    write_manifest,
)

FEATURES = "features"

TIMES = 1000
"""Times to compare at are drawn below this."""


def add_features(folder: Path, *, block: int) -> PackManifest:
    """Give the pack at `folder` the role `features`: the maps that leave block `block` of its trunk.

    The pack is changed where it stands; its images stay the same.

    Args:
        folder: A pack with a denoiser in float32.
        block: From 0. Of a DiT any block; of a UNet an up block before the last, as DIFT's `up_ft_index`: 1 for Stable
            Diffusion. Of a UNet with one up block, a layer of that block before the last.

    Returns:
        The new manifest.

    Raises:
        ExportError: The pack has no such denoiser, has the role already, or there is no such block.
        ParityError: The new graph computes something else than the trunk does there; the pack is as it was.
    """
    pack = Pack.open(folder)
    denoiser = _checked(pack.manifest)
    entry, trunk = pack.manifest.graphs["trunk"], pack.graph("trunk")
    moved, whole, cut = (trunk.path.with_name(f"{name}.onnx") for name in ("moved", "whole", FEATURES))
    data = trunk.path.with_name(f"{trunk.path.name}.data")
    new = [moved, whole, cut] if entry.external else [moved, whole, cut, data]
    try:
        ir.save(ir.load(trunk.path), moved, external_data=None if entry.external else data.name)
        spec = _write_cut(Graph(moved, trunk.spec, ""), whole, cut, denoiser, block)
        parity = _parity(Graph(whole, GraphSpec(trunk.spec.inputs, spec.outputs), ""), Graph(cut, spec, ""))
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise
    whole.unlink()
    moved.replace(trunk.path)
    beside = PurePosixPath(entry.file)
    external = entry.external or (str(beside.with_name(data.name)),)
    made = GraphEntry(
        file=str(beside.with_name(cut.name)),
        external=external,
        inputs=_entries(spec.inputs),
        outputs=_entries(spec.outputs),
        weights=entry.weights,
        opset=entry.opset,
        parity=parity,
        recipe={"block": block},
    )
    return _written(pack, entry.model_copy(update={"external": external}), made)


def _checked(manifest: PackManifest) -> DenoiserPart:
    if manifest.denoiser is None:
        raise ExportError(f"pack '{manifest.name}' has no denoiser, so it has no diffusion features")
    if "features" in manifest.graphs:
        raise ExportError(f"pack '{manifest.name}' has a features graph already; export it again for another block")
    precision = manifest.graphs["trunk"].precision
    if precision != "fp32":
        raise ExportError(f"the trunk of pack '{manifest.name}' is {precision}; cut the fp32 pack it was built from")
    return manifest.denoiser


def _written(pack: Pack, trunk: GraphEntry, features: GraphEntry) -> PackManifest:
    """The pack's manifest with both graphs, written."""
    names = (trunk.file, *trunk.external, features.file)
    files: dict[str, FileEntry] = {**pack.manifest.files}
    files |= {name: file_entry(pack.folder / name) for name in names}
    made = {"trunk": identified(pack.folder, trunk, files), "features": identified(pack.folder, features, files)}
    manifest = pack.manifest.model_copy(update={"graphs": {**pack.manifest.graphs, **made}, "files": files})
    write_manifest(pack.folder, manifest)
    return manifest


def _write_cut(trunk: Graph, whole: Path, cut: Path, denoiser: DenoiserPart, block: int) -> GraphSpec:
    """Write the trunk up to the block to `cut`, and all of it with that output to `whole`; returns what `cut` is."""
    model = ir.load(trunk.path)
    if isinstance(denoiser, UnetInfo):
        maps, shape = _up_block(model, denoiser, block)
    else:
        maps, shape = _dit_block(model, trunk.spec, block)
    output = TensorSpec(FEATURES, "float32", ("batch", *shape))
    maps.name, maps.type, maps.shape = output.name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(output.shape)
    model.graph.outputs[:] = [maps]
    ir.save(model, whole)
    RemoveUnusedNodesPass()(model)
    used = [value for value in model.graph.inputs if value.uses()]
    model.graph.inputs[:] = used
    ir.save(model, cut)
    names = {value.name for value in used}
    return GraphSpec(tuple(tensor for tensor in trunk.spec.inputs if tensor.name in names), (output,))


def _dit_block(model: ir.Model, spec: GraphSpec, block: int) -> tuple[ir.Value, tuple[int, ...]]:
    """The tokens after the block, laid out as maps, and the shape of these."""
    tokens = block_tokens(model, spec)
    if not 0 <= block < len(tokens) - 1:
        raise ExportError(f"the DiT has the blocks 0 to {len(tokens) - 2}, features of block {block} were asked for")
    (modulation,) = (tensor for tensor in spec.inputs if tensor.name == "modulation")
    shape = [0, int(modulation.shape[-1]), *token_grid(model, spec)]
    turned = ir.Node("", "Transpose", [tokens[block + 1]], [ir.AttrInt64s("perm", [0, 2, 1])], name="node_turned")
    sizes = ir.Value(name="features_shape", const_value=ir.tensor(shape, dtype=ir.DataType.INT64))
    model.graph.register_initializer(sizes)
    maps = ir.Node("", "Reshape", [turned.outputs[0], sizes], name="node_features")
    model.graph.extend([turned, maps])
    return maps.outputs[0], tuple(shape[1:])


def _up_block(model: ir.Model, info: UnetInfo, block: int) -> tuple[ir.Value, tuple[int, ...]]:
    """What leaves the up block, and its shape: every one but the last ends in a convolution of the enlarged maps."""
    enlarged = [node for node in model.graph if node.op_type == "Resize"]
    if not enlarged:
        return _up_layer(model, info, block)
    ends = [use.node for node in enlarged for use in node.outputs[0].uses()]
    if len(ends) != len(enlarged) or any(end.op_type != "Conv" for end in ends):
        raise ExportError("the UNet does not enlarge its maps by a convolution after each up block; it cannot be cut")
    if not 0 <= block < len(ends):
        raise ExportError(
            f"the UNet has up blocks 0 to {len(ends)}, of which 0 to {len(ends) - 1} have features to take; "
            f"block {block} was asked for"
        )
    sides = list(info.latent_shape[1:])
    for _ in range(len(ends) - 1 - block):
        sides = [-(-side // 2) for side in sides]
    weights = ends[block].inputs[1]
    assert weights is not None, "a convolution has weights"
    return ends[block].outputs[0], (_rows(weights), *sides)


def _up_layer(model: ir.Model, info: UnetInfo, layer: int) -> tuple[ir.Value, tuple[int, ...]]:
    """What leaves a layer of the only up block, and its shape: the next layer joins it to what an earlier one kept."""
    joins = [node for node in model.graph if node.op_type == "Concat" and node.attributes["axis"].as_int() == 1]
    maps = [join.inputs[0] for join in joins[1:]]
    if not 0 <= layer < len(maps):
        raise ExportError(
            f"the UNet has one up block with layers 0 to {len(joins) - 1}, of which the first {len(maps)} have "
            f"features to take; block {layer} was asked for"
        )
    found = maps[layer]
    assert found is not None, "what is joined is there"
    added = found.producer()
    ends = [value.producer() for value in added.inputs if value is not None] if added is not None else []
    weights = [end.inputs[1] for end in ends if end is not None and end.op_type == "Conv"]
    if len(weights) != 1 or weights[0] is None:
        raise ExportError("the layers of the UNet's up block do not end in a residual convolution; it cannot be cut")
    return found, (_rows(weights[0]), *info.latent_shape[1:])


def _rows(weights: ir.Value) -> int:
    """The first size of a convolution's weights, which may be stored in half precision behind a Cast."""
    while weights.const_value is None:
        producer = weights.producer()
        source = producer.inputs[0] if producer is not None else None
        if source is None:
            raise ExportError("the weights of a convolution are not stored in the graph; the UNet cannot be cut")
        weights = source
    return int(weights.const_value.shape[0])  # type: ignore[arg-type]


def _parity(whole: Graph, cut: Graph) -> float:
    """The relative error of the cut graph against the whole trunk at the same place."""
    cases = [random_feeds(whole.spec.inputs, {"batch": batch}, timestep=TIMES) for batch in BATCHES]
    backend = OnnxRuntime()
    with compile(whole, backend) as reference, compile(cut, backend) as engine:
        used = {tensor.name for tensor in cut.spec.inputs}
        return check_parity(
            FEATURES,
            lambda feeds: engine.run({name: feeds[name] for name in used}),
            reference.run,
            cases,
        )


def _entries(tensors: tuple[TensorSpec, ...]) -> tuple[TensorEntry, ...]:
    return tuple(TensorEntry(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape) for tensor in tensors)

"""A step cache's graphs, cut from the trunk of a pack: any DiT that limbeck exported, whatever its source.

    trunk      gives `middle` too: what its middle blocks added to the tokens
    shallow    latents, modulation, final_modulation, middle  to  prediction, without the middle blocks

Both name the same weights where these lie in a file beside the graph; weights inside a graph are stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.engine import compile
from limbeck.errors import ExportError
from limbeck.export.parity import BATCHES, check_parity, random_feeds
from limbeck.pack import GraphEntry, Pack, PackManifest, TensorEntry, file_entry, write_manifest

MIDDLE = "middle"


def add_shallow(folder: Path, *, first: int = 1, last: int = 1) -> None:
    """Give the pack at `folder` what a step cache needs: `middle` of its trunk, and the role `shallow`.

    The pack is changed where it stands; without a step cache it makes the same images as before.

    Args:
        folder: A pack with a DiT in float32; other precisions are made of both graphs afterwards.
        first: Blocks before the middle.
        last: Blocks after it.

    Raises:
        ExportError: The pack has no such DiT, has a shallow graph already, or no block is left between.
        ParityError: The graphs do not compute what the trunk did; the pack is as it was.
    """
    pack = Pack.open(folder)
    _check(pack.manifest)
    entry, whole = pack.manifest.graphs["trunk"], pack.graph("trunk")
    path = folder / entry.file
    trunk, shallow = path.with_name("middle.onnx"), path.with_name("shallow.onnx")
    try:
        middle = _write_trunk(whole, trunk, first=first, last=last)
        _write_shallow(whole, shallow, middle, first=first, last=last)
        trunk_spec = GraphSpec(whole.spec.inputs, (*whole.spec.outputs, middle))
        shallow_spec = GraphSpec((*whole.spec.inputs, middle), whole.spec.outputs)
        parity = _parity(whole, Graph(trunk, trunk_spec, ""), Graph(shallow, shallow_spec, ""))
        trunk.replace(path)
    except BaseException:
        trunk.unlink(missing_ok=True)
        shallow.unlink(missing_ok=True)
        raise
    name = PurePosixPath(entry.file).with_name(shallow.name).as_posix()
    made = GraphEntry(
        file=name,
        external=entry.external,
        inputs=_entries(shallow_spec.inputs),
        outputs=_entries(shallow_spec.outputs),
        weights=entry.weights,
        opset=entry.opset,
        parity=parity,
        recipe={"first": first, "last": last},
    )
    changed = entry.model_copy(update={"outputs": _entries(trunk_spec.outputs)})
    graphs = {**pack.manifest.graphs, "trunk": changed, "shallow": made}
    files = {**pack.manifest.files, entry.file: file_entry(path), name: file_entry(folder / name)}
    write_manifest(folder, pack.manifest.model_copy(update={"graphs": graphs, "files": files}))


def _check(manifest: PackManifest) -> None:
    if manifest.denoiser is None or manifest.denoiser.kind != "dit":
        raise ExportError(f"pack '{manifest.name}' has no DiT; a step cache is made for nothing else")
    if "shallow" in manifest.graphs:
        raise ExportError(f"pack '{manifest.name}' has a shallow graph already; export it again to cut it elsewhere")
    precision = manifest.graphs["trunk"].precision
    if precision != "fp32":
        raise ExportError(
            f"the trunk of pack '{manifest.name}' is {precision}; cut the fp32 pack, then make both graphs {precision}"
        )


def _write_trunk(whole: Graph, path: Path, *, first: int, last: int) -> TensorSpec:
    """The trunk with `middle` as second output; returns what that is."""
    model = ir.load(whole.path)
    before, after = _ends_of_the_middle(model, whole.spec, first=first, last=last)
    rows, columns = token_grid(model, whole.spec)
    middle = TensorSpec(MIDDLE, "float32", ("batch", rows * columns, _sizes(whole.spec, "modulation")[-1]))
    difference = ir.Node("", "Sub", [after, before], name="node_middle")
    model.graph.append(difference)
    (output,) = difference.outputs
    _describe(output, middle)
    model.graph.outputs.append(output)
    ir.save(model, path)
    return middle


def _write_shallow(whole: Graph, path: Path, middle: TensorSpec, *, first: int, last: int) -> None:
    """The trunk without its middle blocks, and without the weights that only these use."""
    model = ir.load(whole.path)
    before, after = _ends_of_the_middle(model, whole.spec, first=first, last=last)
    given = ir.Value()
    _describe(given, middle)
    model.graph.inputs.append(given)
    bridge = ir.Node("", "Add", [before, given], name="node_middle")
    after.replace_all_uses_with(bridge.outputs[0])
    first_user = min((node for node, _ in bridge.outputs[0].uses()), key=list(model.graph).index)
    model.graph.insert_before(first_user, bridge)
    RemoveUnusedNodesPass()(model)
    ir.save(model, path)


def _ends_of_the_middle(model: ir.Model, spec: GraphSpec, *, first: int, last: int) -> tuple[ir.Value, ir.Value]:
    """The tokens before and after the middle blocks."""
    tokens = block_tokens(model, spec)
    depth = len(tokens) - 1
    if first < 0 or last < 0 or first + last >= depth:
        raise ExportError(f"{first} first and {last} last of {depth} blocks leave none between to be cached")
    return tokens[first], tokens[depth - last]


def block_tokens(model: ir.Model, spec: GraphSpec) -> list[ir.Value]:
    """The tokens before every block of a DiT's trunk, and after the last.

    Every block normalizes the tokens twice, before its attention and before its feed-forward, and so does the end
    once: what the normalizations read, in order, are the tokens at each of these places.

    Raises:
        ExportError: It has not as many normalizations.
    """
    depth = _sizes(spec, "modulation")[0]
    norms = [node for node in model.graph if node.op_type == "LayerNormalization"]
    tokens = [value for node in norms if (value := node.inputs[0]) is not None]
    if len(tokens) != 2 * depth + 1:
        raise ExportError(
            f"a DiT of {depth} blocks has {2 * depth + 1} layer norms, this trunk has {len(tokens)}; "
            "only a DiT as limbeck exports it can be cut"
        )
    return tokens[::2]


def token_grid(model: ir.Model, spec: GraphSpec) -> tuple[int, int]:
    """Rows and columns of the tokens of a DiT's trunk."""
    (embed,) = (node for node in model.graph if node.op_type == "Conv")
    _, height, width = _sizes(spec, "latents")
    down, right = embed.attributes["strides"].as_ints()
    return height // down, width // right


def _sizes(spec: GraphSpec, name: str) -> tuple[int, ...]:
    """The sizes of an input but its batch: (channels, height, width) of latents, (depth, 6, hidden) of modulation."""
    (tensor,) = (tensor for tensor in spec.inputs if tensor.name == name)
    return tuple(size for size in tensor.shape if isinstance(size, int))


def _describe(value: ir.Value, tensor: TensorSpec) -> None:
    value.name, value.type, value.shape = tensor.name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(tensor.shape)


def _parity(whole: Graph, trunk: Graph, shallow: Graph) -> float:
    """The relative error of the shallow graph, fed with the trunk's middle, against the trunk as it was."""
    cases = [random_feeds(whole.spec.inputs, {"batch": batch}) for batch in BATCHES]
    backend = OnnxRuntime()
    with compile(whole, backend) as reference, compile(trunk, backend) as cut, compile(shallow, backend) as outer:
        check_parity("trunk", lambda feeds: {"prediction": cut.run(feeds)["prediction"]}, reference.run, cases)
        return check_parity(
            "shallow trunk",
            lambda feeds: outer.run({**feeds, MIDDLE: cut.run(feeds)[MIDDLE]}),
            reference.run,
            cases,
        )


def _entries(tensors: Sequence[TensorSpec]) -> tuple[TensorEntry, ...]:
    return tuple(TensorEntry(name=tensor.name, dtype=tensor.dtype, shape=tensor.shape) for tensor in tensors)

"""A graph built to bytes by TensorRT or TensorRT-RTX: parse, set the profiles, build. No device is needed by RTX.

Networks are strongly typed: the graph says the precision of everything (casts, Q/DQ nodes), the builder chooses none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from limbeck.backends.base import Graph, GraphSpec, TensorSpec
from limbeck.backends.spec import check_spec
from limbeck.backends.tensorrt_graph import standard_model
from limbeck.errors import ConfigError, EngineError, MemoryLimitError

Range: TypeAlias = tuple[int, int, int]
"""The smallest size, the one to optimize for, and the largest."""

Profile: TypeAlias = Mapping[str, int | Range]
"""The sizes of symbolic dimensions, by name, that an engine shall take. One size, that of a bucket, is fastest."""


def make_logger(trt: ModuleType) -> Any:
    """A logger of the runtime's that keeps errors in `.errors`; the rest is dropped."""

    class Log(trt.ILogger):  # type: ignore[misc, name-defined] # a class of a module known at run time
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def build(
    trt: ModuleType,
    graph: Graph,
    *,
    targets: Sequence[str],
    profiles: Sequence[Profile],
    workspace_nbytes: int | None,
) -> bytes:
    """Build `graph`; the arguments as in `TensorRtRtx`.

    Raises:
        ConfigError: A symbolic dimension has no size in a profile.
        EngineError: The parser or the builder refuses the graph; with all that it refuses, and why.
        MemoryLimitError: No kernel fits the workspace.
    """
    log = make_logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_strongly_typed(trt))
    _parse(trt, graph, network, log)
    check_spec(graph, _spec(trt, network))
    _let_attention_be_split(trt, network)
    config = builder.create_builder_config()
    if targets:
        config.num_compute_capabilities = len(targets)
        for place, target in enumerate(targets):
            config.set_compute_capability(getattr(trt.ComputeCapability, target), place)
    for profile in profiles:
        config.add_optimization_profile(_profile(builder, graph, profile))
    if workspace_nbytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_nbytes)
    built = builder.build_serialized_network(network, config)
    if built is None:
        reason = "\n  ".join(log.errors) or "it gives no reason"
        if "OutOfMemory" in reason or "workspace limit" in reason:
            raise MemoryLimitError(
                f"{graph.path} cannot be built in a workspace of {workspace_nbytes} bytes:\n  {reason}\n"
                "give a larger workspace_nbytes, or a smaller bucket or image in the profiles"
            )
        raise EngineError(f"TensorRT {trt.__version__} cannot build {graph.path}:\n  {reason}")
    return bytes(memoryview(built))


def shape_range(tensor: TensorSpec, profile: Profile) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The smallest, the best and the largest shape of a tensor under a profile.

    Raises:
        ConfigError: A symbolic dimension has no size in it.
    """
    ranges = [_range(tensor, size, profile) for size in tensor.shape]
    low, best, high = (tuple(sizes[place] for sizes in ranges) for place in range(3))
    return low, best, high


def _range(tensor: TensorSpec, size: int | str, profile: Profile) -> Range:
    if isinstance(size, int):
        return size, size, size
    if size not in profile:
        raise ConfigError(
            f"TensorRT needs the sizes of '{size}' of {tensor}; the profile has {', '.join(profile) or 'none'}\n"
            f"give one, such as profiles=({{'{size}': 16}},), or a range, {{'{size}': (1, 16, 32)}}"
        )
    given = profile[size]
    return (given, given, given) if isinstance(given, int) else given


def _strongly_typed(trt: ModuleType) -> int:
    """The creation flags; from TensorRT 11 on there is no other kind of network, and perhaps no flag."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _parse(trt: ModuleType, graph: Graph, network: Any, log: Any) -> None:
    model = standard_model(graph.path)
    parser = trt.OnnxParser(network, log)
    unknown = sorted({node.op_type for node in model.graph.node if not parser.supports_operator(node.op_type)})
    if unknown:
        raise EngineError(
            f"TensorRT {trt.__version__} has no operator {', '.join(unknown)}, which {graph.path} uses; int8 with "
            "ranges found at run time is ONNX Runtime's own: use fp32, fp16, bf16, or int8-static (Q/DQ)"
        )
    if not parser.parse(model.SerializeToString(), str(graph.path)):
        reasons = [parser.get_error(place) for place in range(parser.num_errors)]
        shown = "\n  ".join(f"{error.node_operator()} '{error.node_name()}': {error.desc()}" for error in reasons)
        raise EngineError(f"TensorRT {trt.__version__} cannot read {graph.path}:\n  {shown}")


def _let_attention_be_split(trt: ModuleType, network: Any) -> None:
    """Let the builder use a product, a softmax and a product where it has no kernel for all of an attention.

    Without this it refuses what no kernel takes: float32 with a range of batches, on TensorRT-RTX 1.7.
    """
    for place in range(network.num_layers):
        layer = network.get_layer(place)
        if layer.type.name == "ATTENTION_INPUT":
            layer.__class__ = trt.IAttentionInputLayer  # the bindings' way to say what kind of layer it is
            layer.attention.decomposable = True


def _profile(builder: Any, graph: Graph, profile: Profile) -> Any:
    made = builder.create_optimization_profile()
    for tensor in graph.spec.inputs:
        made.set_shape(tensor.name, *shape_range(tensor, profile))
    return made


def _spec(trt: ModuleType, network: Any) -> GraphSpec:
    """The parser's view of the graph; a free size is "?"."""

    def tensor(found: Any) -> TensorSpec:
        shape = tuple("?" if size == -1 else int(size) for size in found.shape)
        return TensorSpec(found.name, np.dtype(trt.nptype(found.dtype)).name, shape)

    return GraphSpec(
        inputs=tuple(tensor(network.get_input(place)) for place in range(network.num_inputs)),
        outputs=tuple(tensor(network.get_output(place)) for place in range(network.num_outputs)),
    )

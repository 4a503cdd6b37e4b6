"""A built TensorRT engine on the device: host arrays in, host arrays out, scratch from a shared arena.

Not measured: no GPU was there when this was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from limbeck.arrays import Array
from limbeck.backends.base import Graph, Session
from limbeck.backends.cuda import DeviceBuffer, checked, download, open_device, upload
from limbeck.backends.tensorrt_network import Profile, make_logger, shape_range
from limbeck.errors import EngineError, FeedError


class TensorRtSession(Session):
    """One engine, one execution context, one stream, and a device buffer for each input and output.

    Args:
        trt: The runtime's module.
        graph: What the engine was built of.
        built: The engine's bytes.
        profiles: Those it was built with, in order.
        arena: Scratch, shared with engines that never run at the same time as this one.
    """

    def __init__(
        self, trt: ModuleType, graph: Graph, built: bytes, *, profiles: Sequence[Profile], arena: DeviceBuffer
    ) -> None:
        """Put the weights on the device.

        Raises:
            BackendUnavailableError: There is no CUDA device.
            EngineError: The engine is of another version, target or device.
        """
        self._cuda = open_device()
        self._graph = graph
        self._profiles = profiles
        self._arena = arena
        self._log = make_logger(trt)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(built)
        if self._engine is None:
            raise EngineError(
                f"TensorRT {trt.__version__} cannot load the engine of {graph.path} on this device: {self._reason()}\n"
                "it was built for another version or device; build it again here"
            )
        self._context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._stream = checked(self._cuda, self._cuda.cudaStreamCreate())
        names = [tensor.name for tensor in (*graph.spec.inputs, *graph.spec.outputs)]
        self._buffers = {name: DeviceBuffer() for name in names}

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self._select_profile(feeds)
        for name, feed in feeds.items():
            array = np.ascontiguousarray(feed)
            self._demand(self._context.set_input_shape(name, array.shape), f"the shape {array.shape} of '{name}'")
            upload(self._cuda, self._bind(name, array.nbytes), array, self._stream)
        outputs = {}
        for tensor in self._graph.spec.outputs:
            shape = tuple(self._context.get_tensor_shape(tensor.name))
            outputs[tensor.name] = np.empty(shape, tensor.dtype)
            self._bind(tensor.name, outputs[tensor.name].nbytes)
        scratch = self._context.update_device_memory_size_for_shapes()
        self._context.set_device_memory(self._arena.at_least(self._cuda, scratch), scratch)
        self._demand(self._context.execute_async_v3(int(self._stream)), "a run")
        for name, array in outputs.items():
            download(self._cuda, array, self._buffers[name].at_least(self._cuda, array.nbytes), self._stream)
        # the feeds, the outputs and the arena are the caller's again after this
        checked(self._cuda, self._cuda.cudaStreamSynchronize(self._stream))
        return outputs

    def close(self) -> None:
        self._context = self._engine = self._runtime = None
        for buffer in self._buffers.values():
            buffer.close()
        self._cuda.cudaStreamDestroy(self._stream)

    def _select_profile(self, feeds: Mapping[str, Array]) -> None:
        place = fitting_profile(self._graph, self._profiles, feeds)
        if place != self._context.active_optimization_profile:
            chosen = self._context.set_optimization_profile_async(place, int(self._stream))
            self._demand(chosen, f"profile {place}")
            checked(self._cuda, self._cuda.cudaStreamSynchronize(self._stream))

    def _bind(self, name: str, nbytes: int) -> int:
        address = self._buffers[name].at_least(self._cuda, nbytes)
        self._demand(self._context.set_tensor_address(name, address), f"the address of '{name}'")
        return address

    def _demand(self, done: bool, what: str) -> None:
        if not done:
            raise EngineError(f"TensorRT refused {what} of {self._graph.path}: {self._reason()}")

    def _reason(self) -> str:
        reasons, self._log.errors = self._log.errors, []
        return "; ".join(reasons) or "it gives no reason"


def fitting_profile(graph: Graph, profiles: Sequence[Profile], feeds: Mapping[str, Array]) -> int:
    """The place of the first profile that takes the shapes of these feeds.

    Raises:
        FeedError: None does; with those there are.
    """
    for place, profile in enumerate(profiles):
        ranges = {tensor.name: shape_range(tensor, profile) for tensor in graph.spec.inputs}
        if all(_within(feeds[name].shape, low, high) for name, (low, _, high) in ranges.items()):
            return place
    shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
    raise FeedError(
        f"the engine of {graph.path} was not built for {shapes}; its profiles are "
        + "; ".join(str(dict(profile)) for profile in profiles)
    )


def _within(shape: tuple[int, ...], low: tuple[int, ...], high: tuple[int, ...]) -> bool:
    return all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))

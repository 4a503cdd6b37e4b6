"""Runs of an ONNX Runtime session on buffers that stay where they are, one set for each shape of the feeds.

A GPU then allocates nothing while it runs, and a CUDA graph, which replays fixed addresses, can be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from limbeck.arrays import Array

if TYPE_CHECKING:
    import onnxruntime

_Shapes: TypeAlias = tuple[tuple[str, tuple[int, ...]], ...]


class BoundRuns:
    """A session with its bound buffers.

    Args:
        session: ONNX Runtime's.
        outputs: Names, in the order of the results.
        device: "cpu" or "cuda".
        device_id: Which of them.
        graphs: Give each set of buffers a CUDA graph of its own.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[str],
        *,
        device: str,
        device_id: int = 0,
        graphs: bool = False,
    ) -> None:
        """Nothing is bound before the first run."""
        self._session = session
        self._outputs = outputs
        self._place = (device, device_id)
        self._graphs = graphs
        self._bound: dict[_Shapes, _Buffers] = {}

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """One array an output, owned by the caller."""
        shapes = tuple((name, array.shape) for name, array in feeds.items())
        buffers = self._bound.get(shapes)
        if buffers is None:
            buffers = self._bound[shapes] = self._bind(feeds)
        for name, array in feeds.items():
            buffers.inputs[name].update_inplace(array)
        self._session.run_with_iobinding(buffers.binding, buffers.options)
        return [np.array(value.numpy()) for value in buffers.outputs]

    def _bind(self, feeds: Mapping[str, Array]) -> _Buffers:
        """Buffers for the shapes of these feeds; those of the outputs are learned by running once."""
        import onnxruntime as ort

        binding = self._session.io_binding()
        inputs = {}
        for name, array in feeds.items():
            # not of the array itself, whose memory it would be on the CPU: feeds belong to the caller
            inputs[name] = ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, *self._place)
            inputs[name].update_inplace(array)
            binding.bind_ortvalue_input(name, inputs[name])
        for name in self._outputs:
            binding.bind_output(name, *self._place)
        options = ort.RunOptions()
        if self._graphs:
            options.add_run_config_entry("gpu_graph_id", "-1")  # this run's outputs are not yet where they will stay
        self._session.run_with_iobinding(binding, options)
        outputs = [
            ort.OrtValue.ortvalue_from_shape_and_type(value.shape(), value.element_type(), *self._place)
            for value in binding.get_outputs()
        ]
        binding.clear_binding_outputs()
        for name, value in zip(self._outputs, outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        options = ort.RunOptions()
        if self._graphs:
            options.add_run_config_entry("gpu_graph_id", str(len(self._bound) + 1))
        return _Buffers(binding, inputs, outputs, options)


class _Buffers:
    def __init__(
        self,
        binding: onnxruntime.IOBinding,
        inputs: Mapping[str, onnxruntime.OrtValue],
        outputs: Sequence[onnxruntime.OrtValue],
        options: onnxruntime.RunOptions,
    ) -> None:
        self.binding = binding
        self.inputs = inputs
        self.outputs = outputs
        self.options = options

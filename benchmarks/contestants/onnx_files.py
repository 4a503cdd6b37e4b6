"""ONNX and OpenVINO files run by their runtimes with no work of ours: what a user has after the usual export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]


class OnnxRuntimeFile:
    """ONNX Runtime's CPU provider with its default settings.

    Args:
        path: The `.onnx` file.
        channels: How many channels of the output are compared; None for all.
        threads: Threads of one operation.
    """

    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    def __init__(self, *, path: str, channels: int | None = None, threads: int) -> None:
        """Keep the settings."""
        self._path, self._channels, self._threads = Path(path), channels, threads

    def load(self) -> None:
        """Make the session."""
        import onnxruntime

        explain_absence(self._path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """One pass."""
        found: NDArray[Any] = self._session.run(None, dict(feeds))[0]
        return found[:, : self._channels]


class OpenVinoFile:
    """OpenVINO on the CPU, for latency.

    Args:
        path: An `.onnx` file or OpenVINO's `.xml`.
        precision: "f32" or "bf16", of what the file leaves open.
        channels: How many channels of the output are compared; None for all.
        threads: Threads of one inference.
    """

    packages: ClassVar[tuple[str, ...]] = ("openvino",)

    def __init__(self, *, path: str, precision: str, channels: int | None = None, threads: int) -> None:
        """Keep the settings."""
        self._path, self._channels = Path(path), channels
        self._config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        }

    def load(self) -> None:
        """Compile the model."""
        import openvino

        explain_absence(self._path)
        self._model: Any = openvino.Core().compile_model(str(self._path), "CPU", self._config)

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """One pass."""
        found: NDArray[Any] = self._model(dict(feeds))[0]
        return found[:, : self._channels]


def explain_absence(path: Path) -> None:
    """Raise with the reason that `benchmarks.prepare` left in place of a file that it could not make."""
    reason = path.with_suffix(".failed")
    if reason.is_file():
        raise RuntimeError(reason.read_text().strip())
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not there; make it with python -m benchmarks.prepare")

"""Device memory and streams, through NVIDIA's `cuda-bindings`: what TensorRT leaves to its caller.

Not measured: no GPU was there when this was written.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from limbeck.arrays import Array
from limbeck.errors import BackendUnavailableError, ConfigError, EngineError, MemoryLimitError

_ALIGNMENT_NBYTES = 256


def open_device() -> ModuleType:
    """The CUDA runtime's module, once a device is known to be there.

    Raises:
        BackendUnavailableError: The package, the driver or a device is missing, and which.
    """
    try:
        cuda = importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise BackendUnavailableError(
            "running a TensorRT engine needs the 'cuda-bindings' package: pip install 'limbeck[tensorrt-rtx]'"
        ) from error
    status, count = cuda.cudaGetDeviceCount()
    if status != cuda.cudaError_t.cudaSuccess or not count:
        raise BackendUnavailableError(
            f"running a TensorRT engine needs a CUDA device, and there is none: {_text(cuda, status)}\n"
            "engines for other machines can be built here: limbeck build --backend tensorrt-rtx --ahead-of-time\n"
            "to run here, use the onnxruntime or the openvino backend"
        )
    return cuda


def device_name(cuda: ModuleType) -> str:
    """Model, compute capability, memory and driver of device 0: what an engine is built and measured for."""
    properties = checked(cuda, cuda.cudaGetDeviceProperties(0))
    driver = checked(cuda, cuda.cudaDriverGetVersion())
    name = properties.name.decode().rstrip("\0")
    return f"{name} sm{properties.major}{properties.minor} {properties.totalGlobalMem} bytes, driver {driver}"


def checked(cuda: ModuleType, result: tuple[Any, ...]) -> Any:
    """What a call of the runtime returned beside its status.

    Raises:
        MemoryLimitError: The device has not the memory that was asked for.
        EngineError: Any other failure.
    """
    status, *values = result
    if status == cuda.cudaError_t.cudaErrorMemoryAllocation:
        raise MemoryLimitError(f"the CUDA device has too little free memory: {_text(cuda, status)}")
    if status != cuda.cudaError_t.cudaSuccess:
        raise EngineError(f"CUDA failed: {_text(cuda, status)}")
    return values[0] if values else None


class DeviceBuffer:
    """Device memory that grows when more is asked for and is used again when less is.

    As the scratch of several TensorRT engines that run one after another it is their shared arena: what one call
    left in it the next one overwrites, and the device holds the largest, not the sum.

    Args:
        limit_nbytes: The most that it may grow to; None is what the device has.
    """

    def __init__(self, *, limit_nbytes: int | None = None) -> None:
        """Nothing is allocated before the first `at_least`."""
        if limit_nbytes is not None and limit_nbytes < 1:
            raise ConfigError(f"a device buffer needs a limit of at least one byte, got limit_nbytes={limit_nbytes}")
        self.limit_nbytes = limit_nbytes
        self.nbytes = 0
        self._cuda: ModuleType | None = None
        self._address = 0

    def at_least(self, cuda: ModuleType, nbytes: int) -> int:
        """The address of at least `nbytes` bytes; what lay there before may be gone.

        Raises:
            MemoryLimitError: It would exceed the limit, or the device has not so much.
        """
        if self.limit_nbytes is not None and nbytes > self.limit_nbytes:
            raise MemoryLimitError(
                f"a TensorRT engine needs {nbytes} bytes of device scratch, the limit is {self.limit_nbytes}; "
                "use a smaller bucket, or a larger limit"
            )
        if nbytes > self.nbytes:
            self.close()  # first: old and new need not fit together
            rounded = -(-nbytes // _ALIGNMENT_NBYTES) * _ALIGNMENT_NBYTES
            self._address = int(checked(cuda, cuda.cudaMalloc(rounded)))
            self._cuda, self.nbytes = cuda, nbytes
        return self._address

    def close(self) -> None:
        """Give it back; it can be used again."""
        if self._cuda is not None:
            self._cuda.cudaFree(self._address)
        self._cuda, self._address, self.nbytes = None, 0, 0


def upload(cuda: ModuleType, address: int, array: Array, stream: Any) -> None:
    """Queue a copy of a contiguous host array to the device."""
    kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
    checked(cuda, cuda.cudaMemcpyAsync(address, array.ctypes.data, array.nbytes, kind, stream))


def download(cuda: ModuleType, array: Array, address: int, stream: Any) -> None:
    """Queue a copy from the device into a contiguous host array."""
    kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
    checked(cuda, cuda.cudaMemcpyAsync(array.ctypes.data, address, array.nbytes, kind, stream))


def _text(cuda: ModuleType, status: Any) -> str:
    _, text = cuda.cudaGetErrorString(status)
    return f"{text.decode()} ({status.name})"

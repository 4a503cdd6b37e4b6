"""TensorRT-RTX and TensorRT: engines built ahead of time, for GPUs that need not be there.

    graph --standard attention--> network --profiles, workspace, targets--> bytes --device--> session

`TensorRtRtx` builds on any machine for the targets that are named and finishes the kernels on the user's GPU;
`TensorRt` builds on the machine and the GPU that will run the engine. Both read strongly typed graphs: precision is in
the graph (fp32, fp16, bf16, int8 as Q/DQ), see `limbeck.quantize`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import ClassVar

from limbeck import __version__
from limbeck.backends.base import AheadOfTimeBackend, Graph, Session
from limbeck.backends.cuda import DeviceBuffer, device_name, open_device
from limbeck.backends.key import fingerprint
from limbeck.backends.tensorrt_network import Profile, Range, build
from limbeck.backends.tensorrt_session import TensorRtSession
from limbeck.errors import BackendUnavailableError, ConfigError


class TensorRt(AheadOfTimeBackend):
    """TensorRT 10 or 11, for the GPU of this machine.

    Args:
        profiles: The sizes of symbolic dimensions that an engine shall take, one profile a bucket:
            `({"batch": 2}, {"batch": 16})`. One size is fastest; a range is (smallest, best, largest).
        workspace_nbytes: The most device memory a kernel may take beside weights and activations, held while
            building; None leaves it to the runtime.
        arena: Scratch for activations. Give one to several backends whose engines run one after another, and the
            device holds the largest scratch of them, not the sum. None makes one for the engines of this backend.
    """

    name = "tensorrt"
    module: ClassVar[str] = "tensorrt"
    advice: ClassVar[str] = "pip install tensorrt, from NVIDIA's own index, of the version of your driver"

    def __init__(
        self,
        *,
        profiles: Sequence[Profile] = ({},),
        workspace_nbytes: int | None = None,
        arena: DeviceBuffer | None = None,
    ) -> None:
        """Keep the settings; nothing is loaded before `build`."""
        if not profiles:
            raise ConfigError("TensorRT needs at least one profile; ({},) is that of a graph of fixed sizes")
        if workspace_nbytes is not None and workspace_nbytes < 1:
            raise ConfigError(f"a workspace is at least one byte, got workspace_nbytes={workspace_nbytes}")
        self.profiles = tuple(_checked_profile(profile) for profile in profiles)
        self.workspace_nbytes = workspace_nbytes
        self.arena = DeviceBuffer() if arena is None else arena
        self.targets: tuple[str, ...] = ()

    def build(self, graph: Graph) -> bytes:
        """Compile `graph`; seconds for a small network, minutes for a large one."""
        trt = self._import()
        if not self.targets:
            self.find_device()  # it is built for; the message is better than the builder's
        return build(
            trt,
            graph,
            targets=self.targets,
            profiles=self.profiles,
            workspace_nbytes=self.workspace_nbytes,
        )

    def load(self, graph: Graph, built: bytes) -> Session:
        """Put a built engine on the device."""
        return TensorRtSession(self._import(), graph, built, profiles=self.profiles, arena=self.arena)

    def find_device(self) -> None:
        """Return if there is a CUDA device."""
        open_device()

    def fingerprint(self) -> str:
        """Versions, targets, profiles and workspace; the device where no target is named."""
        return fingerprint(
            versions={self.module: self._import().__version__, "limbeck": __version__},
            settings={
                "profiles": [dict(profile) for profile in self.profiles],
                "workspace_nbytes": self.workspace_nbytes,
            },
            device=" ".join(self.targets) or device_name(open_device()),
        )

    def _import(self) -> ModuleType:
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            raise BackendUnavailableError(
                f"the {self.name} backend needs the '{self.module}' package: {self.advice}"
            ) from error


class TensorRtRtx(TensorRt):
    """TensorRT-RTX, for GeForce and RTX GPUs from Turing on (compute capability 7.5).

    Args:
        targets: The GPUs to build for, by compute capability: "SM75", "SM80", "SM86", "SM89", "SM120". None named
            is the GPU of this machine. On SM75 graphs must be fp16 or int8: it refuses float32 products there.
        profiles: As `TensorRt`.
        workspace_nbytes: As `TensorRt`.
        arena: As `TensorRt`.
    """

    name = "tensorrt-rtx"
    module = "tensorrt_rtx_bindings"
    advice = "pip install 'limbeck[tensorrt-rtx]'"

    def __init__(
        self,
        *,
        targets: Sequence[str] = (),
        profiles: Sequence[Profile] = ({},),
        workspace_nbytes: int | None = None,
        arena: DeviceBuffer | None = None,
    ) -> None:
        """Keep the settings; nothing is loaded before `build`."""
        super().__init__(profiles=profiles, workspace_nbytes=workspace_nbytes, arena=arena)
        self.targets = tuple(targets)

    def build(self, graph: Graph) -> bytes:
        """Compile `graph` for the targets; no GPU is needed if they are named."""
        known = self._known_targets()
        unknown = [target for target in self.targets if target not in known]
        if unknown:
            raise ConfigError(f"TensorRT-RTX builds for {', '.join(known)}, not for {', '.join(unknown)}")
        return super().build(graph)

    def _known_targets(self) -> list[str]:
        return [name for name in self._import().ComputeCapability.__members__ if name.startswith("SM")]


def _checked_profile(profile: Profile) -> Mapping[str, int | Range]:
    for name, given in profile.items():
        low, best, high = (given, given, given) if isinstance(given, int) else given
        if not 1 <= low <= best <= high:
            raise ConfigError(
                f"the sizes of '{name}' in a profile must be positive and rise (smallest, best, largest), got {given}"
            )
    return dict(profile)

"""Networks of a limbeck pack, through the same adapters and backends as `limbeck distill`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from limbeck.backends.base import Backend
    from limbeck.pack import Role

Feeds = Mapping[str, NDArray[Any]]


OpenVinoPrecision = Literal["float32", "bfloat16"]


def _backend(name: str, precision: OpenVinoPrecision, threads: int) -> Backend:
    if name == "openvino":
        from limbeck.backends.openvino import OpenVino

        return OpenVino(precision=precision, threads=threads)
    from limbeck.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime(threads=threads)


class CutPack:
    """A denoiser cut in a conditioner and a trunk.

    Args:
        pack: Its folder.
        backend: "onnxruntime" or "openvino".
        precision: OpenVINO's arithmetic.
        conditioner: "table": computed once for each condition, before the trunk is loaded, as a run does that meets
            a condition again at every step or for every image; "every call": computed anew, both loaded.
        threads: Threads of one engine.
    """

    packages: ClassVar[tuple[str, ...]] = ("limbeck", "onnxruntime", "openvino")

    def __init__(
        self,
        *,
        pack: str,
        backend: str = "onnxruntime",
        precision: OpenVinoPrecision = "float32",
        conditioner: Literal["table", "every call"] = "table",
        threads: int,
    ) -> None:
        """Keep the settings."""
        self._folder, self._conditioner = pack, conditioner
        self._backend_settings = backend, precision, threads

    def load(self) -> None:
        """Open the pack; compile what is always loaded."""
        from limbeck.pack import Pack

        self._pack = Pack.open(self._folder)
        self._backend = _backend(*self._backend_settings)
        self._table: dict[bytes, Feeds] = {}
        self._engines: dict[Role, Any] = {}
        if self._conditioner == "every call":
            self._engine("conditioner")
            self._engine("trunk")

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """The noise; the trunk is compiled when it is first needed."""
        given = {**feeds, **self._conditions(feeds)}
        trunk = self._engine("trunk")
        found: NDArray[Any] = trunk.run({tensor.name: given[tensor.name] for tensor in trunk.spec.inputs})["prediction"]
        return found[:, : feeds["latents"].shape[1]]

    def _conditions(self, feeds: Feeds) -> Feeds:
        names = [tensor.name for tensor in self._pack.manifest.graphs["conditioner"].inputs]
        asked = {name: feeds[name] for name in names}
        if self._conditioner == "every call":
            made: Feeds = self._engine("conditioner").run(asked)
            return made
        key = b"".join(array.tobytes() for array in asked.values())
        if key not in self._table:
            self._close("trunk")
            self._table[key] = self._engine("conditioner").run(asked)
            self._close("conditioner")
        return self._table[key]

    def _engine(self, role: Role) -> Any:
        from limbeck.engine import compile

        if role not in self._engines:
            self._engines[role] = compile(self._pack.graph(role), self._backend)
        return self._engines[role]

    def _close(self, role: Role) -> None:
        if role in self._engines:
            self._engines.pop(role).close()


class GraphOfPack:
    """One graph of a pack whose inputs are the contest's feeds: decoder or backbone.

    Args:
        pack: Its folder.
        role: The graph's role.
        backend: "onnxruntime" or "openvino".
        precision: OpenVINO's arithmetic.
        threads: Threads of the engine.
    """

    packages: ClassVar[tuple[str, ...]] = ("limbeck", "onnxruntime", "openvino")

    def __init__(
        self,
        *,
        pack: str,
        role: Role,
        backend: str = "onnxruntime",
        precision: OpenVinoPrecision = "float32",
        threads: int,
    ) -> None:
        """Keep the settings."""
        self._folder, self._role = pack, role
        self._backend_settings = backend, precision, threads

    def load(self) -> None:
        """Compile the graph."""
        from limbeck.engine import compile
        from limbeck.pack import Pack

        self._engine = compile(Pack.open(self._folder).graph(self._role), _backend(*self._backend_settings))

    def run(self, feeds: Feeds) -> NDArray[Any]:
        """Its first output."""
        outputs = self._engine.run({name: np.ascontiguousarray(array) for name, array in feeds.items()})
        found: NDArray[Any] = next(iter(outputs.values()))
        return found

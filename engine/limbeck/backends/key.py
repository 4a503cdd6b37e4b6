"""The identity of an engine: everything that decides what it computes, as one digest.

    graph     what is computed: topology, attributes, weights; the recipe that made it of the exported one
    shapes    the sizes that its description fixes
    backend   name; exact versions, settings (optimization profiles too) and device, all read when the key is made

Nothing else is in it: not where files lie, nor what a node is called if the graph's digest is canonical
(`limbeck.backends.canonical`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from platform import machine, processor
from typing import Any

from limbeck.backends.base import Backend, Graph

_FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16")
"""What x86 kernels choose between; sums come out in another order, so with other last bits."""

_ARM_FEATURES = ("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "sme")


@dataclass(frozen=True, kw_only=True)
class EngineKey:
    """All that identifies an engine.

    Args:
        graph: Digest of the graph; see `Graph.digest`.
        recipe: How the graph was made of the exported one; see `Graph.recipe`.
        shapes: Inputs, then outputs, as the description has them: `latents: float32 (batch, 4, 32, 32)`.
        backend: The backend's name.
        fingerprint: Versions, settings, profiles and device; see `Backend.fingerprint`.
    """

    graph: str
    recipe: str
    shapes: tuple[str, ...]
    backend: str
    fingerprint: str

    @classmethod
    def of(cls, graph: Graph, backend: Backend) -> EngineKey:
        """The key that `graph` has when `backend` compiles it here and now."""
        return cls(
            graph=graph.digest,
            recipe=graph.recipe,
            shapes=tuple(str(tensor) for tensor in (*graph.spec.inputs, *graph.spec.outputs)),
            backend=backend.name,
            fingerprint=backend.fingerprint(),
        )

    @property
    def digest(self) -> str:
        """64 hexadecimal digits: the name of an entry of `limbeck.cache.Cache`."""
        return digest_of(**asdict(self))

    def __str__(self) -> str:
        """The first 16 digits, as manifests have it."""
        return self.digest[:16]


def digest_of(**fields: Any) -> str:
    """SHA-256 over JSON values by name, 64 hexadecimal digits; their order does not matter."""
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, no NaN. Equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(*, versions: Mapping[str, str], settings: Mapping[str, Any], device: str) -> str:
    """What `Backend.fingerprint` returns: all that identifies a backend, as canonical JSON."""
    return canonical_json({"versions": dict(versions), "settings": dict(settings), "device": device})


@cache
def cpu_device() -> str:
    """Architecture and instruction sets of this CPU, as far as kernels choose by them.

    Not the model's name: two processors with the same instructions run the same kernels.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{machine()} {processor()}".strip()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return " ".join([machine(), *(name for name in (*_FEATURES, *_ARM_FEATURES) if name in flags)])

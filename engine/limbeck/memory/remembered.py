"""Profiles that were measured once on this machine, found again in the cache."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict

import psutil

from limbeck.backends.base import Backend, Graph
from limbeck.backends.key import EngineKey, digest_of
from limbeck.cache import Cache
from limbeck.memory.profile import Profile

_FILE = "profile.json"
_METHOD = 2
"""To be raised when profiles are measured in another way."""


class RememberedProfiles:
    """What `limbeck.memory.profile` measured, by engine, sizes and machine.

    Args:
        cache: Where they lie.
    """

    def __init__(self, cache: Cache) -> None:
        """Keep the cache; nothing is read yet."""
        self._cache = cache

    def get(self, graph: Graph, backend: Backend, sizes: Mapping[str, int]) -> Profile | None:
        """The profile of this engine at these sizes, None if it was not measured here."""
        key, _ = _key(graph, backend, sizes)
        files = self._cache.get(key)
        if files is None:
            return None
        try:
            return Profile(**json.loads(files[_FILE].read_bytes()))
        except (OSError, ValueError, TypeError):  # evicted meanwhile, or of another form
            return None

    def put(self, graph: Graph, backend: Backend, sizes: Mapping[str, int], profile: Profile) -> None:
        """Remember a profile."""
        key, about = _key(graph, backend, sizes)
        self._cache.put(key, {_FILE: json.dumps(asdict(profile)).encode()}, about=about)


def _key(graph: Graph, backend: Backend, sizes: Mapping[str, int]) -> tuple[str, dict[str, str | int]]:
    about: dict[str, str | int] = {
        "engine": EngineKey.of(graph, backend).digest,
        "sizes": json.dumps(dict(sizes), sort_keys=True),
        "cores": os.cpu_count() or 1,
        "memory_nbytes": int(psutil.virtual_memory().total),
        "method": _METHOD,
    }
    return digest_of(**about), about

"""Which engines are loaded, on the shipped pack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.arrays import Array
from limbeck.backends.base import Backend, Graph, Session
from limbeck.backends.null import Null
from limbeck.backends.onnxruntime import OnnxRuntime
from limbeck.errors import EngineError, MemoryLimitError
from limbeck.memory.process import Usage
from limbeck.pack import Pack, Role
from limbeck_server.engines.table import EngineTable
from limbeck_server.store.errors import NotFoundError
from support.call_workers import table

MANIFEST = Pack.open("mini").manifest
SIZES = {"height": 64, "width": 64, "latent_height": 8, "latent_width": 8}
LATENTS = np.zeros((1, 16, 8, 8), np.float32)
PIXELS = np.zeros((1, 3, 224, 224), np.float32)


@pytest.fixture
def engines() -> Iterator[EngineTable]:
    made = table()
    yield made
    made.close()


def nbytes_of(role: Role) -> int:
    """The size of an engine's files."""
    entry = MANIFEST.graphs[role]
    return sum(MANIFEST.files[name].nbytes for name in (entry.file, *entry.external))


def roles(engines: EngineTable) -> list[str]:
    return [one.role for one in engines.loaded]


def test_nothing_is_loaded_before_it_is_asked_for(engines: EngineTable) -> None:
    assert "decode" in engines.calls("mini").signatures
    assert roles(engines) == []


def test_an_engine_is_loaded_by_its_first_run(engines: EngineTable) -> None:
    engines.run("mini", "decoder", {"latents": LATENTS})
    assert roles(engines) == ["decoder"]


def test_an_engine_is_loaded_once(engines: EngineTable) -> None:
    assert engines.load("mini", "decoder") is engines.load("mini", "decoder")


def test_a_loaded_engine_says_its_key(engines: EngineTable) -> None:
    key = engines.key("mini", "decoder")
    assert engines.load("mini", "decoder").key == key == engines.loaded[0].key


def test_an_unloaded_engine_is_closed(engines: EngineTable) -> None:
    engine = engines.load("mini", "decoder")
    engines.unload("mini", "decoder")
    assert roles(engines) == []
    with pytest.raises(EngineError, match="is closed"):
        engine.run({"latents": LATENTS})


def test_unloading_what_is_not_loaded_does_nothing(engines: EngineTable) -> None:
    engines.unload("mini", "decoder")
    assert roles(engines) == []


def test_an_engine_that_was_unloaded_runs_again(engines: EngineTable) -> None:
    before = engines.run("mini", "decoder", {"latents": LATENTS})["pixels"]
    engines.unload("mini", "decoder")
    assert np.array_equal(engines.run("mini", "decoder", {"latents": LATENTS})["pixels"], before)


def test_the_least_recently_used_goes_where_the_limit_asks_for_it() -> None:
    sizes = {role: nbytes_of(role) for role in ("encoder", "decoder", "trunk")}
    engines = table(backend=Null(SIZES), limit_nbytes=sum(sizes.values()) - sizes["decoder"] // 2)
    engines.load("mini", "encoder")
    engines.load("mini", "decoder")
    engines.load("mini", "encoder")
    engines.load("mini", "trunk")
    assert roles(engines) == ["encoder", "trunk"]


class _HungrySession(Session):
    """Takes 64 MiB from its first run on."""

    def __init__(self, inner: Session, taken: dict[int, int]) -> None:
        self._inner = inner
        self._taken = taken

    def infer(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self._taken[id(self)] = 2**26
        return self._inner.infer(feeds)

    def close(self) -> None:
        self._taken.pop(id(self), None)


class Hungry(Null):
    def __init__(self, taken: dict[int, int]) -> None:
        super().__init__(SIZES)
        self._taken = taken

    def compile(self, graph: Graph) -> Session:
        return _HungrySession(super().compile(graph), self._taken)


@pytest.fixture
def hungry(monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A backend whose sessions are all that this process is seen to take: what earlier tests give back is not."""
    taken: dict[int, int] = {}
    monkeypatch.setattr("limbeck_server.engines.table.usage", lambda: Usage(2**30 + sum(taken.values()), 0, 0))
    return Hungry(taken)


def test_what_an_engine_was_seen_to_take_counts_against_the_limit(hungry: Backend) -> None:
    engines = table(backend=hungry, limit_nbytes=100 * 2**20)
    engines.run("mini", "decoder", {"latents": LATENTS})
    engines.run("mini", "backbone", {"pixels": PIXELS})
    assert roles(engines) == ["backbone"]


def test_what_an_engine_was_seen_to_take_is_remembered_when_it_is_closed(hungry: Backend) -> None:
    """Room is made before it is loaded again: both at a time would be over the limit."""
    engines = table(backend=hungry, limit_nbytes=100 * 2**20)
    engines.run("mini", "decoder", {"latents": LATENTS})
    engines.unload("mini", "decoder")
    engines.run("mini", "backbone", {"pixels": PIXELS})
    engines.load("mini", "decoder")
    assert roles(engines) == ["decoder"]


def test_an_engine_whose_files_exceed_the_limit_is_refused() -> None:
    engines = table(limit_nbytes=2**16)
    with pytest.raises(MemoryLimitError, match=r"has files of .*, and direct calls may take 64 KiB"):
        engines.load("mini", "backbone")


def test_a_pack_of_an_unknown_name_is_refused_even_if_such_a_folder_exists(engines: EngineTable) -> None:
    with pytest.raises(NotFoundError, match="there is no pack '/'; there are: mini"):
        engines.load("/", "decoder")


def test_a_role_that_the_pack_lacks_is_refused(engines: EngineTable) -> None:
    with pytest.raises(NotFoundError, match="pack 'mini' has no engine 'shallow'; it has: conditioner"):
        engines.load("mini", "shallow")


class WrongGradients(OnnxRuntime):
    gradients = False


def test_a_backend_with_wrong_gradients_is_not_asked_for_one() -> None:
    engines = table(backend=WrongGradients())
    with pytest.raises(EngineError, match="wrong gradients"):
        engines.load("mini", "gradient")

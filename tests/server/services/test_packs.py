"""The pack service on the shipped packs; no runtime is loaded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck.pack import Pack, shipped_packs  # noqa: E402
from limbeck_server.rpc import packs_pb2, packs_pb2_grpc, tensors_pb2  # noqa: E402
from limbeck_server.services.packs import Packs  # noqa: E402
from support.serving import Backing, fields_of, refused, run, serving  # noqa: E402


class Loaded:
    """Engines that are loaded on one worker at once."""

    def __init__(self) -> None:
        self.engines: set[tuple[str, str]] = set()

    async def load(self, pack: str, role: str) -> None:
        self.engines.add((pack, role))

    async def unload(self, pack: str, role: str) -> None:
        self.engines.discard((pack, role))

    def loaded_on(self, pack: str, role: str) -> list[str]:
        return ["worker-0"] if (pack, role) in self.engines else []


@asynccontextmanager
async def packs(folder: Path, served: dict[str, Path] | None = None) -> AsyncIterator[Any]:
    def register(backing: Backing) -> None:
        service = Packs(served or shipped_packs(), engines=Loaded())
        packs_pb2_grpc.add_PackServiceServicer_to_server(service, backing.server)

    async with serving(folder, register) as backing:
        yield packs_pb2_grpc.PackServiceStub(backing.channel)


def test_a_pack_says_what_its_manifest_says(tmp_path: Path) -> None:
    async def test() -> None:
        async with packs(tmp_path) as stub:
            pack = (await stub.GetPack(packs_pb2.GetPackRequest(name="packs/mini"))).pack
            manifest = Pack.open("mini").manifest
            assert list(pack.roles) == sorted(manifest.graphs)
            assert list(pack.parts) == ["denoiser", "codec", "backbone"]
            assert (pack.image_size, pack.num_classes) == (64, 10)
            assert pack.digest == Pack.open("mini").digest

    run(test())


def test_every_pack_is_listed_by_name(tmp_path: Path) -> None:
    async def test() -> None:
        async with packs(tmp_path) as stub:
            found = (await stub.ListPacks(packs_pb2.ListPacksRequest())).packs
            assert [pack.name for pack in found] == [f"packs/{name}" for name in sorted(shipped_packs())]

    run(test())


def test_a_damaged_pack_does_not_hide_the_others(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "pack.json").write_text("{}")
        async with packs(tmp_path, {"broken": tmp_path / "broken", **shipped_packs()}) as stub:
            found = (await stub.ListPacks(packs_pb2.ListPacksRequest())).packs
            assert "packs/mini" in [pack.name for pack in found]
            refusal = (await refused(stub.GetPack(packs_pb2.GetPackRequest(name="packs/broken")))).refusal
            assert refusal.reason == "PACK_ERROR"

    run(test())


def test_pages_of_engines_show_each_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with packs(tmp_path) as stub:
            shown: list[str] = []
            token = ""
            while True:
                request = packs_pb2.ListEnginesRequest(parent="packs/mini", page_size=2, page_token=token)
                page = await stub.ListEngines(request)
                shown += [engine.role for engine in page.engines]
                if not (token := page.next_page_token):
                    break
            assert shown == sorted(Pack.open("mini").manifest.graphs)

    run(test())


def test_an_engine_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    async def test() -> None:
        async with packs(tmp_path) as stub:
            request = packs_pb2.GetEngineRequest(name="packs/mini/engines/conditioner")
            engine = (await stub.GetEngine(request)).engine
            first = engine.inputs[0]
            assert (first.name, first.dtype) == ("timestep", tensors_pb2.DATA_TYPE_INT64)
            assert [one.symbol or one.size for one in engine.outputs[0].shape] == ["batch", 4, 6, 256]

    run(test())


def test_an_engine_is_loaded_until_it_is_unloaded(tmp_path: Path) -> None:
    async def test() -> None:
        async with packs(tmp_path) as stub:
            name = "packs/mini/engines/decoder"
            loaded = (await stub.LoadEngine(packs_pb2.LoadEngineRequest(name=name))).engine
            found = (await stub.GetEngine(packs_pb2.GetEngineRequest(name=name))).engine
            unloaded = (await stub.UnloadEngine(packs_pb2.UnloadEngineRequest(name=name))).engine
            states = [packs_pb2.ENGINE_STATE_LOADED, packs_pb2.ENGINE_STATE_LOADED, packs_pb2.ENGINE_STATE_UNLOADED]
            assert [engine.state for engine in (loaded, found, unloaded)] == states
            assert list(loaded.workers) == ["worker-0"]

    run(test())


@pytest.mark.parametrize("name", ["packs/maxi/engines/decoder", "packs/mini/engines/decoderr"])
@pytest.mark.parametrize("call", ["GetEngine", "LoadEngine", "UnloadEngine"])
def test_an_engine_that_there_is_not_is_not_found(tmp_path: Path, call: str, name: str) -> None:
    async def test() -> None:
        async with packs(tmp_path) as stub:
            refusal = (await refused(getattr(stub, call)(getattr(packs_pb2, f"{call}Request")(name=name)))).refusal
            assert refusal.code is grpc.StatusCode.NOT_FOUND
            assert "there is mini" in refusal.message or "it has backbone" in refusal.message

    run(test())


@pytest.mark.parametrize("name", ["packs/../mini", "packs/mini/engines", "mini", "packs/.hidden"])
def test_a_name_that_is_none_is_refused_by_field(tmp_path: Path, name: str) -> None:
    async def test() -> None:
        async with packs(tmp_path) as stub:
            assert fields_of(await refused(stub.GetPack(packs_pb2.GetPackRequest(name=name)))) == ["name"]

    run(test())

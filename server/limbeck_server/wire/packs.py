"""Packs and their engines: manifests to messages."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.pack import DenoiserInfo, GraphEntry, Pack, PackManifest, TensorEntry
from limbeck_server.rpc import packs_pb2, tensors_pb2
from limbeck_server.wire.names import engine_name, pack_name


def pack_message(name: str, pack: Pack) -> packs_pb2.Pack:
    """A pack as a client sees it.

    Args:
        name: What the server calls it.
        pack: The pack, opened.

    Raises:
        PackError: Its manifest cannot be read (any more).
    """
    manifest = pack.manifest
    return packs_pb2.Pack(
        name=pack_name(name),
        digest=pack.digest,
        nbytes=sum(entry.nbytes for entry in manifest.files.values()),
        image_size=manifest.image_size or 0,
        parts=[part for part in ("denoiser", "codec", "backbone") if getattr(manifest, part) is not None],
        roles=sorted(manifest.graphs),
        num_classes=len(manifest.denoiser.classes) if isinstance(manifest.denoiser, DenoiserInfo) else 0,
        sources=manifest.sources,
        licenses=manifest.licenses,
    )


def engine_message(name: str, manifest: PackManifest, role: str, workers: Sequence[str]) -> packs_pb2.Engine:
    """An engine as a client sees it.

    Args:
        name: What the server calls the pack.
        manifest: The pack's; it has the role.
        role: The engine's.
        workers: Those that have loaded it.
    """
    entry = next(entry for one, entry in manifest.graphs.items() if one == role)
    return packs_pb2.Engine(
        name=engine_name(name, role),
        role=role,
        state=packs_pb2.ENGINE_STATE_LOADED if workers else packs_pb2.ENGINE_STATE_UNLOADED,
        workers=workers,
        inputs=map(_tensor, entry.inputs),
        outputs=map(_tensor, entry.outputs),
        precision=entry.precision,
        nbytes=_nbytes(entry, manifest),
    )


def data_type(dtype: str) -> tensors_pb2.DataType:
    """The value on the wire of an element type, as NumPy calls it.

    Raises:
        ValueError: The wire has none for it.
    """
    value: tensors_pb2.DataType = tensors_pb2.DataType.Value(f"DATA_TYPE_{dtype.upper()}")
    return value


def _nbytes(entry: GraphEntry, manifest: PackManifest) -> int:
    return sum(manifest.files[file].nbytes for file in (entry.file, *entry.external))


def _tensor(entry: TensorEntry) -> tensors_pb2.TensorSpec:
    shape = [
        tensors_pb2.Dimension(symbol=size) if isinstance(size, str) else tensors_pb2.Dimension(size=size)
        for size in entry.shape
    ]
    return tensors_pb2.TensorSpec(name=entry.name, dtype=data_type(entry.dtype), shape=shape)

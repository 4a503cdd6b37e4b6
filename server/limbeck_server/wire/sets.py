"""Distilled sets and their images: the ledger's records to messages."""

from __future__ import annotations

from limbeck_server.rpc import sets_pb2
from limbeck_server.store.records import SetSummary, StoredImage
from limbeck_server.wire.names import job_name, set_name
from limbeck_server.wire.structs import struct_of
from limbeck_server.wire.text import valid_text
from limbeck_server.wire.times import timestamp_of


def set_message(summary: SetSummary) -> sets_pb2.DistilledSet:
    """A distilled set, without its files, of which there can be many."""
    return sets_pb2.DistilledSet(
        name=set_name(summary.id),
        owner=summary.owner,
        job=job_name(summary.job),
        create_time=timestamp_of(summary.created_at),
        num_files=summary.num_files,
        nbytes=summary.nbytes,
    )


def artifact_message(path: str, digest: str, nbytes: int) -> sets_pb2.Artifact:
    """A file of a set."""
    return sets_pb2.Artifact(path=path, nbytes=nbytes, sha256=digest)


def image_message(number: int, image: StoredImage, png: bytes) -> sets_pb2.Image:
    """An image with its file, and its number in the stream's order."""
    return sets_pb2.Image(
        number=number,
        label=image.label,
        class_name=valid_text(str(image.row["class_name"])),
        position=image.position,
        png=png,
        sha256=image.digest,
        row=struct_of(image.row),
    )

"""`limbeck doctor --server`: what a server is like from here, row by row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

import limbeck
from limbeck.budget import format_nbytes
from limbeck_server.operations.facts import CONDITIONS, DISK_FREE, TIME
from limbeck_server.operations.probe import Door, Shown, health, shown_by
from limbeck_server.operations.state import SERVICES
from limbeck_server.rpc import server_pb2, server_pb2_grpc

_DAY_SECONDS = 86400.0
_RENEW_DAYS = 14
_SKEW_SECONDS = 5.0
_LITTLE_NBYTES = 2**30
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """One row.

    Args:
        what: What was looked at.
        found: What was found, and what would mend it.
        good: None where it is neither good nor bad.
    """

    what: str
    found: str
    good: bool | None = None


def server_report(door: Door) -> list[Finding]:
    """What can be found out of a server, the most basic things first. It ends where nothing more can be asked.

    Raises:
        ConfigError: A file of the door cannot be read.
    """
    shown = shown_by(door.address)
    findings = list(_certificate(shown, door))
    with door.channel(shown) as channel:
        answer = health(channel, "", timeout_seconds=_TIMEOUT_SECONDS)
        findings.append(_reached(door, answer))
        if answer == "UNAVAILABLE":
            return findings
        for service in SERVICES:
            status = health(channel, service, timeout_seconds=_TIMEOUT_SECONDS)
            findings.append(Finding(f"health of {service or 'the whole server'}", status, status == "SERVING"))
        return findings + list(_information(channel, door))


def _certificate(shown: Shown | None, door: Door) -> Iterator[Finding]:
    if shown is None:
        yield Finding("certificate", "none: the connection is not encrypted", False if door.ca else None)
        return
    days = (shown.not_after - time.time()) / _DAY_SECONDS
    yield Finding("certificate", f"for {', '.join(shown.names) or 'no name'}", bool(shown.names))
    yield Finding("certificate is good for", f"{days:.0f} days", days > _RENEW_DAYS)
    if door.ca is None:
        yield Finding("certificate's authority", "not checked; give --ca to check it")


def _reached(door: Door, answer: str) -> Finding:
    if answer != "UNAVAILABLE":
        return Finding("reached", door.address, True)
    hint = "is it running, and is the address right"
    if door.ca is not None:
        hint += f"; is its certificate signed by {door.ca}"
    if door.certificate is None:
        hint += "; does it ask for a client's certificate"
    return Finding("reached", f"{door.address} does not answer: {hint}?", False)


def _information(channel: grpc.Channel, door: Door) -> Iterator[Finding]:
    stub = server_pb2_grpc.ServerServiceStub(channel)
    asked = time.time()
    try:
        response, call = stub.GetServerInfo.with_call(
            server_pb2.GetServerInfoRequest(), metadata=door.metadata, timeout=_TIMEOUT_SECONDS
        )
    except grpc.RpcError as error:
        refused: Any = error
        yield Finding("token", f"{refused.code().name}: {refused.details()}", False)
        return
    answered = time.time()
    yield Finding("token", "accepted" if door.token else "none was given, and none is asked for", True)
    same = response.server.version == limbeck.__version__
    yield Finding("version", f"{response.server.version}, here {limbeck.__version__}", same)
    facts = {key: value for key, value in call.trailing_metadata() or () if isinstance(value, str)}
    yield from _facts(facts, asked, answered)
    for device in response.server.devices:
        yield Finding(
            f"worker {device.worker}", f"{device.name}, {'ready' if device.ready else 'not ready'}", device.ready
        )
    if not response.server.devices:
        yield Finding("workers", "none is running", False)
    yield Finding("packs", ", ".join(name.removeprefix("packs/") for name in response.server.packs) or "none")
    yield Finding("largest message", format_nbytes(response.server.limits.message_nbytes))
    yield Finding("largest upload", format_nbytes(response.server.limits.upload_nbytes))


def _facts(facts: Mapping[str, str], asked: float, answered: float) -> Iterator[Finding]:
    if TIME in facts:
        skew = float(facts[TIME]) - (asked + answered) / 2
        yield Finding("clock", f"{skew:+.1f} s against this machine's", abs(skew) < _SKEW_SECONDS + answered - asked)
    if DISK_FREE in facts:
        free = int(facts[DISK_FREE])
        yield Finding("disk", f"{format_nbytes(free)} free", free > _LITTLE_NBYTES)
    if conditions := facts.get(CONDITIONS):
        yield Finding("conditions", conditions.replace(",", ", "), False)

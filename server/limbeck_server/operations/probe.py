"""Reaching a server from outside: how a container's health check and `limbeck doctor --server` do."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from limbeck.errors import ConfigError

DEFAULT_ADDRESS = "127.0.0.1:50051"
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The certificate that a server shows.

    Args:
        pem: Itself.
        names: Hosts and addresses that it is for.
        not_after: Until when it is good, in seconds since 1970.
    """

    pem: str
    names: tuple[str, ...]
    not_after: float


@dataclass(frozen=True, kw_only=True)
class Door:
    """Where a server is and how one gets in.

    Args:
        address: As gRPC writes it.
        ca: The authority that signed the server's certificate, PEM. None believes whatever certificate the server
            shows, and speaks no TLS if it shows none: enough to ask a server on the same machine how it feels.
        certificate, key: The caller's own, PEM.
        token: Sent along, if not empty.
    """

    address: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str = ""

    def channel(self, shown: Shown | None) -> grpc.Channel:
        """A channel, to be closed by the caller, to a server that shows this certificate.

        Raises:
            ConfigError: A file cannot be read.
        """
        if shown is None and self.ca is None:
            return grpc.insecure_channel(self.address)
        key = _read(self.key) if self.key else None
        chain = _read(self.certificate) if self.certificate else None
        if self.ca is not None:
            return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(_read(self.ca), key, chain))
        assert shown is not None
        credentials = grpc.ssl_channel_credentials(shown.pem.encode(), key, chain)
        name = next(iter(shown.names), "localhost").replace("*", "any")
        return grpc.secure_channel(self.address, credentials, [("grpc.ssl_target_name_override", name)])

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """What goes along with each call."""
        return [("authorization", f"Bearer {self.token}")] if self.token else []


def door_from_environment(address: str = "", environment: Mapping[str, str] = os.environ) -> Door:
    """The door that LIMBECK_ADDRESS, LIMBECK_TOKEN_FILE and LIMBECK_TLS_CA, _CERTIFICATE and _KEY describe.

    Raises:
        ConfigError: The token's file cannot be read.
    """
    ca, certificate, key, token_file = (
        Path(value) if (value := environment.get(f"LIMBECK_{name}")) else None
        for name in ("TLS_CA", "TLS_CERTIFICATE", "TLS_KEY", "TOKEN_FILE")
    )
    return Door(
        address=address or environment.get("LIMBECK_ADDRESS") or DEFAULT_ADDRESS,
        ca=ca,
        certificate=certificate,
        key=key,
        token=_read(token_file).decode().strip() if token_file else "",
    )


def health(channel: grpc.Channel, service: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> str:
    """What the server says of a service: "SERVING", "NOT_SERVING", or the name of the code with which it refused."""
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        response = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
    except grpc.RpcError as error:
        call: Any = error
        return str(call.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


def shown_by(address: str) -> Shown | None:
    """The certificate that a server shows to whoever asks; None if it cannot be reached or speaks no TLS."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix") or not port.isdigit():
        return None
    where = (host.strip("[]"), int(port))
    try:
        pem = ssl.get_server_certificate(where, timeout=_TIMEOUT_SECONDS)
        with (
            socket.create_connection(where, timeout=_TIMEOUT_SECONDS) as plain,
            _believing(pem).wrap_socket(plain) as one,
        ):
            found: Any = one.getpeercert()
    except OSError:
        return None
    names = tuple(name for _, name in found.get("subjectAltName", ()))
    return Shown(pem=pem, names=names, not_after=ssl.cert_time_to_seconds(found["notAfter"]))


def _believing(pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=pem)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error

"""`Connection`: where a server is and how it is reached; and the channel that is made of it."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

# gRPC reads it when it is imported; it warns of every fork beside an open channel, which `calls` refuses by itself
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

from limbeck.errors import ConfigError

# A connection over which nothing comes back is noticed after their sum.
_KEEPALIVE_SECONDS = 30
_KEEPALIVE_TIMEOUT_SECONDS = 10
_OPTIONS = [
    ("grpc.keepalive_time_ms", 1000 * _KEEPALIVE_SECONDS),
    ("grpc.keepalive_timeout_ms", 1000 * _KEEPALIVE_TIMEOUT_SECONDS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # The server says how large a message may be, and answers within that.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # `retry` does it, which knows RetryInfo.
    ("grpc.enable_retries", 0),
    # Without it a forked process would write into its parent's connection.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True)
class Tls:
    """Certificates, as PEM files.

    Args:
        ca: Whose signature the server's certificate must have. None: the authorities that gRPC trusts.
        certificate: The client's own, for servers that ask for one.
        key: Of `certificate`.
    """

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("a client certificate and its key are given together, or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises ConfigError if a file cannot be read."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where a server is and how it is reached. It can be pickled; a token goes along.

    Args:
        address: `host:port`, or `unix:PATH`.
        token: Sent with every call.
        token_file: Has the token instead; read again for every call, so that it can be renewed.
        tls: Certificates. None: TLS with the usual authorities, or no encryption to this machine itself.
        insecure: No encryption to another machine either; whoever is between reads the token.
        timeout_seconds: How long a call may take in all, and how long a stream waits for a server that is away.
    """

    address: str
    token: str | None = field(default=None, repr=False)
    token_file: str | Path | None = None
    tls: Tls | None = None
    insecure: bool = False
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.token is not None and self.token_file is not None:
            raise ConfigError("give a token or a file with one, not both")
        if self.insecure and self.tls is not None:
            raise ConfigError("certificates are of no use with insecure; leave one of them out")
        if not re.search(r"^unix(-abstract)?:|:\d+$", self.address):
            raise ConfigError(f"an address is host:port or unix:PATH, got '{self.address}'")
        if not self.timeout_seconds > 0:
            raise ConfigError(f"timeout_seconds must be above 0, got {self.timeout_seconds}")

    def open(self) -> grpc.aio.Channel:
        """A channel of the running event loop.

        Raises:
            ConfigError: A certificate cannot be read.
        """
        # A proxy for the outside knows nothing of this machine's own addresses.
        options = [*_OPTIONS, ("grpc.enable_http_proxy", 0 if is_local(self.address) else 1)]
        tls = self._tls()
        if tls is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        return grpc.aio.secure_channel(self.address, tls.credentials(), options=options)

    def described(self) -> str:
        """How the server is asked, for people whom it does not answer."""
        tls = self._tls()
        if tls is None:
            return (
                f"{self.address} was asked without TLS: if it is there and speaks TLS, say whose signature its "
                "certificate has (Tls(ca=…), --ca)"
            )
        return (
            f"{self.address} was asked over TLS, trusting {tls.ca or 'the usual authorities'}: if it is there, its "
            "certificate may have another signature (Tls(ca=…), --ca), or it speaks no TLS"
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with a call.

        Raises:
            ConfigError: The token's file cannot be read.
        """
        token = self.token
        if self.token_file is not None:
            content = _read(self.token_file)
            token = content.decode(errors="replace").strip() if content else None
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _tls(self) -> Tls | None:
        return self.tls or (None if self.insecure or is_local(self.address) else Tls())


def is_local(address: str) -> bool:
    """Whether an address is on this machine, where nobody is between."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].rpartition("/")[2].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: str | Path | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error

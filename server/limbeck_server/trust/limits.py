"""What one connection may take: message sizes, streams, and how long it may say nothing."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Limits of the public gRPC server.

    Args:
        max_message_nbytes: Of one message, either way; a larger one is refused before it is kept.
        max_metadata_nbytes: Of one call's headers.
        max_streams: Calls at a time on one connection; more wait in the caller.
        handshake_seconds: After which a connection that has not finished TLS and HTTP/2's greeting is closed.
        keepalive_seconds: A connection that says nothing is asked this often whether it lives,
        keepalive_timeout_seconds: and closed after that long without an answer.
    """

    max_message_nbytes: int = 16 * MIB
    max_metadata_nbytes: int = 16 * 1024
    max_streams: int = 512
    handshake_seconds: float = 10.0
    keepalive_seconds: float = 60.0
    keepalive_timeout_seconds: float = 20.0

    def grpc_options(self) -> list[tuple[str, int]]:
        """As `grpc.aio.server(options=…)` takes them."""
        return [
            ("grpc.max_receive_message_length", self.max_message_nbytes),
            ("grpc.max_send_message_length", self.max_message_nbytes),
            ("grpc.max_metadata_size", self.max_metadata_nbytes),
            ("grpc.absolute_max_metadata_size", self.max_metadata_nbytes),
            ("grpc.max_concurrent_streams", self.max_streams),
            ("grpc.server_handshake_timeout_ms", round(1000 * self.handshake_seconds)),
            ("grpc.keepalive_time_ms", round(1000 * self.keepalive_seconds)),
            ("grpc.keepalive_timeout_ms", round(1000 * self.keepalive_timeout_seconds)),
            ("grpc.keepalive_permit_without_calls", 1),
            # Clients may ask more often than gRPC's five minutes, or a dead server is noticed late.
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            # Two servers on one port would each have a ledger of their own.
            ("grpc.so_reuseport", 0),
        ]

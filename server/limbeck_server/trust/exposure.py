"""Whether strangers can reach an address, and whether they may."""

from __future__ import annotations

import ipaddress
import socket

from limbeck_server.trust.errors import ExposureError


def check_exposure(address: str, *, tls: bool, tokens: bool, insecure: bool = False) -> None:
    """Refuse to listen where strangers come without being kept out.

    Args:
        address: As gRPC writes it: "127.0.0.1:50051", "[::1]:50051", "localhost:50051", "unix:/run/x.sock".
        tls: Whether callers are encrypted.
        tokens: Whether callers are known.
        insecure: The operator wants it all the same.

    Raises:
        ExposureError: Other machines reach the address and TLS or tokens are missing; or it is no address.
    """
    if is_local(address) or insecure or (tls and tokens):
        return
    missing = " and no ".join(name for name, there in (("TLS", tls), ("tokens", tokens)) if not there)
    raise ExposureError(
        f"other machines can reach {address}, and it has no {missing}\n"
        "give --tls-certificate, --tls-key and --tokens; listen on 127.0.0.1; or say --insecure if a network that you "
        "trust keeps strangers out"
    )


def is_local(address: str) -> bool:
    """Whether only this machine reaches an address; a host name does when all that it means is loopback.

    Raises:
        ExposureError: It is no address.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    return all(_is_loopback(text) for text in _meanings(host_of(address)))


def host_of(address: str) -> str:
    """The host of "host:port" or "[host]:port".

    Raises:
        ExposureError: It is neither.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ExposureError(f"{address!r} is no address; write HOST:PORT, such as 127.0.0.1:50051, or unix:/path")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1]
    if not host or ":" in host or "/" in host:
        raise ExposureError(
            f"{address!r} does not say on which address to listen; write 127.0.0.1:{port}, [::1]:{port}, "
            f"or 0.0.0.0:{port} for all"
        )
    return host


def _meanings(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ExposureError(f"cannot find the address of host {host!r}: {error}") from error
    return {str(one[4][0]) for one in found}


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)

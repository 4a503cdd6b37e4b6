"""TLS and client certificates over real sockets, gRPC's and HTTP's."""

from __future__ import annotations

import asyncio
import shutil
import ssl

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")

from limbeck_server.trust.errors import CertificateError  # noqa: E402
from limbeck_server.trust.tls import ServerTls  # noqa: E402
from support.certificates import Authority  # noqa: E402
from support.echo import UNARY, ask, echo_server, run  # noqa: E402


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def tls(authority):
    pair = authority.issue("server")
    return ServerTls(certificate=pair.certificate, key=pair.key)


async def call(port, *, root, pair=None, fresh=0):
    """Call over a connection of its own; gRPC shares connections whose options are equal."""
    credentials = grpc.ssl_channel_credentials(
        root.read_bytes(), pair and pair.key.read_bytes(), pair and pair.certificate.read_bytes()
    )
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.primary_user_agent", str(fresh))]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        return await ask(channel, UNARY)


async def refused(port, **options):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(port, **options)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_client_that_knows_the_authority_is_served(authority, tls):
    async def main():
        async with echo_server(credentials=tls.grpc_credentials()) as port:
            assert await call(port, root=authority.certificate) == b""

    run(main)


def test_a_client_without_tls_is_not_served(tls):
    async def main():
        async with (
            echo_server(credentials=tls.grpc_credentials()) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(channel, UNARY, timeout=10)

    run(main)


def test_a_client_of_another_authority_does_not_trust_the_server(tmp_path, tls):
    other = Authority(tmp_path, "other")

    async def main():
        async with echo_server(credentials=tls.grpc_credentials()) as port:
            await refused(port, root=other.certificate)

    run(main)


@pytest.fixture
def mutual(authority, tls):
    return ServerTls(certificate=tls.certificate, key=tls.key, client_ca=authority.certificate)


def test_a_client_with_a_certificate_of_the_authority_is_served(authority, mutual):
    async def main():
        async with echo_server(credentials=mutual.grpc_credentials()) as port:
            assert await call(port, root=authority.certificate, pair=authority.issue("client")) == b""

    run(main)


def test_a_client_without_a_certificate_is_not_served(authority, mutual):
    async def main():
        async with echo_server(credentials=mutual.grpc_credentials()) as port:
            await refused(port, root=authority.certificate)

    run(main)


def test_a_client_with_a_certificate_of_another_authority_is_not_served(tmp_path, authority, mutual):
    forged = Authority(tmp_path, "forger").issue("client")

    async def main():
        async with echo_server(credentials=mutual.grpc_credentials()) as port:
            await refused(port, root=authority.certificate, pair=forged)

    run(main)


def test_a_renewed_certificate_is_used_by_the_next_connection(tmp_path, authority, tls):
    other = Authority(tmp_path, "other")

    async def main():
        async with echo_server(credentials=tls.grpc_credentials()) as port:
            await call(port, root=authority.certificate)
            other.issue("server")
            assert await call(port, root=other.certificate, fresh=1) == b""
            await refused(port, root=authority.certificate, fresh=2)

    run(main)


@pytest.mark.parametrize("damage", ["removed", "half", "another key"])
def test_a_renewal_that_went_wrong_leaves_the_old_certificate(tmp_path, authority, tls, damage):
    async def main():
        async with echo_server(credentials=tls.grpc_credentials()) as port:
            if damage == "removed":
                tls.certificate.unlink()
            elif damage == "half":
                tls.certificate.write_bytes(tls.certificate.read_bytes()[:200])
            else:
                shutil.copy(authority.issue("another").key, tls.key)
            assert await call(port, root=authority.certificate) == b""

    run(main)


@pytest.mark.parametrize("damage", ["removed", "half", "another key", "no authority"])
def test_files_that_cannot_be_used_are_refused_at_the_start(authority, mutual, damage):
    if damage == "removed":
        mutual.key.unlink()
    elif damage == "half":
        mutual.certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    elif damage == "no authority":
        mutual.client_ca.write_bytes(b"")
    else:
        shutil.copy(authority.issue("another").key, mutual.key)
    with pytest.raises(CertificateError, match=r"cannot use certificate .*server\.crt"):
        mutual.grpc_credentials()


def test_a_key_with_a_passphrase_is_refused_without_asking_for_it(tls):
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    tls.key.write_bytes(locked)
    with pytest.raises(CertificateError, match="passphrase"):
        tls.grpc_credentials()


async def handshake(port, root, pair=None):
    """Connect with TLS, and be answered."""
    context = ssl.create_default_context(cafile=root)
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        writer.write(b"x")
        if await reader.read(1) != b"x":  # TLS 1.3 refuses a client's certificate after the client's handshake
            raise ConnectionError("the server hung up")
    finally:
        writer.close()


async def echo(reader, writer):
    try:
        writer.write(await reader.read(1))
    finally:
        writer.close()


def test_the_http_port_follows_a_renewed_certificate(tmp_path, authority, tls):
    other = Authority(tmp_path, "other")

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=tls.http_context())
        async with server:
            port = server.sockets[0].getsockname()[1]
            await handshake(port, authority.certificate)
            other.issue("server")
            await handshake(port, authority.certificate)
            with pytest.raises(ssl.SSLCertVerificationError):
                await handshake(port, authority.certificate)
            await handshake(port, other.certificate)

    run(main)


def test_the_http_port_wants_a_clients_certificate_where_grpc_does(authority, mutual):
    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=mutual.http_context())
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await handshake(port, authority.certificate)
            await handshake(port, authority.certificate, authority.issue("client"))

    run(main)

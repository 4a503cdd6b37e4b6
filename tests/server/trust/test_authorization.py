"""Tokens and scopes, tried from outside over real sockets."""

from __future__ import annotations

import asyncio

import pytest

grpc = pytest.importorskip("grpc", reason="the server extra is not installed")
pytest.importorskip("grpc_status", reason="the server extra is not installed")

from google.rpc import error_details_pb2  # noqa: E402
from grpc_status import rpc_status  # noqa: E402

from limbeck_server.trust.authorization import Authorization  # noqa: E402
from limbeck_server.trust.identity import Quotas, Scope  # noqa: E402
from limbeck_server.trust.limits import ConnectionLimits  # noqa: E402
from limbeck_server.trust.quotas import Streams  # noqa: E402
from limbeck_server.trust.tokens import TokenFile, add_token  # noqa: E402
from support.echo import (  # noqa: E402
    ADMIN,
    BOTH_STREAMS,
    CLIENT_STREAM,
    OPEN,
    SERVER_STREAM,
    STREAMS,
    SUBMIT,
    UNARY,
    ask,
    echo_server,
    run,
)
from support.tokens import token_file  # noqa: E402

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def details_of(error):
    """ErrorInfo and RetryInfo of a refusal."""
    found = {}
    for detail in rpc_status.from_call(error).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            message = kind()
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(message)
                found[kind.__name__] = message
    return found


async def refused(port, method, *arguments, **options):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, method, *arguments, **options)
    return caught.value


async def answered(port, method, *arguments):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        return (await ask(channel, method, *arguments)).decode()


@pytest.fixture
def guarded(tmp_path):
    path, tokens = token_file(tmp_path, Quotas(max_streams=2))
    return Authorization(TokenFile(path, poll_seconds=0), Streams()), tokens


@pytest.mark.parametrize("method", [UNARY, *STREAMS])
def test_the_handler_of_every_kind_of_rpc_knows_its_caller(guarded, method):
    interceptor, tokens = guarded

    async def main():
        async with echo_server(interceptor) as port:
            assert await answered(port, method, tokens["submit"]) == "submit"

    run(main)


@pytest.mark.parametrize("method", [UNARY, "/limbeck.v1.JobService/NoSuchMethod", *STREAMS])
def test_without_a_token_no_rpc_of_any_kind_is_served(guarded, method):
    interceptor, _ = guarded

    async def main():
        async with echo_server(interceptor) as port:
            error = await refused(port, method)
            assert error.code() == UNAUTHENTICATED
            assert details_of(error)["ErrorInfo"].reason == "TOKEN_MISSING"

    run(main)


@pytest.mark.parametrize("wrong", ["x", "limbeck_", "a" * 4000])
def test_a_token_that_nobody_has_is_refused(guarded, wrong):
    interceptor, _ = guarded

    async def main():
        async with echo_server(interceptor) as port:
            error = await refused(port, UNARY, wrong)
            assert error.code() == UNAUTHENTICATED

    run(main)


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Basic {token}")],
        [("authorization", "{token}")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer x"), ("authorization", "Bearer {token}")],
        [("authorization-bin", b"Bearer {token}")],
        [("x-authorization", "Bearer {token}")],
    ],
)
def test_a_token_counts_only_where_it_belongs(guarded, metadata):
    interceptor, tokens = guarded
    filled = [
        (key, value.replace("{token}", tokens["admin"]) if isinstance(value, str) else value) for key, value in metadata
    ]

    async def main():
        async with echo_server(interceptor) as port:
            assert (await refused(port, UNARY, metadata=filled)).code() == UNAUTHENTICATED

    run(main)


@pytest.mark.parametrize(
    ("token", "method", "served"),
    [
        ("read", UNARY, True),
        ("read", SUBMIT, False),
        ("read", CLIENT_STREAM, False),
        ("read", BOTH_STREAMS, False),
        ("read", ADMIN, False),
        ("submit", UNARY, True),
        ("submit", SUBMIT, True),
        ("submit", ADMIN, False),
        ("admin", UNARY, True),
        ("admin", SUBMIT, True),
        ("admin", ADMIN, True),
    ],
)
def test_a_scope_opens_what_it_says_and_no_more(guarded, token, method, served):
    interceptor, tokens = guarded

    async def main():
        async with echo_server(interceptor) as port:
            if served:
                assert await answered(port, method, tokens[token]) == token
                return
            error = await refused(port, method, tokens[token])
            assert error.code() == grpc.StatusCode.PERMISSION_DENIED
            assert details_of(error)["ErrorInfo"].reason == "SCOPE_MISSING"

    run(main)


def test_a_method_that_the_table_does_not_know_needs_admin(guarded):
    interceptor, tokens = guarded

    async def main():
        async with echo_server(interceptor) as port:
            error = await refused(port, "/limbeck.v2.New/Thing", tokens["submit"])
            assert error.code() == grpc.StatusCode.PERMISSION_DENIED

    run(main)


def test_health_needs_no_token(guarded):
    interceptor, _ = guarded

    async def main():
        async with echo_server(interceptor) as port:
            assert await answered(port, OPEN) == ""

    run(main)


def test_a_server_without_tokens_serves_everybody():
    async def main():
        async with echo_server(Authorization(None, Streams())) as port:
            assert await answered(port, ADMIN) == ""

    run(main)


def test_a_caller_has_as_many_streams_as_its_token_allows_and_a_place_is_free_when_one_ends(guarded):
    interceptor, tokens = guarded
    metadata = [("authorization", f"Bearer {tokens['read']}")]

    async def main():
        async with (
            echo_server(interceptor) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            held = [channel.unary_stream(SERVER_STREAM)(b"stay", metadata=metadata) for _ in range(2)]
            for call in held:
                await call.read()
            error = await refused(port, SERVER_STREAM, tokens["read"])
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            found = details_of(error)
            assert found["ErrorInfo"].reason == "TOO_MANY_STREAMS"
            assert found["RetryInfo"].retry_delay.seconds > 0
            assert await answered(port, SERVER_STREAM, tokens["submit"]) == "submit"
            held[0].cancel()
            await until_served(port, tokens["read"])
            held[1].cancel()

    run(main)


async def until_served(port, token):
    while True:
        try:
            return await answered(port, SERVER_STREAM, token)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.02)


def test_streams_whose_callers_vanish_without_a_word_leave_no_count(guarded):
    interceptor, tokens = guarded
    streams = interceptor._streams

    async def main():
        async with echo_server(interceptor) as port:
            for _ in range(6):
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    metadata = [("authorization", f"Bearer {tokens['read']}")]
                    await channel.unary_stream(SERVER_STREAM)(b"stay", metadata=metadata).read()
                while streams.num_open:
                    await asyncio.sleep(0.01)

    run(main)


@pytest.mark.parametrize("method", [SERVER_STREAM, BOTH_STREAMS])
def test_a_stream_ends_when_its_token_is_revoked(tmp_path, method):
    path, tokens = token_file(tmp_path)
    interceptor = Authorization(TokenFile(path, poll_seconds=0), Streams())
    metadata = [("authorization", f"Bearer {tokens['submit']}")]

    async def talk():
        while True:
            yield b"talk"
            await asyncio.sleep(0.01)

    async def main():
        async with (
            echo_server(interceptor) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            if method == BOTH_STREAMS:
                call = channel.stream_stream(method)(talk(), metadata=metadata)
            else:
                call = channel.unary_stream(method)(b"talk", metadata=metadata)
            for _ in range(3):
                assert await call.read()
            path.unlink()
            add_token(path, "other", Scope.READ)
            assert await call.code() == UNAUTHENTICATED
            assert interceptor._streams.num_open == 0

    run(main)


def test_without_tokens_all_callers_share_a_number_of_streams():
    async def main():
        async with (
            echo_server(Authorization(None, Streams(default_limit=1))) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            held = channel.unary_stream(SERVER_STREAM)(b"stay")
            await held.read()
            error = await refused(port, SERVER_STREAM)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            held.cancel()

    run(main)


def test_uploads_that_never_send_a_byte_are_streams_too(guarded):
    interceptor, tokens = guarded
    metadata = [("authorization", f"Bearer {tokens['submit']}")]

    async def main():
        async with (
            echo_server(interceptor) as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            calls = [channel.stream_unary(CLIENT_STREAM)(metadata=metadata) for _ in range(3)]
            done, _ = await asyncio.wait(
                [asyncio.ensure_future(call.code()) for call in calls], return_when="FIRST_COMPLETED"
            )
            assert [code.result() for code in done] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
            for call in calls:
                call.cancel()

    run(main)


def test_a_giant_message_is_refused_and_the_server_goes_on(guarded):
    interceptor, tokens = guarded
    options = ConnectionLimits(max_message_nbytes=2**16).grpc_options()

    async def main():
        async with echo_server(interceptor, options=options) as port:
            error = await refused(port, UNARY, tokens["read"], request=bytes(2**20))
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await answered(port, UNARY, tokens["read"]) == "read"

    run(main)


def test_giant_headers_are_refused_and_the_server_goes_on(guarded):
    interceptor, tokens = guarded

    async def main():
        async with echo_server(interceptor, options=ConnectionLimits().grpc_options()) as port:
            error = await refused(port, UNARY, metadata=[("x-long", "a" * 200_000)])
            assert error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
            assert await answered(port, UNARY, tokens["read"]) == "read"

    run(main)


def test_connections_that_say_nothing_are_closed(guarded):
    interceptor, tokens = guarded
    options = ConnectionLimits(handshake_seconds=0.5).grpc_options()

    async def main():
        async with echo_server(interceptor, options=options) as port:
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
            for reader, writer in opened:
                await reader.read()  # ends only when the server closes
                writer.close()
                await writer.wait_closed()
            assert await answered(port, UNARY, tokens["read"]) == "read"

    run(main)


def test_a_refusal_is_reported_with_its_reason(tmp_path):
    path, _ = token_file(tmp_path)
    reasons = []
    interceptor = Authorization(TokenFile(path), Streams(), on_refusal=reasons.append)

    async def main():
        async with echo_server(interceptor) as port:
            await refused(port, UNARY)
            await refused(port, UNARY, "wrong")

    run(main)
    assert reasons == ["TOKEN_MISSING", "TOKEN_UNKNOWN"]

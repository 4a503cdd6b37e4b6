"""Refusing a call on the server's side, and what was refused on the client's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from limbeck.errors import LimbeckError
from limbeck_server.wire.places import without_root
from limbeck_server.wire.refusal import Refusal
from limbeck_server.wire.status import DETAILS_KEY, refusal_from, refusal_of, status_of


async def abort(context: grpc.aio.ServicerContext, refusal: Refusal) -> NoReturn:
    """End a call with a refusal. It raises, so that nothing after it runs."""
    status = status_of(refusal)
    await context.abort(refusal.code, status.message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("grpc.aio's abort raises")


@asynccontextmanager
async def errors_told(context: grpc.aio.ServicerContext, root: Path) -> AsyncIterator[None]:
    """Turn an exception of the block into the call's status. A cancellation passes, and so does an earlier abort.

    Args:
        context: Of the call.
        root: The server's folder, which callers need not know.
    """
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        await abort(context, without_root(refusal_of(error), root))


class RemoteError(LimbeckError):
    """A call that the server refused, or that did not reach it; `refusal` has what programs need."""

    def __init__(self, refusal: Refusal) -> None:
        """Keep the refusal."""
        self.refusal = refusal
        super().__init__(refusal.message)


def remote_error(error: grpc.RpcError) -> RemoteError:
    """What a call of a stub raised, synchronous or not, as an error of limbeck."""
    call: Any = error
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return RemoteError(refusal_from(status_pb2.Status.FromString(value)))
            except DecodeError:
                break  # another server's details
    return RemoteError(Refusal(call.code(), "", call.details() or call.code().name))

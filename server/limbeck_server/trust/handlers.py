"""Something held around an RPC of any of the four kinds, from before its handler runs until its last message."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeAlias

import grpc

Around = Callable[[Any], AbstractAsyncContextManager[None]]
"""Given the `ServicerContext` of a call, what is held around it."""
EachMessage = Callable[[Any], Awaitable[None]]
"""Given the `ServicerContext` of a call, what is done for each message of a stream; it may abort the call."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def around(handler: Handler, enter: Around, each: EachMessage | None = None) -> Handler:
    """The same handler with `enter(context)` held around each call.

    Args:
        handler: A coroutine or an asynchronous generator.
        enter: What is held.
        each: Done before each message of a stream goes on, either way.

    Raises:
        TypeError: The handler is not asynchronous: it would run in a thread, where neither the caller's identity nor a
            cancellation reaches it.
    """
    behavior = _behavior(handler)

    def asked(request: Any, context: Any) -> Any:
        return _passing(request, context, each) if each and handler.request_streaming else request

    if inspect.isasyncgenfunction(behavior):

        async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
            async with enter(context), aclosing(behavior(asked(request, context), context)) as responses:
                async for response in responses:
                    if each:
                        await each(context)
                    yield response

        return _like(handler, generate)
    if not inspect.iscoroutinefunction(behavior):
        raise TypeError(f"the handler {behavior!r} is not asynchronous")

    async def answer(request: Any, context: Any) -> Any:
        async with enter(context):
            return await behavior(asked(request, context), context)

    return _like(handler, answer)


def refusing(enter: Around) -> Handler:
    """A handler for a method of any kind whose `enter` aborts; it reads none of the caller's messages."""

    async def refuse(requests: Any, context: Any) -> None:
        async with enter(context):
            pass

    return grpc.stream_stream_rpc_method_handler(refuse)


def is_streaming(handler: Handler) -> bool:
    """Whether a call can stay open for as long as either side likes."""
    return bool(handler.request_streaming or handler.response_streaming)


async def _passing(messages: AsyncIterator[Any], context: Any, each: EachMessage) -> AsyncIterator[Any]:
    async for message in messages:
        await each(context)
        yield message


_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def _behavior(handler: Handler) -> Callable[..., Any]:
    name, _ = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
    behavior: Callable[..., Any] = getattr(handler, name)
    return behavior


def _like(handler: Handler, behavior: Callable[..., Any]) -> Handler:
    _, make = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )

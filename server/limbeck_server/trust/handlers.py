"""Something held around an RPC of any of the four kinds, from before its handler runs until its last message."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc

Around = Callable[[Any], AbstractAsyncContextManager[None]]
"""Given the `ServicerContext` of a call, what is held around it."""


def around(handler: grpc.RpcMethodHandler[Any, Any], enter: Around) -> grpc.RpcMethodHandler[Any, Any]:
    """The same handler with `enter(context)` held around each call.

    Raises:
        TypeError: The handler is not a coroutine or an asynchronous generator: it would run in a thread, where neither
            the caller's identity nor a cancellation reaches it.
    """
    behavior = _behavior(handler)
    if inspect.isasyncgenfunction(behavior):

        async def generate(request: Any, context: Any) -> AsyncIterator[Any]:
            async with enter(context):
                async for response in behavior(request, context):
                    yield response

        return _like(handler, generate)
    if not inspect.iscoroutinefunction(behavior):
        raise TypeError(f"the handler {behavior!r} is not asynchronous")

    async def answer(request: Any, context: Any) -> Any:
        async with enter(context):
            return await behavior(request, context)

    return _like(handler, answer)


def refusing(enter: Around) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler for a method of any kind whose `enter` aborts; it reads none of the caller's messages."""

    async def refuse(requests: Any, context: Any) -> None:
        async with enter(context):
            pass

    return grpc.stream_stream_rpc_method_handler(refuse)


def is_streaming(handler: grpc.RpcMethodHandler[Any, Any]) -> bool:
    """Whether a call can stay open for as long as either side likes."""
    return bool(handler.request_streaming or handler.response_streaming)


_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def _behavior(handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[..., Any]:
    name, _ = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
    behavior: Callable[..., Any] = getattr(handler, name)
    return behavior


def _like(handler: grpc.RpcMethodHandler[Any, Any], behavior: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
    _, make = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )

"""What happens around every call: errors become statuses, and each call is logged and counted."""

import inspect
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from dragoman import tracing
from dragoman.errors import InvalidSpec, PermissionDenied, Unauthenticated
from dragoman.principals import CALLER, Principals, required_role
from dragoman.rpc.errors import status_of

_LOG = logging.getLogger("dragoman.rpc")

if TYPE_CHECKING:
    Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:  # grpc's own class takes no type parameters
    Interceptor = grpc.aio.ServerInterceptor

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Continuation = Callable[[Any], Awaitable[Any]]
Observe = Callable[[str, str, float], None]
"""Told of every finished call: full method name, code name, seconds."""

QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Methods that probes call all day: counted, not logged, and free of tokens."""


def _rewrapped(handler: Any, unary: Callable[..., Any], stream: Callable[..., Any]) -> Any:
    """Returns a handler of the same shape with other behaviour."""
    shape = ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )
    make = getattr(grpc, f"{shape}_rpc_method_handler")
    return make(
        stream if handler.response_streaming else unary,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _behaviour(handler: Any) -> Callable[[Any, Context], Any]:
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


async def _answers(behaviour: Callable[[Any, Context], Any], request: Any, context: Context) -> AsyncGenerator[Any]:
    """Runs a streaming method, whether it yields its answers or writes them."""
    answers = behaviour(request, context)
    if inspect.isawaitable(answers):
        await answers
        return
    async with aclosing(answers) as stream:
        async for answer in stream:
            yield answer


class _Undecodable:
    """Stands in for a request whose bytes are no message of its type."""

    def __init__(self, error: DecodeError) -> None:
        self.error = error


def _tolerant(handler: Any) -> Any:
    """Returns a handler that refuses bytes which are no request; grpc itself would answer UNKNOWN."""
    behaviour, read = _behaviour(handler), handler.request_deserializer

    def attempt(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as error:
            return _Undecodable(error)

    def checked(request: Any) -> Any:
        if isinstance(request, _Undecodable):
            raise InvalidSpec(f"the request cannot be read: {request.error}", reason="UNREADABLE_REQUEST")
        return request

    async def unary(request: Any, context: Context) -> Any:
        return await behaviour(checked(request), context)

    async def stream(request: Any, context: Context) -> AsyncGenerator[Any]:
        async with aclosing(_answers(behaviour, checked(request), context)) as answers:
            async for answer in answers:
                yield answer

    return _rewrapped(handler, unary, stream)._replace(request_deserializer=attempt if read else None)


class _Around(Interceptor):
    """Runs every method inside `around`."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}

    @abstractmethod
    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """What stands around one call."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: Any) -> Any:
        """Returns the method with its behaviour wrapped: grpc asks for it at each call, and it is always the same."""
        method = str(handler_call_details.method)
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: Any) -> Any:
        behaviour = _behaviour(handler)

        async def unary(request: Any, context: Context) -> Any:
            async with self.around(method, context):
                return await behaviour(request, context)

        async def stream(request: Any, context: Context) -> AsyncGenerator[Any]:
            async with self.around(method, context), aclosing(_answers(behaviour, request, context)) as answers:
                async for answer in answers:
                    yield answer

        return _rewrapped(handler, unary, stream)


class ErrorInterceptor(_Around):
    """Turns whatever a method raises into a google.rpc.Status; tracebacks only with `debug`."""

    def __init__(self, *, debug: bool = False) -> None:
        super().__init__()
        self._debug = debug

    def _wrap(self, method: str, handler: Any) -> Any:
        return super()._wrap(method, _tolerant(handler))

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncGenerator[None]:
        """Aborts the call with the status of the error."""
        try:
            yield
        except grpc.aio.BaseError:
            raise
        except Exception as error:  # noqa: BLE001 - every error must become a status
            wire: Any = rpc_status.to_status(status_of(error, debug=self._debug))
            await context.abort(wire.code, wire.details, wire.trailing_metadata)


class CallInterceptor(_Around):
    """Logs each call and tells `observe` of it. Must stand outside ErrorInterceptor to see the final code."""

    def __init__(self, observe: Observe | None = None) -> None:
        super().__init__()
        self._observe = observe

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncGenerator[None]:
        """Takes the time."""
        start = time.monotonic()
        peer = context.peer()  # now: once a cancelled call is gone, grpc reads a null pointer to find it
        try:
            yield
        finally:
            self._done(method, context, peer, time.monotonic() - start)

    def _done(self, method: str, context: Context, peer: str, took: float) -> None:
        code = _code_name(context)
        if self._observe is not None:
            self._observe(method, code, took)
        if not method.startswith(QUIET):
            facts = {"method": method, "code": code, "seconds": round(took, 4), "peer": peer}
            level = logging.INFO if code in {"OK", "CANCELLED"} else logging.WARNING
            _LOG.log(level, "%s %s %.3f s", method, code, took, extra=facts)


class TraceInterceptor(_Around):
    """Makes a span of each call, below the one that the caller says it belongs to."""

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncGenerator[None]:
        """Opens the span."""
        if method.startswith(QUIET):
            yield
            return
        service, _, name = method.lstrip("/").rpartition("/")
        told = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        with tracing.span(method.lstrip("/"), "SERVER", _metadata(context, tracing.HEADER), told):
            yield


def _code_name(context: Context) -> str:
    if context.cancelled():
        return "CANCELLED"
    code: Any = context.code()
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((known.name for known in grpc.StatusCode if known.value[0] == (code or 0)), "UNKNOWN")


class AccessInterceptor(_Around):
    """Lets in calls of principals whose role allows the method; health and reflection are free."""

    def __init__(self, principals: Principals) -> None:
        super().__init__()
        self._principals = principals

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncGenerator[None]:
        """Says who calls while the method runs. Raises Unauthenticated or PermissionDenied."""
        if method.startswith(QUIET):
            yield
            return
        principal = await self._principals.identified(_metadata(context, "authorization"))
        if principal is None:
            raise Unauthenticated(
                "the call carries no token that this server accepts; set DRAGOMAN_TOKEN to one that it does"
            )
        required = required_role(method)
        if principal.role < required:
            raise PermissionDenied(
                f"{principal.name} has the role {principal.role.name.lower()}; {method.rpartition('/')[2]} needs "
                f"{required.name.lower()}: ask the operator of this server"
            )
        CALLER.set(principal)  # each call has a context of its own
        yield


def _metadata(context: Context, wanted: str) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == wanted:
            return value.decode(errors="replace") if isinstance(value, bytes) else value
    return ""

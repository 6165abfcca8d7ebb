"""Our errors as google.rpc.Status, and back.

    InvalidSpec         INVALID_ARGUMENT     + BadRequest, one field violation each
    NotFound            NOT_FOUND
    AlreadyExists       ALREADY_EXISTS
    FailedPrecondition  FAILED_PRECONDITION
    Unavailable         UNAVAILABLE          + RetryInfo
    ResourceExhausted   RESOURCE_EXHAUSTED   + RetryInfo where waiting helps
    Unauthenticated     UNAUTHENTICATED
    PermissionDenied    PERMISSION_DENIED
    DataLoss            DATA_LOSS
    anything else       INTERNAL

Every status carries ErrorInfo with our reason and the domain "dragoman". An exception that nobody raised on purpose
becomes INTERNAL with an error id, and its traceback goes to the log under that id, never to the caller.
"""

import logging
import traceback
import uuid
from typing import Any, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, DebugInfo, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from pydantic import ValidationError

from dragoman.errors import (
    AlreadyExists,
    DataLoss,
    DragomanError,
    FailedPrecondition,
    InvalidSpec,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Violation,
)
from dragoman.redaction import redact
from dragoman.rpc.invalid import invalid_spec

_LOG = logging.getLogger(__name__)
D = TypeVar("D", bound=Message)

DOMAIN = "dragoman"
DETAILS_KEY = "grpc-status-details-bin"
RETRY_SECONDS = 1

_CODES: tuple[tuple[type[DragomanError], int], ...] = (
    (InvalidSpec, Code.INVALID_ARGUMENT),
    (NotFound, Code.NOT_FOUND),
    (AlreadyExists, Code.ALREADY_EXISTS),
    (FailedPrecondition, Code.FAILED_PRECONDITION),
    (Unavailable, Code.UNAVAILABLE),
    (ResourceExhausted, Code.RESOURCE_EXHAUSTED),
    (DataLoss, Code.DATA_LOSS),
    (Unauthenticated, Code.UNAUTHENTICATED),
    (PermissionDenied, Code.PERMISSION_DENIED),
)
# A client refuses trailing metadata above 8 KiB, and the message travels in it twice, once percent-encoded.
_MESSAGE_BYTES = 1000
_VIOLATIONS_BYTES = 1800
_DEBUG_BYTES = 1000


# ---------------------------------------------------------------- to a status


def status_of(error: BaseException, *, debug: bool = False) -> Status:
    """Returns the status of an error. Logs what was not raised on purpose, under the error id in its message."""
    if isinstance(error, ValidationError):
        error = invalid_spec(error)
    if isinstance(error, DragomanError):
        status, info = _expected(error)
    else:
        status, info = _unexpected(error)
    _add(status, info)
    if debug:
        trace = redact("".join(traceback.format_exception(error)))
        _add(status, DebugInfo(detail=_cut(trace[-_DEBUG_BYTES:], _DEBUG_BYTES)))
    return status


def _expected(error: DragomanError) -> tuple[Status, ErrorInfo]:
    code = next((code for type_, code in _CODES if isinstance(error, type_)), Code.INTERNAL)
    status = Status(code=code, message=_cut(error.message, _MESSAGE_BYTES))
    if isinstance(error, InvalidSpec):
        _add(status, _bad_request(error))
    if isinstance(error, Unavailable):
        _add(status, RetryInfo(retry_delay=Duration(seconds=RETRY_SECONDS)))
    if isinstance(error, ResourceExhausted) and error.retry_seconds:
        _add(status, RetryInfo(retry_delay=Duration(seconds=error.retry_seconds)))
    if code == Code.INTERNAL:
        _LOG.error("answered INTERNAL: %s", error, exc_info=error)
    return status, ErrorInfo(reason=error.reason, domain=DOMAIN)


def _unexpected(error: BaseException) -> tuple[Status, ErrorInfo]:
    error_id = uuid.uuid4().hex[:12]
    _LOG.error("unexpected error %s", error_id, exc_info=error, extra={"error_id": error_id})
    message = f"the server made an error of its own; its log has the details under the error id {error_id}"
    status = Status(code=Code.INTERNAL, message=message)
    return status, ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})


def _bad_request(error: InvalidSpec) -> BadRequest:
    """As many violations as metadata has room for; the last one says how many more there are."""
    detail, room = BadRequest(), _VIOLATIONS_BYTES
    for done, violation in enumerate(error.violations):
        description = _cut(violation.description, 600)
        room -= len(violation.field.encode(errors="replace")) + len(description.encode())
        if room < 0:
            detail.field_violations.add(description=f"and {len(error.violations) - done} more")
            break
        detail.field_violations.add(field=_cut(violation.field, 200), description=description)
    return detail


def _cut(text: str, limit: int) -> str:
    """Returns the beginning of a text, without secrets."""
    encoded = redact(text).encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return encoded[: limit - 3].decode(errors="ignore") + "..."


def _add(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


# -------------------------------------------------------------- from a status


def error_of(call: grpc.RpcError, *, doing: str, address: str) -> DragomanError:
    """Returns the typed error of a failed call.

    Args:
        call: What grpc raised.
        doing: Full name of the method, for messages that the server did not write.
        address: Where the server was looked for.
    """
    code, message = _code(call), _text(call)
    status = _details(call)
    info = _detail(status, ErrorInfo)
    if status is None or info is None or info.domain != DOMAIN:
        return _foreign(code, message, doing, address)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        bad = _detail(status, BadRequest) or BadRequest()
        violations = [Violation(v.field, v.description) for v in bad.field_violations]
        return InvalidSpec(violations or status.message, reason=info.reason)
    type_ = next((type_ for type_, value in _CODES if value == status.code), DragomanError)
    return type_(status.message, reason=info.reason)


def retry_delay(call: grpc.RpcError) -> float:
    """Returns the seconds that the server asked to wait; 0 when it did not."""
    info = _detail(_details(call), RetryInfo)
    return info.retry_delay.ToTimedelta().total_seconds() if info else 0.0


def _foreign(code: grpc.StatusCode, message: str, doing: str, address: str) -> DragomanError:
    """Errors of the transport, a proxy, or a server that is not ours."""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            hint = "start it (`dragoman up` does on a laptop) or give another address"
            return Unavailable(f"no server answers at {address} ({message}); {hint}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"{address} did not answer {doing} in time; look at its log, or give a longer timeout"
            return Unavailable(text, reason="DEADLINE_EXCEEDED")
        case grpc.StatusCode.UNIMPLEMENTED:
            text = f"the server at {address} has no {doing}; it is another service, or older than this client"
            return FailedPrecondition(text, reason="UNIMPLEMENTED")
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            text = f"the server at {address} refuses {doing}: {message}; set DRAGOMAN_TOKEN to a token it accepts"
            return FailedPrecondition(text, reason=code.name)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ResourceExhausted(f"{doing} at {address}: {message}")
        case _:
            return DragomanError(f"{doing} at {address} failed: {code.name}: {message}", reason=code.name)


def _code(call: Any) -> grpc.StatusCode:
    return call.code() or grpc.StatusCode.UNKNOWN


def _text(call: Any) -> str:
    return call.details() or ""


def _details(call: Any) -> Status | None:
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return Status.FromString(value)
            except DecodeError:
                return None
    return None


def _detail(status: Status | None, type_: type[D]) -> D | None:
    if status is None:
        return None
    for packed in status.details:
        detail = type_()
        if packed.Unpack(detail):
            return detail
    return None

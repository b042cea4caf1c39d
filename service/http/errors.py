"""Errors in OpenAI's JSON form: the only place where an exception becomes an HTTP status."""

from typing import Any

from starlette.responses import JSONResponse

from service.errors import Code, ServiceError

# A failed precondition is 400 and not 409, which OpenAI's clients would try again.
_STATUSES = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.DEADLINE_EXCEEDED: 504,
    Code.CANCELLED: 499,
    Code.DATA_LOSS: 500,
    Code.UNAVAILABLE: 503,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
}
_STATUS_OF_REASON = {
    "REQUEST_TOO_LARGE": 413,
    "BODY_TOO_SLOW": 408,
    "DISK_FULL": 507,
    "STATE_FULL": 507,
}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}

# The answerers name the fields of the gRPC messages, the state names none of what it does not find.
_PARAMS = {
    "corpus": "model",
    "corpus_id": "model",
    "query": "messages",
    "route": "longmemory.route",
    "reader": "longmemory.reader",
    "cartridge": "longmemory.cartridge",
    "cartridge_id": "longmemory.cartridge",
    "budget.max_prompt_tokens": "longmemory.max_prompt_tokens",
}
_SOUGHT = {"CORPUS_NOT_FOUND": "model", "CARTRIDGE_NOT_FOUND": "longmemory.cartridge"}


def body(error: ServiceError) -> dict[str, Any]:
    """`{"error": {...}}` with the service's reason as the code."""
    kind = _TYPES.get(
        status(error), "invalid_request_error" if status(error) < 500 else "api_error"
    )
    field = error.field or ""
    param = _PARAMS.get(field, field) or _SOUGHT.get(error.reason)
    told = {"message": error.message, "type": kind, "param": param, "code": error.reason}
    return {"error": told}


def status(error: ServiceError) -> int:
    """The HTTP status of an error."""
    return _STATUS_OF_REASON.get(error.reason) or _STATUSES.get(error.code, 500)


def response(error: ServiceError) -> JSONResponse:
    """The whole answer to a request that failed, with Retry-After where waiting helps."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    if error.reason == "BODY_TOO_SLOW":
        headers["connection"] = "close"  # what is still being sent is not waited for
    return JSONResponse(body(error), status(error), headers)

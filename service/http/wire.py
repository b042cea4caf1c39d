"""A request's bytes to JSON, and its fields to checked values. A failed check names the field."""

import asyncio
import json
from typing import Any

from starlette.requests import Request

from service.errors import ServiceError, fail
from service.limits import Limits
from service.stopped_sender import sent


async def read_object(request: Request, limits: Limits) -> dict[str, Any]:
    """The body as one JSON object. Raises REQUEST_TOO_LARGE, INVALID_VALUE, SENDER_STOPPED."""
    data, most_bytes = bytearray(), limits.max_http_bytes
    async for piece in sent(aiter(request.stream()), limits.sender_seconds):
        data += piece
        if len(data) > most_bytes:
            raise fail(
                "REQUEST_TOO_LARGE",
                f"the body is larger than {most_bytes} bytes; register the text as a corpus",
                max_bytes=most_bytes,
            )
    # Parsing a long prompt takes a while, which is no work for the event loop.
    return await asyncio.to_thread(_parse, bytes(data))


def _parse(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # finds lone surrogates
    except UnicodeDecodeError as error:
        raise _unreadable(f"is not UTF-8 at byte {error.start}; encode it so") from None
    except UnicodeEncodeError:
        raise _unreadable("holds a lone surrogate; send whole characters") from None
    except RecursionError:
        raise _unreadable("is nested too deeply; send a flat request") from None
    except ValueError as error:
        raise _unreadable(f"is not JSON ({error}); send one JSON object") from None
    if not isinstance(value, dict):
        raise _unreadable("is no object; send one JSON object")
    return value


def _unreadable(wrong: str) -> ServiceError:
    return fail("INVALID_VALUE", f"the body {wrong}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def text(body: dict[str, Any], field: str) -> str:
    """A text that must be there and not be empty."""
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise invalid(field, "it must be a text that is not empty; set it")
    return value


def whole(value: object, field: str) -> int:
    """A whole number of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise invalid(field, "it is not a whole number of 64 bits; give one")
    return value


def number(value: object, field: str) -> float:
    """A finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e9:
        raise invalid(field, "it is not a number of sensible size; give one")
    return float(value)


def flag(value: object, field: str) -> bool:
    """True or false; null is false."""
    if value is not None and not isinstance(value, bool):
        raise invalid(field, "it is neither true nor false; give one of them")
    return bool(value)


def invalid(field: str, wrong: str) -> ServiceError:
    """The error for a field with a wrong value."""
    return fail("INVALID_VALUE", f"{field}: {wrong}", field=field)

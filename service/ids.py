"""The names of things: resource ids, resource names, document ids, request ids. Pure.

Every id is checked before it reaches a database or a path. A failed check raises MALFORMED_ID
and names the field of the request that held the value.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from service.errors import ServiceError, fail, quoted
from service.limits import Limits

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class CartridgeName:
    """The two ids in `corpora/{corpus_id}/cartridges/{cartridge_id}`."""

    corpus_id: str
    cartridge_id: str


def corpus_name(corpus_id: str) -> str:
    """The resource name of a corpus."""
    return f"corpora/{corpus_id}"


def cartridge_name(corpus_id: str, cartridge_id: str) -> str:
    """The resource name of a cartridge."""
    return f"corpora/{corpus_id}/cartridges/{cartridge_id}"


def operation_name(job_id: str) -> str:
    """The resource name of a job."""
    return f"operations/{job_id}"


def parse_id(value: str, field: str) -> str:
    """A resource id as given; raises MALFORMED_ID."""
    if not _ID.fullmatch(value):
        raise _malformed(
            value,
            field,
            "is not an id",
            "use 3 to 63 of a-z, 0-9 and '-', with a letter or a digit at both ends",
        )
    return value


def parse_corpus_name(value: str, field: str = "name") -> str:
    """The corpus id in `corpora/{id}`; raises MALFORMED_ID."""
    return _parse_name(value, field, "corpora/{corpus}")[0]


def parse_cartridge_name(value: str, field: str = "name") -> CartridgeName:
    """The ids in `corpora/{id}/cartridges/{id}`; raises MALFORMED_ID."""
    return CartridgeName(*_parse_name(value, field, "corpora/{corpus}/cartridges/{cartridge}"))


def parse_operation_name(value: str, field: str = "name") -> str:
    """The job id in `operations/{id}`; raises MALFORMED_ID."""
    return _parse_name(value, field, "operations/{operation}")[0]


def parse_document_id(value: str, field: str = "document_id", limits: Limits | None = None) -> str:
    """A document id, a relative path with '/' between its parts; raises MALFORMED_ID."""
    longest = (limits or Limits()).max_document_id_chars
    if not value:
        raise _malformed(value, field, "is empty", "give a relative path such as notes/one.md")
    if len(value) > longest:
        raise _malformed(value, field, f"has {len(value)} characters", f"use at most {longest}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise _malformed(value, field, "holds a control character", "remove it")
    if "\\" in value:
        raise _malformed(value, field, "holds a backslash", "separate folders with '/'")
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise _malformed(
            value,
            field,
            "is not a plain relative path",
            "leave out a leading or trailing '/', '//', '.' and '..'",
        )
    return value


def parse_request_id(value: str, field: str = "request_id") -> str:
    """A request id in lower case, or the empty string when none was given; raises MALFORMED_ID."""
    lowered = value.lower()
    if lowered and not _UUID.fullmatch(lowered):
        raise _malformed(
            value,
            field,
            "is not a UUID",
            "write it as 8-4-4-4-12 hexadecimal digits, or leave it empty",
        )
    return lowered


def _parse_name(value: str, field: str, pattern: str) -> list[str]:
    parts, wanted = value.split("/"), pattern.split("/")
    fits = len(parts) == len(wanted) and all(
        part == want for part, want in zip(parts[::2], wanted[::2], strict=True)
    )
    if not fits:
        raise _malformed(value, field, "is not a resource name of this kind", f"write {pattern}")
    return [parse_id(part, field) for part in parts[1::2]]


def _malformed(value: str, field: str, wrong: str, mend: str) -> ServiceError:
    return fail("MALFORMED_ID", f"{field}: {quoted(value)} {wrong}; {mend}", field=field)

"""Listings that are read page by page."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from service.errors import fail
from service.limits import Limits
from service.state.store import Key, Record, Store
from service.state.table import Table

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """An ordered part of a table; `parts` are the types of what its keys hold behind `prefix`."""

    scope: str
    table: Table
    index: str
    parts: tuple[type[str] | type[float], ...]
    prefix: Key = ()
    descending: bool = False


def read_page(
    store: Store, listing: Listing, page_size: int, page_token: str, limits: Limits
) -> tuple[list[Record], str]:
    """One page of records and the token of the next page, empty after the last.

    A size of 0 means the default, one above the maximum means the maximum.
    Raises INVALID_VALUE for a negative size, PAGE_TOKEN_INVALID for a token of another listing.
    """
    if page_size < 0:
        raise fail(
            "INVALID_VALUE", f"page_size: {page_size} is negative; use 0 or more", field="page_size"
        )
    size = min(page_size or limits.default_page_size, limits.max_page_size)
    after = _after_token(page_token, listing)
    start = (*listing.prefix, *after) if after else None
    found = listing.table.find(
        store, listing.index, listing.prefix, start, size + 1, listing.descending
    )
    records = [record for _, record in found[:size]]
    if len(found) <= size:
        return records, ""
    last = found[size - 1][0][len(listing.prefix) :]
    text = json.dumps({"of": listing.scope, "after": last})
    return records, base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def all_pages(read: Callable[[str], tuple[Sequence[T], str]]) -> Iterator[T]:
    """What stands on every page; `read` gives the page of a token, and the next page's token."""
    token = ""
    while True:
        page, token = read(token)
        yield from page
        if not token:
            return


def _after_token(token: str, listing: Listing) -> Key:
    if not token:
        return ()
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        after = tuple(content["after"])
        fits = content["of"] == listing.scope and len(after) == len(listing.parts)
    except (ValueError, TypeError, KeyError, RecursionError):
        fits, after = False, ()
    if not fits or not all(map(_is_of, after, listing.parts)):
        raise fail(
            "PAGE_TOKEN_INVALID",
            "page_token: it does not belong to this listing; pass next_page_token unchanged "
            "with the same arguments, or leave it empty to begin again",
            field="page_token",
        )
    return after


def _is_of(value: object, kind: type) -> bool:
    if isinstance(value, str) and kind is str:
        return not any("\ud800" <= one <= "\udfff" for one in value)  # those are no text
    return isinstance(value, float) and kind is float and math.isfinite(value)

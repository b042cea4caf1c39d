"""The call that is under way: what is noted of it for its log line, and the spans of its parts.

Parts that work for a call say what they do to `note` and `span` and need not know of any call;
without one, or without tracing, both do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

Attributes = dict[str, str | int | float | bool]


class CallSpan(Protocol):
    """A call as tracing sees it."""

    def part(self, name: str) -> AbstractContextManager[Attributes]:
        """A span of a part of the call; what is put into its attributes is told at its end."""
        ...


class Untraced:
    """A call that nobody traces."""

    @contextmanager
    def part(self, name: str) -> Iterator[Attributes]:
        """Attributes that nobody reads."""
        yield {}


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call and what was noted of it so far: counts and names, never a text unless asked."""

    span: CallSpan = field(default_factory=Untraced)
    noted: Attributes = field(default_factory=dict)


_CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)


@contextmanager
def under_way(call: Call) -> Iterator[Call]:
    """For as long as the block lasts, and in all tasks begun inside, this is the call."""
    before = _CURRENT.set(call)
    try:
        yield call
    finally:
        _CURRENT.reset(before)


def note(**facts: str | int | float | bool) -> None:
    """For the log line of the call that is under way."""
    if call := _CURRENT.get():
        call.noted.update(facts)


def span(name: str) -> AbstractContextManager[Attributes]:
    """A part of the call that is under way, for as long as the block lasts."""
    call = _CURRENT.get()
    return (call.span if call else Untraced()).part(name)

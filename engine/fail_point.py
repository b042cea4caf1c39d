"""Moments between two steps of storing something, at which a test has this very process killed.

For tests alone: `LONGMEMORY_FAIL_POINT=NAME` kills the process (SIGKILL) where it passes the point of
that name, `NAME:3` where it passes it for the third time, and `NAME:1:stop` stops it (SIGSTOP) instead.
"""

import itertools
import os
import signal
from dataclasses import dataclass
from typing import Literal, get_args

VARIABLE = "LONGMEMORY_FAIL_POINT"

FailPoint = Literal[
    # Uploading a document: the service's server.
    "corpus.recorded",
    "corpus.created",
    "upload.begun",
    "upload.written",
    "upload.recorded",
    "text.forced",
    "text.renamed",
    "text.stored",
    "upload.committed",
    # Ordering a job.
    "index.marked",
    "cartridge.promised",
    "job.queued",
    "job.ordered",
    # Holding a job: a worker.
    "job.claimed",
    "job.begun",
    "work.taken",
    "lease.renewed",
    # Indexing.
    "index.begun",
    "window.written",
    "window.forced",
    "window.renamed",
    "words.written",
    "words.forced",
    "words.renamed",
    "vectors.written",
    "vectors.forced",
    "vectors.renamed",
    "catalog.written",
    "catalog.forced",
    "catalog.renamed",
    "index.recorded",
    "index.committed",
    "catalog.dropped",
    "catalogs.dropped",
    "instant.deleted",
    "instant.promised",
    # Training.
    "checkpoint.written",
    "checkpoint.forced",
    "checkpoint.renamed",
    "cartridge.written",
    "cartridge.described",
    "cartridge.forced",
    "cartridge.moved_aside",
    "cartridge.renamed",
    "cartridge.stored",
    "cartridge.recorded",
    "cartridge.committed",
    "cartridge.cleared",
    # Ending a job.
    "job.ended",
    "job.committed",
    "work.cleared",
    # Deleting: the record is gone, the files are not.
    "corpus.deleted",
    "cartridge.deleted",
]
FAIL_POINTS: tuple[str, ...] = get_args(FailPoint)
"""The names of all points."""

StagedThing = Literal["window", "words", "vectors", "catalog", "checkpoint", "cartridge"]
"""What `engine.plain_folder` brings to its place, passing points of its own name."""
StagingStep = Literal["written", "forced", "moved_aside", "renamed", "stored"]

_passes = itertools.count(1)  # a process has one point at most


@dataclass(frozen=True, slots=True)
class Fault:
    """What is asked for: where, at which pass, and by which signal."""

    name: str
    number: int = 1
    is_stop: bool = False

    @property
    def signal(self) -> signal.Signals:
        return signal.SIGSTOP if self.is_stop else signal.SIGKILL


def asked_fault() -> Fault | None:
    """What the environment asks for; None where it asks for nothing, as it should outside of tests.

    Raises:
        ValueError: it names no point, or is not of the form NAME[:NUMBER[:stop]].
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return None
    name, _, rest = given.partition(":")
    number, _, act = rest.partition(":")
    if name not in FAIL_POINTS:
        known = ", ".join(FAIL_POINTS)
        raise ValueError(
            f"{VARIABLE}: there is no point {name[:80]!r}; unset it, or use one of {known}"
        )
    is_number = number.isascii() and number.isdigit() and int(number) > 0
    if (rest and not is_number) or act not in ("", "stop"):
        raise ValueError(
            f"{VARIABLE}: {rest[:80]!r} is neither NUMBER nor NUMBER:stop; unset it, or write "
            f"{name}, {name}:2 or {name}:1:stop"
        )
    return Fault(name, int(number or 1), act == "stop")


def fail_point(name: FailPoint) -> None:
    """Does nothing, unless the environment asks for this process' end here."""
    _pass(name)


def staging_point(thing: StagedThing | None, step: StagingStep) -> None:
    """The fail point `<thing>.<step>`; none where nothing is named."""
    if thing:
        _pass(f"{thing}.{step}")


def _pass(name: str) -> None:
    if VARIABLE not in os.environ:
        return
    fault = asked_fault()
    if fault and fault.name == name and next(_passes) == fault.number:
        os.kill(os.getpid(), fault.signal)

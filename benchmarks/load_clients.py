"""Clients that ask again and again for a bounded time, and what they waited for."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.client.connection import Client, ClientError
from service.client.types import Delta, Summary

PATIENCE = 120.0  # seconds after which an answer is given up


@dataclass(slots=True)
class Tally:
    """What one client saw: seconds to the first token and to the end, tokens, reasons of refusals."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    tokens: int = 0
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """What every client asks, and for how long new questions are begun."""

    address: str
    corpus: str
    questions: Sequence[str]
    route: str
    seconds: float
    max_tokens: int
    pause: float = 0.05  # seconds before a refused client asks again


def ask_together(work: Work, clients: int) -> tuple[list[Tally], float]:
    """Closed loop: every client has one question under way. All tallies, and the seconds it took."""
    tallies = [Tally() for _ in range(clients)]
    began = time.perf_counter()
    threads = [
        threading.Thread(target=_ask_on, args=(work, number, tally, began + work.seconds))
        for number, tally in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tallies, time.perf_counter() - began


def _ask_on(work: Work, number: int, tally: Tally, end: float) -> None:
    with Client(work.address) as client:
        while time.perf_counter() < end:
            question = work.questions[number % len(work.questions)]
            number += 1
            try:
                _ask(client, work, question, tally)
            except ClientError as error:
                if error.code != "RESOURCE_EXHAUSTED":
                    tally.failed.append(error.reason)
                else:
                    tally.refused.append(error.reason)
                time.sleep(work.pause)


def _ask(client: Client, work: Work, question: str, tally: Tally) -> None:
    began, first = time.perf_counter(), None
    stream = client.ask_stream(
        work.corpus, question, work.route, timeout=PATIENCE, max_output_tokens=work.max_tokens
    )
    for event in stream:
        if isinstance(event, Delta) and first is None:
            first = time.perf_counter() - began
        if isinstance(event, Summary):
            tally.tokens += event.usage.output_tokens
            tally.whole.append(time.perf_counter() - began)
            tally.first.append(first if first is not None else tally.whole[-1])


def begin_health_probe(address: str, seconds: float) -> "subprocess.Popen[str]":
    """A process of its own, which the threads of the clients do not slow; prints a latency a line."""
    command = [sys.executable, "-m", "benchmarks.load_health", address, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

"""Processes that are killed at a fail point each, and what is then made of their folder."""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked_process import ForkedProcess
from process_room import PATIENCE, Server, long_text, serving, until, working

from benchmarks.whole_artifacts import artifact_digests, found_faults
from service.client.connection import Client, ClientError
from service.client.types import SourceDocument

KILLED = -9
INSTANT_TOKENS = 300  # only the texts that are meant to get a cartridge by themselves have so few
STEPS = 4


def id_of(point: str) -> str:
    """The corpus of a point's own."""
    return point.replace(".", "-").replace("_", "-")


def text_of(point: str, is_small: bool = False) -> str:
    """Several windows that no other point's corpus has, or less than `INSTANT_TOKENS`."""
    return long_text(zlib.crc32(point.encode()), 6 if is_small else 60)


def file_in(client: Client, point: str, text: str) -> None:
    """As a client that does it again after a failure: the corpus, its text and the order to index it."""
    client.create_corpus(id_of(point), exist_ok=True)
    client.upload(id_of(point), [SourceDocument("log.txt", text.encode())])
    client.index(id_of(point))


def train(client: Client, point: str) -> None:
    """The same for a cartridge."""
    corpus = id_of(point)
    if not any(one.id == "cart-one" for one in client.list_cartridges(corpus)):
        client.train(corpus, 16, STEPS, 8, cartridge_id="cart-one")


def at_rest(client: Client) -> None:
    """Waits until no job is left."""
    until(lambda: all(job.done for job in client.list_jobs()), "the end of the jobs", 8 * PATIENCE)


def ask(client: Client, point: str) -> None:
    """What a server dies of at a point of its own."""
    if point == "cartridge.promised":
        train(client, point)
    else:
        file_in(client, point, text_of(point))


@dataclass
class KillRoom:
    """A data folder with what is killed in it; `codes` are how the victims ended, by their points."""

    data: Path
    model: Path
    codes: dict[str, int]

    @contextmanager
    def serving(self, name: str, fail_point: str = "") -> Iterator[tuple[Server, Client]]:
        """A server without a worker of its own."""
        more = ("--workers", "0")
        opened = serving(
            self.data, self.model, name=name, more=more, fail_point=fail_point, launch=ForkedProcess
        )
        with opened as server, Client(server.address) as client:
            yield server, client

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """A worker that goes on until the end."""
        flags = ("--instant-tokens", str(INSTANT_TOKENS))
        with working(self.data, self.model, "", name, *flags, launch=ForkedProcess):
            yield

    def kill_worker(self, point: str) -> None:
        """Has a worker take the next job and die at a point; nobody takes the job from it."""
        flags = ("--once", "--lease", "3600", "--instant-tokens", str(INSTANT_TOKENS))
        opened = working(
            self.data, self.model, "", point, *flags, fail_point=point, launch=ForkedProcess
        )
        with opened as victim:
            self.codes[point] = victim.process.wait(4 * PATIENCE)

    def kill_server(self, point: str) -> None:
        """Has a server die at a point, amid what a client asks of it."""
        with self.serving(point, point) as (server, client):
            with pytest.raises(ClientError) as caught:
                ask(client, point)
            assert caught.value.code == "UNAVAILABLE"
            self.codes[point] = server.process.wait(PATIENCE)

    def faults(self, client: Client) -> dict[str, list[str]]:
        """What is wrong, once the workers had the time to clear up."""
        end = time.monotonic() + 15
        while (found := found_faults(self.data, client)) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def digests(self, client: Client) -> dict[str, str]:
        return artifact_digests(self.data, client)

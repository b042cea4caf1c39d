"""`make demo`: the whole job once, on real text with a real model, printed as one table.

A client like any other: starts a server, registers two corpora, trains a cartridge, and asks.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from rich.console import Console

from evaluation.corpora import KnownCorpus, handbook, python_reference
from evaluation.demo_table import Row, print_rows, print_summary
from evaluation.server_process import ServerFailedError, running_server
from service.client.connection import Client, ClientError
from service.client.progress import job_line, progress_bar
from service.client.types import WISHES, Route

HANDBOOK_ROUTES = WISHES
REFERENCE_ROUTES = (Route.AUTO, Route.INFINI_RETRI, Route.CRAG, Route.NONE)
CARTRIDGE_TOKENS, CONVERSATIONS, STEPS = 128, 24, 100  # what fits a demo's minutes
PRINTED_WIDTH = 140


def register(client: Client, corpus: KnownCorpus) -> None:
    """Uploads and indexes a corpus; unchanged text costs nothing."""
    client.create_corpus(corpus.id, corpus.display_name, exist_ok=True)
    with progress_bar(hidden=False) as bar:
        total = sum(len(document.data()) for document in corpus.documents)
        task = bar.add_task(f"upload {corpus.id}", total=total, line="")
        client.upload(corpus.id, corpus.documents, lambda done: bar.update(task, completed=done))
        bar.update(task, completed=total)
    follow(client, client.index(corpus.id), f"index {corpus.id}")


def train(
    client: Client,
    corpus_id: str,
    tokens: int = CARTRIDGE_TOKENS,
    conversations: int = CONVERSATIONS,
    steps: int = STEPS,
) -> None:
    """Trains a cartridge unless one stands ready and fresh."""
    if any(cartridge.state == "ready" for cartridge in client.list_cartridges(corpus_id)):
        return
    job = client.train(
        corpus_id, prefix_tokens=tokens, conversations=conversations, max_steps=steps
    )
    follow(client, job, f"train {corpus_id}")


def follow(client: Client, job: str, title: str) -> None:
    """A job's bar, to its end; raises ClientError where the job failed."""
    with progress_bar(hidden=False) as bar:
        task = bar.add_task(title, total=1.0, line="")
        for snapshot in client.watch(job):
            bar.update(task, completed=snapshot.progress, line=job_line(snapshot))
            if snapshot.error:
                raise ClientError(
                    snapshot.error.code, snapshot.error.reason, snapshot.error.message
                )


def ask_all(client: Client, corpus: KnownCorpus, routes: tuple[Route, ...]) -> list[Row]:
    """Every question by every route, one after the other."""
    rows = []
    with progress_bar(hidden=False) as bar:
        task = bar.add_task(f"ask {corpus.id}", total=len(corpus.questions) * len(routes), line="")
        for question in corpus.questions:
            for route in routes:
                answer = client.ask(corpus.id, question.question, route, max_output_tokens=64)
                rows.append(Row(corpus.id, question, route, answer))
                bar.advance(task)
    return rows


def run(data: Path, console: Console) -> list[Row]:
    """The whole job against a server of its own."""
    known, real = handbook(4), python_reference(4)
    with running_server(data, data / "logs" / "server.log") as address, Client(address) as client:
        info = client.info()
        console.print(f"{info.model_name} on {info.device}, {info.dtype}, at {address}")
        for corpus in (known, real):
            register(client, corpus)
        train(client, known.id)
        return ask_all(client, known, HANDBOOK_ROUTES) + ask_all(client, real, REFERENCE_ROUTES)


def main() -> None:
    """Runs the demo; exit code 1 where the service could not do the job."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="the data folder, kept for the next run"
    )
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    console, began = _wide_console(), time.monotonic()
    try:
        rows = run(given.data, console)
    except (ClientError, ServerFailedError) as error:
        console.print(f"[red]error:[/] {error}")
        sys.exit(1)
    print_rows(console, rows)
    print_summary(console, rows)
    console.print(f"done in {time.monotonic() - began:.0f} s")
    if given.json:
        given.json.write_text(json.dumps([row.as_json() for row in rows], indent=1))


def _wide_console() -> Console:
    """A file has no width of its own: the table gets enough."""
    console = Console()
    return console if console.is_terminal else Console(width=PRINTED_WIDTH)


if __name__ == "__main__":
    main()

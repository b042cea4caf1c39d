"""What the router earns: every question of a mixed workload by every route, then the router's choices.

`python -m benchmarks.router --data .work/data --questions FOLDER` asks a server of its own, as a client,
and keeps every answer in the data folder, so that it can be ended and begun again. `--fit` also writes
the weights that the service ships with (`service/routing/quality.json`). The router is judged by
weights fitted on the other kinds of corpora (leave one out). Writes `results/router.json`.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import track

from benchmarks.record import write_result
from benchmarks.router_fit import fit, to_json
from benchmarks.router_replay import Replay, headline
from benchmarks.workload import Asked, Workload, read_workload
from evaluation.server_process import running_server
from service.client.connection import Client, ClientError
from service.client.types import Route, SourceDocument

IMPOSSIBLE = ("CARTRIDGE_NOT_FOUND", "CARTRIDGE_NOT_READY", "CONTEXT_TOO_LONG")
ROUTES = ("cartridge", "crag", "infini_retri", "full_context", "none")  # declining asks no model
WEIGHTS = Path(__file__).parents[1] / "service" / "routing" / "quality.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question by one route; `signals` are those of its decision."""

    corpus: str
    group: str
    question: str
    route: str
    score: float
    seconds: float
    prompt_tokens: int
    answer: str
    signals: dict[str, float]


def register(client: Client, workload: Workload) -> None:
    """Corpora that are not there, and their cartridges."""
    for name, text in workload.corpora.items():
        client.create_corpus(name, exist_ok=True)
        client.upload(name, [SourceDocument("text.txt", text.encode())])
        wait(client, client.index(name))
    for name, effort in workload.cartridges.items():
        if not any(one.state == "ready" for one in client.list_cartridges(name)):
            wait(client, client.train(name, effort=effort))


def wait(client: Client, job: str) -> None:
    """To a job's end. Raises ClientError where it failed."""
    for snapshot in client.watch(job):
        if snapshot.error:
            error = snapshot.error
            raise ClientError(error.code, error.reason, error.message)


def ask(client: Client, asked: Asked, route: str) -> Outcome | None:
    """One answer; None where the route cannot run."""
    most = (
        96 if asked.group == "overview" else 64
    )  # a quotation's first words are seldom the answer
    try:
        answer = client.ask(asked.corpus, asked.question, Route(route), max_output_tokens=most)
    except ClientError as error:
        if error.reason in IMPOSSIBLE:
            return None
        raise
    return Outcome(
        asked.corpus, asked.group, asked.question, route, asked.score(answer.answer),
        answer.usage.total_seconds, answer.usage.prompt_tokens, answer.answer,
        dict(answer.decision.signals),
    )  # fmt: skip


def collect(client: Client, workload: Workload, path: Path) -> None:
    """What was not asked yet."""
    done = {(one["corpus"], one["question"], one["route"]) for one in read_rows(path)}
    with path.open("a") as file:
        for asked in track(workload.questions, "questions"):
            for route in ROUTES:
                if (asked.corpus, asked.question, route) in done:
                    continue
                outcome = ask(client, asked, route)
                row = asdict(outcome) if outcome else _impossible(asked, route)
                file.write(json.dumps(row) + "\n")
                file.flush()


def _impossible(asked: Asked, route: str) -> dict[str, object]:
    return {
        "corpus": asked.corpus, "group": asked.group, "question": asked.question,
        "route": route, "score": None,
    }  # fmt: skip


def read_rows(path: Path) -> Iterator[dict[str, object]]:
    """Every answer that was kept."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.router", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="folder of the question sets")
    parser.add_argument("--replay", action="store_true", help="ask nothing, judge what was kept")
    parser.add_argument("--fit", action="store_true", help="write the weights that are shipped")
    given = parser.parse_args()
    folder = given.data / "bench-router"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "answers.jsonl"
    if not given.replay:
        workload = read_workload(given.questions)
        with (
            running_server(folder / "service", folder / "server.log") as address,
            Client(address) as client,
        ):
            register(client, workload)
            collect(client, workload, path)
    replay = Replay.of(list(read_rows(path)))
    if given.fit:
        WEIGHTS.write_text(to_json(fit(replay.cases)))
    rows = replay.rows()
    print(write_result("router", rows, headline(replay)))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()

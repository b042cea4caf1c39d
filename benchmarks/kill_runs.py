"""Workers that are killed at random moments of indexing and training: what is lost, doubled or torn.

`python -m benchmarks.kill_runs --data .work/data` starts a server and one worker after another, each
under a lease of a second, kills each amid a job (SIGKILL) and lets the next go on. Then the same is made
in another folder by a worker that nobody kills, and compared digest by digest.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.whole_artifacts import artifact_digests, found_faults
from engine.wheels import default_model_folder
from evaluation.server_process import running_server
from service.client.connection import Client
from service.client.types import JobSnapshot, SourceDocument

KILLS, SEED = 20, 1
SENTENCES = {
    "index": 240,
    "train": 60,
}  # of a text that is indexed amid kills, of one that is trained on
PREFIX, CONVERSATIONS, STEPS = 32, 8, 12
PATIENCE, REST = 600.0, 15.0  # seconds for a job, and for what a worker clears up behind it
Row = dict[str, Any]


class JobOverdueError(Exception):
    """A job did not end in time; the message is what its worker said last."""


@dataclass(frozen=True, slots=True)
class Target:
    """One job: the corpus to index, or the cartridge to train on the first corpus."""

    kind: str
    number: int

    @property
    def corpus(self) -> str:
        return f"killed-{self.number}" if self.kind == "index" else "trained"

    @property
    def name(self) -> str:
        corpus = f"corpora/{self.corpus}"
        return corpus if self.kind == "index" else f"{corpus}/cartridges/killed-{self.number}"

    def order(self, client: Client) -> str:
        """Starts the job; its name."""
        if self.kind == "index":
            register(client, self.corpus, self.number)
            return client.index(self.corpus)
        return client.train(
            self.corpus, PREFIX, STEPS, CONVERSATIONS, cartridge_id=f"killed-{self.number}"
        )


@dataclass(slots=True)
class Workers:
    """Workers in one data folder, one at a time."""

    data: Path
    model: Path
    process: "subprocess.Popen[bytes] | None" = None

    def begin(self) -> None:
        """Starts the next one."""
        command = [sys.executable, "-m", "service.cli.main", "worker", "--data", str(self.data)]
        command += ["--model", str(self.model), "--lease", "1", "--threads", "1"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--instant-tokens", "0"], stdout=log, stderr=log
            )

    def kill(self) -> None:
        """Ends it as the kernel would for want of memory."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> Path:
        return self.data.with_suffix(".worker.log")


@dataclass(slots=True)
class KillRuns:
    """What was killed, and the names of what did not come through."""

    rows: list[Row] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=dict)

    def headline(self) -> dict[str, float | None]:
        """How many workers were killed, and how many corpora and cartridges did not come through."""
        return {"kill_runs": len(self.rows), "lost": len(self.lost)}

    def told(self) -> list[Row]:
        """The rows, each with what is wrong with what its worker was killed over."""
        return [row | {"faults": self.lost.get(row["killed"], [])} for row in self.rows]


def run_kills(folder: Path, model: Path, kills: int = KILLS, seed: int = SEED) -> KillRuns:
    """Kills so many workers in `folder`, half of them indexing and half training, and compares."""
    chance, runs = random.Random(seed), KillRuns()
    kinds = [("index", "train")[number % 2] for number in range(kills)]
    chance.shuffle(kinds)
    with _opened(folder / "killed", model) as (client, workers):
        taken = {
            kind: _undisturbed(client, workers, Target(kind, 0)) for kind in ("index", "train")
        }
        done = [Target("index", 0), Target("train", 0)]
        while kinds:
            target = Target(kinds[-1], len(done))
            done.append(target)
            row = _killed_amid(client, workers, target, chance.random(), taken[target.kind])
            if row:
                kinds.pop()
                runs.rows.append(row)
                print(row, flush=True)
            _note(runs.lost, _faults_at_rest(workers.data, client))
        made = artifact_digests(workers.data, client)
    with _opened(folder / "undisturbed", model) as (client, workers):
        for target in done:
            _undisturbed(client, workers, target)
        expected = artifact_digests(workers.data, client)
    differing = {name for name in made.keys() | expected if made.get(name) != expected.get(name)}
    _note(runs.lost, {name: ["it is not what an undisturbed worker makes"] for name in differing})
    return runs


def register(client: Client, corpus: str, seed: int) -> None:
    """A corpus with a text of its own, so that no other has read its windows."""
    kind = "train" if corpus == "trained" else "index"
    client.create_corpus(corpus)
    text = _text(seed, SENTENCES[kind]).encode()
    client.upload(corpus, [SourceDocument("log.txt", text)])


@contextmanager
def _opened(data: Path, model: Path) -> Iterator[tuple[Client, Workers]]:
    """A server without a worker of its own, a worker beside it, and the corpus that is trained on."""
    data.mkdir(parents=True)
    workers = Workers(data, model)
    options = ("--workers", "0", "--model", str(model), "--threads", "1")
    with running_server(data, data.with_suffix(".server.log"), *options) as address:
        workers.begin()
        try:
            with Client(address) as client:
                register(client, "trained", -1)
                _ended(client, client.index("trained"), workers)
                yield client, workers
        finally:
            workers.kill()


def _undisturbed(client: Client, workers: Workers, target: Target) -> float:
    """Does a job; the seconds that it ran."""
    job = target.order(client)
    began = _running(client, job)
    _ended(client, job, workers)
    return time.monotonic() - began


def _killed_amid(
    client: Client, workers: Workers, target: Target, share: float, seconds: float
) -> Row | None:
    """Kills the worker after that share of what its job takes, and has another end the job; None where
    the job was over by then.
    """
    job = target.order(client)
    began = _running(client, job)
    time.sleep(max(0.0, share * seconds - (time.monotonic() - began)))
    before = client.get_job(job)
    if before.done:
        return None
    workers.kill()
    workers.begin()
    after = _ended(client, job, workers)
    return {
        "killed": target.name, "kind": target.kind, "share": share,
        "message": before.message, "progress": before.progress, "attempts": after.attempt,
    }  # fmt: skip


def _running(client: Client, job: str) -> float:
    """When a job was seen to run."""
    end = time.monotonic() + PATIENCE
    while client.get_job(job).phase == "queued" and time.monotonic() < end:
        time.sleep(0.01)
    return time.monotonic()


def _ended(client: Client, job: str, workers: Workers) -> JobSnapshot:
    end = time.monotonic() + PATIENCE
    while not (found := client.get_job(job)).done:
        if time.monotonic() > end:
            said = workers.log.read_text(errors="replace").splitlines()[-5:]
            raise JobOverdueError("\n".join([f"{job} did not end", *said]))
        time.sleep(0.05)
    return found


def _faults_at_rest(data: Path, client: Client) -> dict[str, list[str]]:
    """What is wrong once the worker had the time to clear up behind its job."""
    end = time.monotonic() + REST
    while (faults := found_faults(data, client)) and time.monotonic() < end:
        time.sleep(0.1)
    return faults


def _note(lost: dict[str, list[str]], faults: dict[str, list[str]]) -> None:
    for name, told in faults.items():
        lost.setdefault(name, []).extend(told)


def _text(seed: int, sentences: int) -> str:
    chance = random.Random(seed)
    words = ("harbor", "lamp", "ferry", "tide", "rope", "anchor", "keeper", "storm", "signal")
    lines = [
        f"The {chance.choice(words)} number {chance.randrange(10**6)} of the {chance.choice(words)} "
        f"lies beside the {chance.choice(words)}."
        for _ in range(sentences)
    ]
    return "\n\n".join(" ".join(lines[at : at + 8]) for at in range(0, sentences, 8))


def measure_kills(
    data: Path, kills: int = KILLS, model: Path | None = None, seed: int = SEED
) -> KillRuns:
    """The same in a folder inside `data` that is removed afterwards, by default with its model."""
    data.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="kill-runs-", dir=data) as folder:
        return run_kills(Path(folder), model or default_model_folder(data), kills, seed)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.kill_runs", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a model's folder; by default the one in --data")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=SEED)
    told = parser.parse_args(given)
    runs = measure_kills(told.data.resolve(), told.kills, told.model, told.seed)
    print(json.dumps(runs.headline() | {"faults": runs.lost}))


if __name__ == "__main__":
    main()

"""Against the published package `infini-retri` 0.0.3: the same model, texts and needles, in one run.

Ours reads by the streaming reader, and by the index once it is built; the package reads the whole text
for every question, in an environment of its own that the first run makes. `python -m
benchmarks.package --data .work/data` writes `results/package.json`.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch

from benchmarks.bench_corpora import Bench
from benchmarks.decoding import quoting
from benchmarks.memory import peak_mib, reset_peak
from benchmarks.peer_environment import peer_python
from benchmarks.record import write_result
from engine.generation import generate_text
from engine.prompts import Prompter
from engine.wheels import default_model_folder
from evaluation.needle_suite import Length, NeedleGrid
from evaluation.scenes import Probe
from retrieval.infini_retri import ReadingSettings
from retrieval.lines import Findings
from retrieval.readers import Readers
from retrieval.window_index import WindowShelf

CHARACTERS_PER_TOKEN = 4.3  # of essays, with this model's tokenizer
ANSWER_TOKENS = 32
PEER = Path(__file__).parent / "peers" / "infini_retri_package.py"


@dataclass(frozen=True, slots=True)
class Case:
    """A text with one needle in it."""

    id: str
    length: str
    text: str
    probe: Probe


def make_cases(lengths: Sequence[str], each: int, seed: int) -> list[Case]:
    """`each` needles of single sentences for every length, at even depths."""
    cases = []
    for label in lengths:
        tokens = int(label.removesuffix("k")) * 1000
        length = Length(label, int(tokens * CHARACTERS_PER_TOKEN))
        grid = NeedleGrid((length,), max(2, each), seed, "auto", ("fact",))
        for scene in list(grid.scenes())[:each]:
            text = "\n\n".join(document.data().decode() for document in scene.documents)
            cases.append(Case(scene.id, label, text, scene.probes[0]))
    return cases


def run_peer(python: Path, data: Path, cases: Sequence[Case], threads: int) -> dict[str, dict]:  # type: ignore[type-arg]
    """What the package made of each case, by its id."""
    given = {
        "model": str(default_model_folder(data)),
        "threads": threads,
        "settings": {"max_new_tokens": ANSWER_TOKENS},
        "cases": [
            {
                "id": case.id,
                "text": case.text,
                "question": case.probe.question,
                "answers": [form for forms in case.probe.answers for form in forms],
                "gold": case.probe.gold[0].text,
            }
            for case in cases
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "in.json", Path(folder) / "out.jsonl"
        asked.write_text(json.dumps(given))
        subprocess.run([python, PEER, asked, told], check=True)
        lines = [json.loads(line) for line in told.read_text().splitlines()]
    return {line["id"]: line for line in lines if "id" in line}


class Ours:
    """The three steps of ours, each with its CPU-seconds."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.prompter = bench, Prompter(bench.model)
        self.readers = Readers(bench.model, bench.heads, bench.embedder, bench.reader.size)

    def rows(self, case: Case) -> list[dict[str, object]]:
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:  # a shelf with nothing on it yet
            shelf = WindowShelf(Path(folder), self.bench.reader.recipe)
            index = replace(self.bench, shelf=shelf).index([case.text])
        indexing = time.process_time() - began
        lines = list(index.lines())
        question, settings = case.probe.question, ReadingSettings()
        made = [
            self._row(
                case, "streaming", lambda: self.readers.streaming.read(lines, question, settings)
            ),
            self._row(
                case, "indexed", lambda: self.readers.indexed.read(index, question, settings)
            ),
        ]
        made[1]["indexing_cpu_seconds"] = indexing
        return made

    def _row(self, case: Case, way: str, read: object) -> dict[str, object]:
        reset_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        found: Findings = read()  # type: ignore[operator]
        reading = time.process_time() - cpu
        texts = [line.text for line in found.told()]
        request = quoting(self.prompter, texts, case.probe.question, ANSWER_TOKENS)
        (answer,) = generate_text(self.bench.model, [request])
        return {
            "case": case.id,
            "length": case.length,
            "way": way,
            "found": any(case.probe.gold[0].is_in(case.probe.gold[0].document, t) for t in texts),
            "right": case.probe.score(answer) == 1.0,
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "reading_cpu_seconds": reading,
            "peak_mib": peak_mib(),
        }


def peer_row(case: Case, told: dict) -> dict[str, object]:  # type: ignore[type-arg]
    return {
        "case": case.id,
        "length": case.length,
        "way": "infini-retri 0.0.3",
        "found": told.get("found", False),
        "right": told.get("right", False),
        "wall_seconds": told.get("wall_seconds", 0.0),
        "cpu_seconds": told.get("cpu_seconds", 0.0),
        "reading_cpu_seconds": told.get("cpu_seconds", 0.0) - told.get("answer_cpu_seconds", 0.0),
        "peak_mib": told.get("peak_rss_mb", 0.0),
        "error": told.get("error", ""),
    }


def headline(rows: Sequence[dict[str, object]], length: str) -> dict[str, float | None]:
    """Ratios at one length: how many times more CPU-seconds the package takes a question."""

    def figure(way: str, name: str) -> float:
        chosen = [row for row in rows if row["way"] == way and row["length"] == length]
        return mean(float(str(row[name])) for row in chosen)

    peer = "infini-retri 0.0.3"
    return {
        "cpu_ratio_streaming_vs_package": figure(peer, "cpu_seconds")
        / figure("streaming", "cpu_seconds"),
        "cpu_ratio_indexed_vs_package": figure(peer, "cpu_seconds")
        / figure("indexed", "cpu_seconds"),
        "reading_cpu_ratio_streaming_vs_package": figure(peer, "reading_cpu_seconds")
        / figure("streaming", "reading_cpu_seconds"),
        "reading_cpu_ratio_indexed_vs_package": figure(peer, "reading_cpu_seconds")
        / figure("indexed", "reading_cpu_seconds"),
        "peak_mib_package": figure(peer, "peak_mib"),
        "peak_mib_streaming": figure("streaming", "peak_mib"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.package", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path, help="python of an environment that has the package")
    parser.add_argument("--lengths", default="4k,32k")
    parser.add_argument("--each", type=int, default=2, help="needles a length")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    peer = given.peer or peer_python(given.data / "peers" / "infini_retri", "infini_retri")
    threads = torch.get_num_threads()
    lengths = given.lengths.split(",")
    cases = make_cases(lengths, given.each, given.seed)
    ours = Ours(Bench.load(given.data, threads))
    rows = [row for case in cases for row in ours.rows(case)]
    told = run_peer(peer, given.data, cases, threads)
    rows += [peer_row(case, told[case.id]) for case in cases]
    print(write_result("package", rows, headline(rows, lengths[-1])))


if __name__ == "__main__":
    main()

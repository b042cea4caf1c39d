"""Needles in texts that are not registered: each text is read once, by the streaming reader.

The grid is that of `benchmarks.needle`; the questions of a text share its one reading. `python -m
benchmarks.streaming --data .work/data` writes `results/streaming.json`. It can be ended and begun again:
finished cells are kept in the data folder.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import mean

from benchmarks.bench_corpora import Bench
from benchmarks.decoding import quoting
from benchmarks.memory import peak_mib, reset_peak, resident_mib
from benchmarks.record import write_result
from engine.generation import generate_text
from engine.prompts import Prompter
from evaluation.needle_suite import NeedleGrid
from evaluation.rows import Row, RowFile, is_answered
from evaluation.runs import measured_length
from evaluation.scenes import Probe, Scene
from retrieval.infini_retri import ReadingSettings, finished
from retrieval.lines import Findings, Line
from retrieval.readers import Readers
from retrieval.text_stream import TextStream

ROUTE = "streaming"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one reading of one text took, shared by its questions."""

    tokens: int
    wall_seconds: float
    cpu_seconds: float
    extra_mib: float  # the peak above what was resident with the model loaded

    def labels(self) -> dict[str, float]:
        return {
            "tokens": self.tokens,
            "wall_seconds": round(self.wall_seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "extra_mib": round(self.extra_mib, 1),
        }


class Streaming:
    """The streaming reader and the model behind it, in this process."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.prompter = bench, Prompter(bench.model)
        readers = Readers(bench.model, bench.heads, bench.embedder, bench.reader.size)
        self.reader, self.settings = readers.streaming, ReadingSettings()
        # Once for what is made at the first call and stays.
        lines = [Line(0, "The lamp is lit."), Line(1, "Gulls nest on the wall.")]
        self.reader.read(lines, "Who?", replace(self.settings, again=1.0))
        self._loaded = resident_mib()

    def rows(self, scene: Scene) -> list[Row]:
        """A row for each question of a scene."""
        texts = [(document.id, document.data().decode()) for document in scene.documents]
        places: list[str] = []  # the document of each line
        found, cost = self._read(_lines(texts, places), [p.question for p in scene.probes])
        return [
            self._row(scene, probe, own, places, cost)
            for probe, own in zip(scene.probes, found, strict=True)
        ]

    def _read(self, lines: Iterator[Line], questions: list[str]) -> tuple[list[Findings], Cost]:
        reset_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        reading = self.reader.begin(*questions)
        for line in lines:
            reading.add(line)
        found = [finished(reading.steps(i, self.settings)) for i in range(len(questions))]
        spent = time.perf_counter() - wall, time.process_time() - cpu
        return found, Cost(reading.num_tokens, *spent, peak_mib() - self._loaded)

    def _row(
        self, scene: Scene, probe: Probe, found: Findings, places: Sequence[str], cost: Cost
    ) -> Row:
        shown = [(places[line.sentence], line.text) for line in found.told()]
        request = quoting(
            self.prompter, [text for _, text in shown], probe.question, probe.max_output_tokens
        )
        (answer,) = generate_text(self.bench.model, [request])
        best = [found.lines[one.sentence] for one in found.ranking]
        ranks = [
            rank
            for rank, line in enumerate(best, start=1)
            if any(gold.is_in(places[line.sentence], line.text) for gold in probe.gold)
        ]
        held = [any(gold.is_in(*piece) for piece in shown) for gold in probe.gold]
        return Row(
            suite="needle",
            scene=scene.id,
            probe=probe.id,
            route=ROUTE,
            labels={**probe.labels, **cost.labels()},
            question=probe.question,
            expected=probe.answers,
            answer=answer,
            score=probe.score(answer),
            recall=sum(held) / len(held),
            rank=ranks[0] if ranks else None,
            prompt_tokens=len(request.prompt),
        )


def _lines(texts: Sequence[tuple[str, str]], places: list[str]) -> Iterator[Line]:
    """The lines of all documents as they come from a stream; notes which document each is of."""
    for number, (name, text) in enumerate(texts):
        stream, first = TextStream(), len(places)
        for line in (*stream.add(text), *stream.finish()):
            places.append(name)
            yield Line(first + line.sentence, line.text, line.start, number)


def row_of(label: str, cells: Sequence[Row]) -> dict[str, object]:
    """The figures of one length."""
    costs = {cell.scene: cell.labels for cell in cells}.values()

    def average(name: str) -> float:
        return mean(float(cost[name]) for cost in costs)

    return {
        "length": label,
        "cells": len(cells),
        "recall": mean(cell.recall or 0.0 for cell in cells),
        "right": mean(cell.is_right for cell in cells),
        "first": mean(cell.rank == 1 for cell in cells),
        "prompt_tokens": mean(cell.prompt_tokens for cell in cells),
        "text_tokens": average("tokens"),
        "wall_seconds_a_reading": average("wall_seconds"),
        "cpu_seconds_a_reading": average("cpu_seconds"),
        "peak_extra_mib": max(float(cost["extra_mib"]) for cost in costs),
    }


def read_scenes(ours: Streaming, scenes: Iterable[Scene], rows: RowFile) -> None:
    """Reads each scene whose questions are not all answered yet."""
    for scene in scenes:
        done = rows.finished()
        cells = [(done.get((scene.id, probe.id, ROUTE)), probe) for probe in scene.probes]
        if not all(is_answered(row, probe) for row, probe in cells):
            print(f"reading {scene.id}", flush=True)
            for row in ours.rows(scene):
                rows.append(row)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.streaming", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--lengths", default="4k,32k,128k,1m:1", help="with :N, only N of the texts of a length"
    )
    parser.add_argument("--depths", type=int, default=10)
    parser.add_argument("--haystack", default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    ours = Streaming(Bench.load(given.data, given.threads))
    folder = given.data / "bench-streaming"
    folder.mkdir(parents=True, exist_ok=True)
    rows = RowFile(folder / "results.jsonl")
    table = []
    for wanted in given.lengths.split(","):
        label, _, most = wanted.partition(":")
        length = measured_length(lambda t: len(ours.bench.model.encode(t)), label, given.haystack)
        grid = NeedleGrid((length,), given.depths, given.seed, given.haystack)
        read_scenes(ours, islice(grid.scenes(), int(most) if most else None), rows)
        cells = [row for row in rows.read() if row.labels["length"] == label]
        table.append(row_of(label, cells) | {"source": grid.description["source"]})
    headline = {
        f"{name}_{row['length']}": float(str(row[figure]))
        for row in table
        for name, figure in (
            ("recall", "recall"),
            ("answers", "right"),
            ("peak_extra_mib", "peak_extra_mib"),
        )
    }
    print(write_result("streaming", table, headline))
    for line in table:
        print(line)


if __name__ == "__main__":
    main()

"""What cartridges hold: every way to make a prefix, judged on held-out and on people's questions.

`python -m benchmarks.cartridges --data .work/data --questions FOLDER` does the cells of the grid that
were not done before, each a corpus, a seed and a length, and writes `results/cartridges.json` with
intervals and pictures. `--only` does the cells of some corpora and writes nothing: two such runs may go
side by side. `--go-on` takes the cells in `results/cartridge_cells` for done. Serving, refreshing and
what unrelated questions suffer are measured by `benchmarks.cartridge_serving` and
`benchmarks.cartridge_upkeep`, whose figures are taken over.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import track

from benchmarks.cartridge_cell import Cell, study
from benchmarks.cartridge_figures import HEAD, LARGER_P, PAPER, headline, summarise
from benchmarks.cartridge_plots import draw
from benchmarks.engine_flags import add_engine_flags, engine_config
from benchmarks.record import RESULTS, write_result
from benchmarks.study_corpora import read_corpus
from cartridges.build import BuildSettings
from cartridges.effort import Effort, settings_for
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import save_prefix
from engine.prompts import Prompter

CELLS = RESULTS / "cartridge_cells"
CORPORA = ("handbook", "essay", "python", "nq")
CONTEXT = 1541  # tokens of the context that each text fills
LARGER = 4101
LARGER_CORPORA = ("essay", "python")  # those that are as long
REFINED = "match, refined"
# Distillation costs minutes a run: the question of the field is answered under the first seed, and what
# the headline says has all of them.
FIELD = tuple((start, steps) for start in (REFINED, "truncate") for steps in (30, 100, 300))
LONGEST = ((REFINED, 300),)


@dataclass(frozen=True, slots=True)
class CellKey:
    """What a cell is of, and which distillations it has: a start and a number of steps."""

    corpus: str
    seed: int
    p: int
    runs: tuple[tuple[str, int], ...]
    context: int = CONTEXT

    @property
    def name(self) -> str:
        return f"{self.corpus}-{self.seed}-{self.p}"

    @property
    def study(self) -> str:
        """Cells of one text under all seeds share what was asked of it."""
        return f"{self.corpus}-{self.context}.study"


def plan(corpora: Sequence[str], seeds: int) -> list[CellKey]:
    """The cells in the order of their worth."""
    first = [CellKey(name, 0, HEAD, FIELD) for name in corpora]
    small = [CellKey(name, 0, PAPER, LONGEST) for name in corpora]
    again = [CellKey(name, seed, HEAD, LONGEST) for seed in range(1, seeds) for name in corpora]
    large = [
        CellKey(name, 0, LARGER_P, LONGEST, LARGER) for name in corpora if name in LARGER_CORPORA
    ]
    rest = [CellKey(name, 0, p, LONGEST) for p in (128, 32, 256) for name in corpora]
    return first + small + large + again + rest


def recipe() -> BuildSettings:
    """The service's `fast`, with a hold-out of a fixed share."""
    return replace(settings_for(Effort.FAST), least_held_out=16)


def run(given: argparse.Namespace, keys: Sequence[CellKey], folder: Path) -> None:
    """Does what is missing; a cell's file appears when all its rows are there."""
    model = LanguageModel.load(engine_config(given))
    embedder, prompter = Embedder.load(), Prompter(model)
    missing = [key for key in keys if not (folder / f"{key.name}.jsonl").exists()]
    texts = {  # all of them first: a source that is not there ends the run before its hours
        (key.corpus, key.context): read_corpus(key.corpus, prompter, key.context, given.questions)
        for key in missing
    }
    for key in track(missing, "cells"):
        path, corpus = folder / f"{key.name}.jsonl", texts[key.corpus, key.context]
        read = study(model, embedder, corpus, key.seed, recipe(), folder / key.study)
        cell = Cell(read, key.p)
        lines = [json.dumps(row) for row in cell.rows(key.runs)]
        save_prefix(cell.made[REFINED], path.with_suffix(".safetensors"))
        staging = path.with_suffix(".staging")
        staging.write_text("\n".join(lines) + "\n")
        staging.replace(path)


def read_rows(folder: Path) -> Iterator[dict[str, object]]:
    """Rows of all cells that are done."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            yield json.loads(line)


def copy_cells(source: Path, target: Path) -> None:
    """Cells that the target lacks."""
    target.mkdir(exist_ok=True)
    for path in source.glob("*.jsonl"):
        if not (target / path.name).exists():
            shutil.copy(path, target)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cartridges", description=__doc__)
    add_engine_flags(parser)
    parser.add_argument("--questions", type=Path, help="folder of the question sets, for nq")
    parser.add_argument("--only", help="corpora whose cells are done; nothing is written")
    parser.add_argument("--go-on", action="store_true", help="with the cells of the results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--most", type=int, help="cells that are looked after; 0: those done are told"
    )
    given = parser.parse_args()
    corpora = given.only.split(",") if given.only else CORPORA
    folder = given.data / "bench" / "cartridges"
    folder.mkdir(parents=True, exist_ok=True)
    if given.go_on:
        copy_cells(CELLS, folder)
    keys = plan(corpora, given.seeds)
    run(given, keys[: given.most], folder)
    if given.only:
        return
    copy_cells(folder, CELLS)
    rows = summarise(list(read_rows(folder)))
    draw(rows, RESULTS)
    print(write_result("cartridges", rows, headline(rows)))


if __name__ == "__main__":
    main()

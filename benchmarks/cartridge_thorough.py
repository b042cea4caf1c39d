"""What an hour buys: the service's `thorough` against its `fast`, on the same texts and questions.

Five kinds of request are asked four times about every sentence, the closed form is refined three times
as long, and the distillation goes on until it stops getting better. Both are judged on what each study
held out, and on the same questions by people.

`python -m benchmarks.cartridge_thorough --data .work/data` does the texts that were not done before and
writes `results/cartridge_thorough.json`; `--only` does one text and writes nothing.
"""

import argparse
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from benchmarks.cartridge_cell import Study, finish, matched, study
from benchmarks.cartridge_figures import HEAD
from benchmarks.cartridges import CONTEXT
from benchmarks.engine_flags import add_engine_flags, engine_config
from benchmarks.prefix_rows import answers_right, interval, losses, recovered
from benchmarks.record import write_result
from benchmarks.study_corpora import read_corpus
from cartridges.checkpoint import Checkpoint
from cartridges.distil import StepReport, distil
from cartridges.effort import Effort, settings_for
from cartridges.general import general_lessons, load_questions
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter

CORPORA = ("handbook", "essay", "python")


def rows(read: Study) -> Iterator[dict[str, object]]:
    """The start and what comes of it."""
    began = time.perf_counter()
    start = matched(read, read.train, HEAD, read.settings.match)
    yield row(read, "match, refined", start, time.perf_counter() - began, 0)
    settings = read.settings.distil
    general = general_lessons(read.model, load_questions()[: settings.general_count])
    prefix, steps = finish(
        counted(distil(read.model, start, read.train, read.parts.judges, settings, general=general))
    )
    yield row(read, "distil", prefix, time.perf_counter() - began, steps)


def counted(
    work: Generator[tuple[StepReport, Checkpoint], None, KVPrefix],
) -> Generator[None, None, tuple[KVPrefix, int]]:
    """What a distillation comes to, and how many steps it took."""
    steps = 0
    while True:
        try:
            steps = next(work)[0].step
        except StopIteration as end:
            return end.value, steps
        yield


def row(read: Study, name: str, prefix: KVPrefix, seconds: float, steps: int) -> dict[str, object]:
    made: dict[str, object] = {
        "corpus": read.corpus.name, "p": HEAD, "row": name, "steps": steps, "seconds": seconds,
        "study_seconds": read.seconds["study"], "train": len(read.train),
        "device": str(read.model.device),
    }  # fmt: skip
    for part, lessons in (("held_out", read.held_out), ("people", read.people)):
        own, none = losses(read.model, lessons, prefix), losses(read.model, lessons, None)
        low, high = interval(own, none)
        made |= {
            f"{part}_recovered": recovered(own, none), f"{part}_low": low, f"{part}_high": high,
            f"{part}_lessons": len(lessons),
        }  # fmt: skip
    return made | {"answers_right": answers_right(read.model, read.asked, lambda asked: prefix)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cartridge_thorough", description=__doc__)
    add_engine_flags(parser)
    parser.add_argument("--only", help="one text; nothing is written")
    given = parser.parse_args()
    folder: Path = given.data / "bench" / "thorough"
    folder.mkdir(parents=True, exist_ok=True)
    model, embedder = LanguageModel.load(engine_config(given)), Embedder.load()
    settings = replace(settings_for(Effort.THOROUGH), least_held_out=16)
    for name in track([given.only] if given.only else CORPORA, "texts"):
        path = folder / f"{name}.json"
        if not path.exists():
            corpus = read_corpus(name, Prompter(model), CONTEXT, None)
            read = study(model, embedder, corpus, 0, settings, folder / f"{name}.study")
            path.write_text(json.dumps(list(rows(read))))
    if given.only:
        return
    table = [one for name in CORPORA for one in json.loads((folder / f"{name}.json").read_text())]
    print(write_result("cartridge_thorough", table, {}))
    for one in table:
        print(one)


if __name__ == "__main__":
    main()

"""What each part of the recipe is worth: one corpus, one length, a hundred steps a row.

The paper's own checks are among the rows: next-token training against the teacher's distribution, five
kinds of request against one, a frozen sink against none. `python -m benchmarks.cartridge_ablation --data
.work/data` writes `results/cartridge_ablation.json`; rows that were done before are taken from a file.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from rich.progress import track

from benchmarks.cartridge_cell import Cell, Study, finish, matched, study
from benchmarks.cartridges import CONTEXT, CellKey, recipe
from benchmarks.engine_flags import add_engine_flags, engine_config
from benchmarks.prefix_rows import losses, recovered
from benchmarks.record import write_result
from benchmarks.study_corpora import read_corpus
from cartridges.build import BuildSettings
from cartridges.distil import DistilSettings, Student, distil
from cartridges.general import general_lessons, load_questions
from cartridges.lessons import Lesson
from cartridges.match import truncate_prefix
from cartridges.quality import mean_kl
from cartridges.seeds import KINDS
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from engine.scoring import answer_logits

STEPS, P = 100, 64


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One row: lessons, a start and settings; `by_next_token` leaves the teacher's distribution out."""

    train: Sequence[Lesson]
    start: KVPrefix
    settings: DistilSettings
    general: Sequence[Lesson] = ()
    by_next_token: bool = False


def next_token(read: Study, trial: Trial) -> KVPrefix:
    """Trained on the answers' tokens themselves; as in distillation the rate falls, and the best prefix
    by the held-out KL is taken.
    """
    student = Student(trial.start, trial.settings, read.model.dtype)
    optimizer = torch.optim.Adam([student.change], lr=trial.settings.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    found = [(mean_kl(read.model, read.parts.judges, trial.start), trial.start)]
    for step in range(STEPS):
        batch = random.Random(step).sample(list(trial.train), trial.settings.batch)
        turns = [lesson.turn for lesson in batch]
        with read.model.mixed_precision():
            logits = answer_logits(read.model, turns, student.prefix(student.change))
        targets = torch.tensor(
            [token for turn in turns for token in turn.answer], device=logits.device
        )
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, targets).backward()
        torch.nn.utils.clip_grad_norm_([student.change], trial.settings.clip)
        optimizer.step()
        falling.step()
        if (step + 1) % trial.settings.evaluate == 0:
            prefix = student.prefix(student.change.detach().clone())
            found.append((mean_kl(read.model, read.parts.judges, prefix), prefix))
    return min(found, key=lambda one: one[0])[1]


def trials(read: Study, wide: Study) -> dict[str, Callable[[], Trial]]:
    """The rows by name, each made when its turn comes. `wide` was studied with all kinds."""
    settings = replace(read.settings.distil, steps=STEPS, patience=0)
    general = general_lessons(read.model, load_questions()[: settings.general_count])
    cell = Cell(read, P)

    best = matched(read, read.train, P, read.settings.match)
    quoted = [x for x in read.train if x.conversation.is_quoted]
    written = [x for x in read.train if not x.conversation.is_quoted]
    flat = [replace(x, conversation=replace(x.conversation, gain=1.0)) for x in read.train]
    usual = Trial(read.train, best, settings, general)
    return {
        "the recipe": lambda: usual,
        "next token in place of the teacher's distribution": lambda: replace(
            usual, by_next_token=True
        ),
        "no frozen sink": lambda: replace(usual, settings=replace(settings, frozen=0)),
        "values only": lambda: replace(usual, settings=replace(settings, keys=0.0)),
        "no general conversations": lambda: replace(usual, general=()),
        "every conversation weighs the same": lambda: replace(usual, train=flat),
        "half of the rate": lambda: replace(usual, settings=replace(settings, rate=0.01)),
        "one and a half of the rate": lambda: replace(usual, settings=replace(settings, rate=0.03)),
        "quotations alone": lambda: replace(usual, train=quoted),
        "one kind of request, no quotations": lambda: replace(usual, train=written),
        "five kinds of request, no quotations": lambda: replace(
            usual, train=[x for x in wide.train if not x.conversation.is_quoted]
        ),
        "five kinds of request and quotations": lambda: replace(usual, train=wide.train),
        "from the closed form, not refined": lambda: replace(
            usual, start=matched(read, read.train, P, read.settings.match.closed_form())
        ),
        "from sampled chunks": lambda: replace(usual, start=cell.chunks()),
        "from the first tokens": lambda: replace(usual, start=truncate_prefix(read.context, P)),
        "from noise": lambda: replace(usual, start=cell.noise()),
    }


def measure(read: Study, trial: Trial) -> dict[str, object]:
    began = time.perf_counter()
    if trial.by_next_token:
        prefix = next_token(read, trial)
    else:
        prefix = finish(
            distil(
                read.model, trial.start, trial.train, read.parts.judges, trial.settings,
                general=trial.general,
            )
        )  # fmt: skip
    row: dict[str, object] = {
        "seconds": time.perf_counter() - began,
        "conversations": len(trial.train),
    }
    for name, lessons in (("held_out", read.held_out), ("people", read.people)):
        none = losses(read.model, lessons, None)
        for label, one in (("start_", trial.start), ("", prefix)):
            own = losses(read.model, lessons, one)
            row[f"{name}_{label}recovered"] = recovered(own, none)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cartridge_ablation", description=__doc__)
    add_engine_flags(parser)
    given = parser.parse_args()
    folder = given.data / "bench" / "cartridges"
    model = LanguageModel.load(engine_config(given))
    embedder = Embedder.load()
    corpus = read_corpus("handbook", Prompter(model), CONTEXT, None)

    def studied(settings: BuildSettings, name: str) -> Study:
        return study(model, embedder, corpus, 0, settings, folder / name)

    read = studied(recipe(), CellKey("handbook", 0, P, ()).study)
    five = replace(recipe().study, kinds=KINDS)
    wide = studied(replace(recipe(), study=five), "handbook.five.study")
    path = folder / "ablation.json"
    rows: dict[str, dict[str, object]] = json.loads(path.read_text()) if path.exists() else {}
    for name, trial in track(list(trials(read, wide).items()), "rows"):
        if name not in rows:
            rows[name] = measure(read, trial())
            path.write_text(json.dumps(rows))
    table = [{"row": name, **row} for name, row in rows.items()]
    print(write_result("cartridge_ablation", table, {}))
    for row in table:
        print(row)


if __name__ == "__main__":
    main()

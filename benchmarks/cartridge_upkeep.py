"""What the service's `fast` costs end to end, what eight bits and a refresh cost, and whom it disturbs.

The handbook loses twelve sentences and gets twelve others: a fresh build is set against a refresh of the
cartridge of the earlier text, on people's questions about what changed and about what did not. Then
everyday questions are asked with the cartridge loaded, by the guard and without it. `python -m
benchmarks.cartridge_upkeep --data .work/data` writes `results/cartridge_upkeep.json`.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import track

from benchmarks.cartridge_cell import finish, peoples_lessons
from benchmarks.cartridges import CONTEXT
from benchmarks.engine_flags import add_engine_flags, engine_config
from benchmarks.prefix_rows import answers_right, losses, recovered, teacher_losses
from benchmarks.record import write_result
from benchmarks.study_corpora import PeoplesQuestion, read_corpus
from cartridges.build import BuildSettings, Built, CartridgeBuilder
from cartridges.effort import Effort, settings_for
from cartridges.general import general_lessons, load_questions
from cartridges.guard import calibrate_guard
from cartridges.int8 import rounded
from cartridges.refresh import Base, base_of
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix
from engine.prompts import Prompter

CHANGED = range(20, 32)


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Models, texts and where builds do their work."""

    model: LanguageModel
    embedder: Embedder
    before: tuple[str, ...]
    after: tuple[str, ...]
    questions: tuple[PeoplesQuestion, ...]
    work: Path
    keep: bool  # go on with builds that lie in `work`

    def build(
        self, sentences: Sequence[str], name: str, settings: BuildSettings, base: Base | None = None
    ) -> tuple[Built, float]:
        """A build and its seconds; of an earlier run's, where it had come to its end."""
        took = self.work / f"{name}.seconds"
        if not self.keep:
            shutil.rmtree(self.work / name, ignore_errors=True)
            took.unlink(missing_ok=True)
        builder = CartridgeBuilder(self.model, sentences, self.work / name, settings, base)
        built = finish(builder.build())
        if not took.exists():
            took.write_text(repr(built.metrics["build_seconds"]))
        return built, float(took.read_text())


def quality(bench: Bench, prefix: KVPrefix) -> dict[str, float]:
    """On people's questions about the text as it is now, about its changed sentences and the others."""
    context = bench.model.prefill(Prompter(bench.model).context_ids(bench.after))
    changed = " ".join(bench.after[i] for i in CHANGED).lower()
    found: dict[str, float] = {}
    for name, wanted in (("changed", True), ("unchanged", False)):
        asked = [q for q in bench.questions if any(word in changed for word in q.accept) == wanted]
        lessons = peoples_lessons(bench.model, asked, context)
        none = losses(bench.model, lessons, None)
        own = losses(bench.model, lessons, prefix)
        found[f"people_{name}"] = recovered(own, none)
        found[f"answers_{name}"] = answers_right(bench.model, asked, lambda q: prefix)
        found[f"questions_{name}"] = float(len(asked))
    return found


def off_topic(bench: Bench, built: Built) -> dict[str, float]:
    """NLL of the answers that the model gives with no memory, per token: with none, with the cartridge,
    and with the guard, which was calibrated on the other half of the questions.
    """
    known, unseen = load_questions()[:50], load_questions()[50:]
    vectors = bench.embedder.embed(bench.after)

    def nearest(questions: Sequence[str]) -> list[float]:
        return [float((vectors @ vector).max()) for vector in bench.embedder.embed(questions)]

    own = nearest([lesson.conversation.question for lesson in built.held_out])
    guard = calibrate_guard(own, nearest(known))
    lessons = general_lessons(bench.model, unseen)
    asked = [lesson.conversation.question for lesson in lessons]
    let_in = [guard.lets_in(cosine) for cosine in nearest(asked)]
    bare = [x.nll for x in teacher_losses(bench.model, lessons)]
    loaded = [x.nll for x in losses(bench.model, lessons, built.prefix)]
    guarded = [b if inside else a for a, b, inside in zip(bare, loaded, let_in, strict=True)]
    return {
        "guard_kept": guard.kept,
        "guard_let_in": sum(let_in) / len(let_in),
        "off_topic_nll_ratio": sum(guarded) / sum(bare),
        "off_topic_nll_ratio_no_guard": sum(loaded) / sum(bare),
    }


def measure(bench: Bench) -> tuple[list[dict[str, object]], dict[str, float | None]]:
    settings = replace(settings_for(Effort.FAST), prefix_tokens=64)
    steps = iter(track(range(4), "builds"))
    next(steps)
    old, _ = bench.build(bench.before, "before", settings)
    next(steps)
    fresh, fresh_seconds = bench.build(bench.after, "fresh", settings)
    next(steps)
    studied = old.studied(bench.before)
    base = base_of(old.prefix, studied, bench.after, set(CHANGED))
    renewed, seconds = bench.build(bench.after, "refresh", settings, base)
    rows: list[dict[str, object]] = []
    for name, built, took in (
        ("the earlier cartridge", old, 0.0),
        ("built afresh", fresh, fresh_seconds),
        ("refreshed", renewed, seconds),
    ):
        costs = {k: v for k, v in built.metrics.items() if not k.startswith("recovered")}
        rows.append({"row": name, "seconds": took} | quality(bench, built.prefix) | costs)
    small = quality(bench, rounded(fresh.prefix))
    rows.append({"row": "built afresh, in eight bits", **small})
    unrelated = off_topic(bench, fresh)
    rows.append({"row": "everyday questions", **unrelated})
    lost = fresh.metrics["recovered"] - fresh.metrics["recovered_int8"]
    return rows, {
        "fast_seconds": fresh_seconds,
        "fast_heldout": fresh.metrics["recovered"],
        "int8_loss_points": 100 * lost,
        "refresh_cost_ratio": seconds / fresh_seconds,
        "break_even_full_context": fresh.metrics["break_even_full_context"],
        "break_even_retrieval": fresh.metrics["break_even_retrieval"],
        **unrelated,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cartridge_upkeep", description=__doc__)
    add_engine_flags(parser)
    parser.add_argument("--keep", action="store_true", help="go on with builds of an earlier run")
    given = parser.parse_args()
    model = LanguageModel.load(engine_config(given))
    prompter = Prompter(model)
    whole = read_corpus("handbook", prompter, 100_000, None)
    after = read_corpus("handbook", prompter, CONTEXT, None)
    later = whole.sentences[len(after.sentences) :][: len(CHANGED)]
    before = list(after.sentences)
    before[CHANGED.start : CHANGED.stop] = later
    bench = Bench(
        model, Embedder.load(), tuple(before), after.sentences, after.questions,
        given.data / "bench" / "upkeep", given.keep,
    )  # fmt: skip
    rows, headline = measure(bench)
    print(write_result("cartridge_upkeep", rows, headline))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()

"""Several cartridges before one question: 1, 2 and 4 composed, against retrieval of as many tokens.

The prefixes are those that `benchmarks.cartridges` distilled, one a corpus; people's questions about
each are asked behind it alone and behind it with others, first and last. Retrieval finds sentences of
all the texts together. `python -m benchmarks.cartridge_composition --data .work/data --questions FOLDER`
writes `results/cartridge_composition.json`.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import torch
from rich.progress import track

from benchmarks.cartridge_cell import peoples_lessons
from benchmarks.cartridges import CONTEXT, CORPORA
from benchmarks.engine_flags import add_engine_flags, engine_config
from benchmarks.prefix_rows import Losses, answers_right, losses, losses_each, recovered, retriever
from benchmarks.record import write_result
from benchmarks.study_corpora import StudyCorpus, read_corpus
from cartridges.compose import compose
from engine.embedding import Embedder
from engine.model import LanguageModel
from engine.prefix import KVPrefix, load_prefix
from engine.prompts import Prompter

P = 64
PrefixFor = Callable[[str], KVPrefix]


def naive(prefixes: Sequence[KVPrefix]) -> KVPrefix:
    """Set behind one another as they are, asked behind the longest text."""
    offset = max(sum(x.length for x in prefixes), *(x.query_offset for x in prefixes))
    keys, values = (
        torch.cat([getattr(x, name) for x in prefixes], dim=2) for name in ("keys", "values")
    )
    return KVPrefix(keys, values, offset)


def ways(
    model: LanguageModel, embedder: Embedder, made: Sequence[KVPrefix], texts: Sequence[StudyCorpus]
) -> dict[str, PrefixFor]:
    """What may stand before a question about the first of some texts."""

    def fixed(prefix: KVPrefix) -> PrefixFor:
        return lambda question: prefix

    own, *others = made
    found = {"1 alone": fixed(own)}
    for k in (2, 4):
        some = others[: k - 1]
        found[f"{k} composed, its own first"] = fixed(compose(model, [own, *some]))
        found[f"{k} composed, its own last"] = fixed(compose(model, [*some, own]))
        found[f"{k} as they are"] = fixed(naive([own, *some]))
    for k in (1, 2, 4):
        sentences = [sentence for text in texts[:k] for sentence in text.sentences]
        found[f"retrieved from {k}"] = retriever(model, embedder, sentences, P)
    return found


def measure(
    model: LanguageModel, corpus: StudyCorpus, ways: dict[str, PrefixFor]
) -> dict[str, tuple[list[Losses], list[Losses], float]]:
    """For every way the losses on people's questions, those with no context, and the right answers."""
    context = model.prefill(Prompter(model).context_ids(corpus.sentences))
    lessons = peoples_lessons(model, corpus.questions, context)
    none = losses(model, lessons, None)

    def one(prefix_for: PrefixFor) -> tuple[list[Losses], list[Losses], float]:
        return (
            losses_each(model, lessons, lambda x: prefix_for(x.conversation.question)),
            none,
            answers_right(model, corpus.questions, lambda q: prefix_for(q.question)),
        )

    return {name: one(prefix_for) for name, prefix_for in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.cartridge_composition", description=__doc__)
    add_engine_flags(parser)
    parser.add_argument("--questions", type=Path, required=True)
    given = parser.parse_args()
    model = LanguageModel.load(engine_config(given))
    embedder, prompter = Embedder.load(), Prompter(model)
    corpora = [read_corpus(name, prompter, CONTEXT, given.questions) for name in CORPORA]
    folder = given.data / "bench" / "cartridges"
    made = [load_prefix(folder / f"{name}-0-{P}.safetensors") for name in CORPORA]
    rows: list[dict[str, object]] = []
    for place, corpus in enumerate(track(corpora, "corpora")):
        turned = [[*each[place:], *each[:place]] for each in (made, corpora)]
        found = measure(model, corpus, ways(model, embedder, *turned))
        rows += [
            {
                "corpus": corpus.name,
                "row": name,
                "people_recovered": recovered(own, none),
                "answers_right": right,
            }
            for name, (own, none, right) in found.items()
        ]
    headline = {
        f"{name}, {figure}": fmean(float(str(r[figure])) for r in rows if r["row"] == name)
        for name in dict.fromkeys(str(row["row"]) for row in rows)
        for figure in ("people_recovered", "answers_right")
    }
    print(write_result("cartridge_composition", rows, headline))
    for name, value in headline.items():
        print(f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()

"""A mixed workload: corpora of several kinds, and questions of several kinds about each, with scores."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.bench_corpora import read_musique
from benchmarks.review_corpora import Remark, read_products
from benchmarks.study_corpora import PeoplesQuestion, read_natural_questions, read_text

UNASKED = 8  # questions of an encyclopedia whose passages are left out
PRODUCTS = 3  # whose reviews are asked about
_REFUSAL = re.compile(
    r"\b(does ?n.t|does not|do not|don.t|is not|isn.t|not|no) (say|mention|mentioned|state|stated|tell|"
    r"told|contain|provide|provided|specif\w+|information|answer\w*)\b",
    re.IGNORECASE,
)
_OVERVIEWS = (
    "Summarise what people say about the product.",
    "Give an overview of the reviews: what is praised and what is criticised?",
    "What are the main points that reviewers make overall?",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a corpus with its group, and the score of an answer to it, 0..1."""

    corpus: str
    group: str  # lookup, multi-hop, overview, unanswerable, off topic
    question: str
    score: Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts by the name of their corpus, the effort of those with a cartridge, and all questions."""

    corpora: dict[str, str]
    cartridges: dict[str, str]
    questions: tuple[Asked, ...]


def read_workload(folder: Path, seed: int = 0) -> Workload:
    """Five kinds of text; `folder` has the question sets."""
    corpora: dict[str, str] = {}
    questions: list[Asked] = []
    for name, most in (("handbook", 20), ("essay", 10), ("python", 12)):
        corpora[name], asked = read_text(name)
        told = corpora[name].lower()
        known = [one for one in asked if any(word in told for word in one.accept)]
        questions += [_lookup(name, one) for one in known[:most]]
    for name, (text, asked_of) in (
        ("encyclopedia", _encyclopedia(folder)),
        ("several-hops", _several_hops(folder)),
        *_reviews(folder),
    ):
        corpora[name] = text
        questions += asked_of
    questions += _everyday(("handbook", "essay", "encyclopedia"))
    random.Random(seed).shuffle(questions)
    cartridges = {"handbook": "fast", "essay": "instant"}
    return Workload(corpora, cartridges, tuple(questions))


def has_one_of(accept: Sequence[str]) -> Callable[[str], float]:
    """1 where an answer holds a right string, case aside."""
    wanted = [one.lower() for one in accept]
    return lambda answer: float(any(one in " ".join(answer.lower().split()) for one in wanted))


def refuses(answer: str) -> float:
    """1 where an answer says that the text does not tell."""
    return float(bool(_REFUSAL.search(answer)))


def tells_aspects(remarks: Sequence[Remark]) -> Callable[[str], float]:
    """The mention-weighted share of the aspects of reviews that an answer names, against a fifth: what
    an answer of a few sentences can tell.
    """
    mentions = Counter(name for remark in remarks for name, _ in remark.aspects)

    def score(answer: str) -> float:
        words = set(re.findall(r"[a-z]+", answer.lower()))
        told = sum(n for name, n in mentions.items() if set(name.split()) <= words)
        return min(1.0, 5.0 * told / mentions.total())

    return score


def _lookup(corpus: str, one: PeoplesQuestion) -> Asked:
    return Asked(corpus, "lookup", one.question, has_one_of(one.accept))


def _encyclopedia(folder: Path) -> tuple[str, list[Asked]]:
    rows = list(read_natural_questions(folder))
    kept, left = rows[:100], rows[100 : 100 + UNASKED]
    asked = [_lookup("encyclopedia", question) for _, question in kept[:20]]
    asked += [Asked("encyclopedia", "unanswerable", q.question, refuses) for _, q in left]
    return "\n\n".join(passage for passage, _ in kept), asked


def _several_hops(folder: Path) -> tuple[str, list[Asked]]:
    gold = read_musique(folder)
    rows = json.loads((folder / "musique_100.json").read_text(encoding="utf-8"))[:30]
    needed = sorted({number for own in gold.gold[:30] for number in own})
    others = [i for i in range(0, len(gold.passages), 15) if i not in needed]
    text = "\n\n".join(gold.passages[i] for i in sorted({*needed, *others}))
    asked = [
        Asked(
            "several-hops", "multi-hop", row["question"],
            has_one_of([row["answer"], *row.get("answer_aliases", [])]),
        )
        for row in rows[:20]
    ]  # fmt: skip
    return text, asked


def _reviews(folder: Path) -> Iterator[tuple[str, tuple[str, list[Asked]]]]:
    for name, remarks in islice(read_products(folder / "product_reviews_1.zip"), PRODUCTS):
        corpus = "reviews-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        asked = [Asked(corpus, "overview", q, tells_aspects(remarks)) for q in _OVERVIEWS]
        yield corpus, ("\n".join(remark.text for remark in remarks), asked)


def _everyday(corpora: Sequence[str]) -> list[Asked]:
    path = Path(__file__).parent / "questions" / "everyday.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["questions"]
    return [
        Asked(corpora[i % len(corpora)], "off topic", one["question"], has_one_of(one["accept"]))
        for i, one in enumerate(rows)
    ]

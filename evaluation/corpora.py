"""The demo's two corpora: a handbook of invented facts, and Python's own language reference."""

import importlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from evaluation.questions import KnownQuestion, read_questions
from service.client.types import SourceDocument

DATA = Path(str(files("evaluation"))) / "data"


@dataclass(frozen=True, slots=True)
class KnownCorpus:
    """Documents to register and questions whose answers are known."""

    id: str
    display_name: str
    documents: tuple[SourceDocument, ...]
    questions: tuple[KnownQuestion, ...]


def handbook(most_questions: int) -> KnownCorpus:
    """Some 2,300 tokens of facts that no model can know."""
    return KnownCorpus(
        "handbook",
        "The Skerrivane Handbook",
        (SourceDocument("handbook.md", DATA / "handbook.md"),),
        tuple(read_questions(DATA / "handbook.questions.json", most_questions)),
    )


def python_reference(most_questions: int) -> KnownCorpus:
    """Some 30,000 tokens of real text that lies in every Python: `pydoc_data.topics`."""
    path = DATA / "python_topics.json"
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    wanted: list[str] = json.loads(path.read_text(encoding="utf-8"))["topics"]
    documents = [SourceDocument(f"{name}.txt", topics[name].encode()) for name in wanted]
    return KnownCorpus(
        "python-reference",
        "Python language reference",
        tuple(documents),
        tuple(read_questions(path, most_questions)),
    )

"""Questions with known answers, and whether an answer holds one of them."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KnownQuestion:
    """A question, the accepted forms of its answer, and the sentence that tells it."""

    question: str
    answers: tuple[str, ...]
    evidence: str

    def is_right(self, answer: str) -> bool:
        """Whether the answer contains an accepted form; case and white space do not count."""
        said = normalised(answer)
        return any(normalised(form) in said for form in self.answers)

    def is_found(self, texts: list[str]) -> bool:
        """Whether the telling sentence stands in the evidence, or a good part of it does."""
        wanted = normalised(self.evidence)
        return any(wanted in normalised(text) or normalised(text) in wanted for text in texts)


def normalised(text: str) -> str:
    """Lower case with single spaces."""
    return " ".join(text.split()).lower()


def read_questions(path: Path, most: int | None = None) -> list[KnownQuestion]:
    """The questions of a JSON file `{"questions": [{"question", "answers", "evidence"}]}`."""
    rows = json.loads(path.read_text(encoding="utf-8"))["questions"][:most]
    return [
        KnownQuestion(row["question"], tuple(row["answers"]), row.get("evidence", ""))
        for row in rows
    ]

"""Self-study conversations: one question and one answer about one sentence of a corpus."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.prompts import Prompter
from engine.scoring import Turn

_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True, slots=True)
class Conversation:
    """`sentence` is the number of the corpus sentence that it is about. `gain` is by how many nats a
    token the corpus in context lowers the model's loss on the answer; it is 0 until measured.
    """

    sentence: int
    question: str
    answer: str
    gain: float = 0.0

    def turn(self, prompter: Prompter) -> Turn:
        """The token ids behind a prefix: question, answer, and the token that ends the answer."""
        stop = min(prompter.model.stop_ids, default=None)
        answer = prompter.answer_ids(self.answer)
        return Turn(
            tuple(prompter.question_ids(self.question)),
            tuple(answer if stop is None else [*answer, stop]),
        )


def parse_completion(sentence: int, text: str, source: str) -> Conversation | None:
    """The conversation in "question / Answer: answer", or None where there is no sound one.

    Sound: a question that asks, an answer with words, and no number that the sentence lacks.
    """
    question, mark, answer = text.partition("Answer:")
    question, answer = " ".join(question.split()), " ".join(answer.split())
    if not mark or not question.endswith("?") or not 1 <= len(answer.split()) <= 60:
        return None
    if set(_NUMBER.findall(f"{question} {answer}")) - set(_NUMBER.findall(source)):
        return None
    return Conversation(sentence, question, answer)


def recitation(sentence: int, text: str) -> Conversation | None:
    """A conversation that needs no teacher: how does the sentence that begins so go on?"""
    words = text.split()
    if len(words) < 6:
        return None
    start = " ".join(words[: max(3, len(words) // 3)])
    question = f'How does the sentence that begins "{start}" go on?'
    return Conversation(sentence, question, " ".join(words))


def distinct(conversations: Iterable[Conversation]) -> list[Conversation]:
    """The first conversation of every question, case and punctuation aside."""
    seen: dict[str, Conversation] = {}
    for conversation in conversations:
        seen.setdefault(re.sub(r"\W+", " ", conversation.question.lower()), conversation)
    return list(seen.values())


def append_conversations(path: Path, conversations: Sequence[Conversation]) -> None:
    """Adds one JSON line each, in the place of a last line that a kill tore."""
    lines = [json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in conversations]
    whole = len(_whole_lines(path))
    with path.open("ab") as file:
        file.truncate(whole)
        file.write("".join(lines).encode())


def read_conversations(path: Path) -> list[Conversation]:
    """What was written, without a last line that a kill tore."""
    lines = _whole_lines(path).decode().split("\n")
    return [Conversation(**json.loads(line)) for line in lines if line]


def _whole_lines(path: Path) -> bytes:
    """The file up to its last line break; bytes, for a kill may tear a character too."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1]

"""Self-study conversations: one request and one answer about one passage of a corpus."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cartridges.seeds import Seed
from engine.plain_file import append_plain, read_plain
from engine.prompts import Prompter
from engine.scoring import Turn

RECITATION, MENTION = "recitation", "mention"  # kinds that only quote the corpus
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


@dataclass(frozen=True, slots=True)
class Conversation:
    """`sentence` is the number of the corpus sentence that its passage begins with, `kind` the seed that
    it was made from. `gain` is by how many nats a token the corpus in context lowers the model's loss on
    the answer; it is 0 until measured.
    """

    sentence: int
    question: str
    answer: str
    gain: float = 0.0
    kind: str = "question"

    @property
    def is_quoted(self) -> bool:
        """Whether no model wrote it."""
        return self.kind in (RECITATION, MENTION)

    def turn(self, prompter: Prompter) -> Turn:
        """The token ids behind a prefix: question, answer, and the token that ends the answer."""
        stop = min(prompter.model.stop_ids, default=None)
        answer = prompter.answer_ids(self.answer)
        return Turn(
            tuple(prompter.question_ids(self.question)),
            tuple(answer if stop is None else [*answer, stop]),
        )


@dataclass(frozen=True, slots=True)
class Studied:
    """A conversation as a finished cartridge keeps it: with the text that it is about, and whether it
    was kept from training to be measured by.
    """

    conversation: Conversation
    passage: str
    is_held_out: bool = False


def parse_completion(seed: Seed, sentence: int, text: str, source: str) -> Conversation | None:
    """The conversation in "request / Answer: answer", or None where there is no sound one."""
    request, _, answer = text.partition("Answer:")
    return sound(seed, sentence, request, answer, source)


def sound(seed: Seed, sentence: int, request: str, answer: str, source: str) -> Conversation | None:
    """The conversation, or None where it is unsound.

    Sound: a request with words (a question asks), an answer with words, and no number that the passage
    `source` lacks: models invent most of theirs.
    """
    request, answer = " ".join(request.split()), " ".join(answer.split())
    asks = request.endswith("?") if seed.name == "question" else len(request.split()) >= 3
    if not asks or not 1 <= len(answer.split()) <= 60:
        return None
    if set(_NUMBER.findall(f"{request} {answer}")) - set(_NUMBER.findall(source)):
        return None
    return Conversation(sentence, request, answer, kind=seed.name)


def recitation(sentence: int, text: str) -> Conversation | None:
    """A conversation that needs no teacher: how does the sentence that begins so go on?"""
    words = text.split()
    if len(words) < 6:
        return None
    start = " ".join(words[: max(3, len(words) // 3)])
    question = f'How does the sentence that begins "{start}" go on?'
    return Conversation(sentence, question, " ".join(words), kind=RECITATION)


def mention(sentence: int, text: str) -> Conversation | None:
    """Another that needs none: what is said of the names in the sentence, or of how it begins?"""
    words = text.split()
    if len(words) < 5:
        return None
    names = [word.strip(".,;:()\"'") for word in words[1:] if word[:1].isupper()]
    subject = " and ".join(dict.fromkeys(names[:2])) or " ".join(words[:4])
    return Conversation(
        sentence, f"What does the text say about {subject}?", " ".join(words), kind=MENTION
    )


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
    with append_plain(path) as file:
        file.truncate(whole)
        file.write("".join(lines).encode())


def read_conversations(path: Path) -> list[Conversation]:
    """What was written, without a last line that a kill tore."""
    lines = _whole_lines(path).decode().split("\n")
    return [Conversation(**json.loads(line)) for line in lines if line]


def write_studied(path: Path, studied: Sequence[Studied]) -> None:
    """One JSON line each."""
    lines = [json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in studied]
    path.write_text("".join(lines), encoding="utf-8")


def read_studied(path: Path, root: Path | None = None) -> list[Studied]:
    """What `write_studied` wrote. Raises FileNotPlainError where a link is met below `root`."""
    lines = read_plain(path, root).decode().split("\n")
    found = (json.loads(line) for line in lines if line)
    return [
        Studied(**{**one, "conversation": Conversation(**one["conversation"])}) for one in found
    ]


def _whole_lines(path: Path) -> bytes:
    """The file up to its last line break; bytes, for a kill may tear a character too."""
    try:
        data = read_plain(path)
    except FileNotFoundError:
        data = b""
    return data[: data.rfind(b"\n") + 1]

"""What the teacher makes of each conversation: read once with the full context, kept for training.

Final hidden states are kept in place of logits: two orders of magnitude smaller, and the logits
follow from them exactly.
"""

import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from cartridges.conversations import Conversation
from engine.model import LanguageModel
from engine.plain_file import plain_path, read_plain
from engine.plain_folder import staged
from engine.prefix import KVPrefix
from engine.prompts import Prompter
from engine.scoring import Turn, answer_nll, answer_states, pack_by_tokens, project

PACK_TOKENS = 512  # conversation tokens read in one pass
GENERAL = "general"  # the kind of a conversation about nothing in the corpus
MOST_WEIGHT = 2.0  # nats a token: one conversation that the corpus explains wholly is no two


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A conversation, its ids, and the teacher's states that predict its answer [tokens, hidden]."""

    conversation: Conversation
    turn: Turn
    states: torch.Tensor

    @property
    def weight(self) -> float:
        """What it counts in training: by how much the corpus helps with it."""
        if self.conversation.kind == GENERAL:
            return 1.0
        return min(MOST_WEIGHT, max(0.0, self.conversation.gain)) or 1e-3


@torch.inference_mode()
def read_lessons(
    model: LanguageModel, conversations: Sequence[Conversation], context: KVPrefix
) -> Generator[float, None, list[Lesson]]:
    """Reads every conversation with the context and without; yields the share done.

    A conversation's gain is by how much the context lowers the loss on its answer, in nats a token.
    """
    prompter = Prompter(model)
    lessons: list[Lesson] = []
    turns = [conversation.turn(prompter) for conversation in conversations]
    for pack in pack_by_tokens(turns, PACK_TOKENS):
        with model.mixed_precision():
            states = answer_states(model, pack, context)
            bare = answer_nll(model, pack, None)
        targets = torch.tensor([i for turn in pack for i in turn.answer], device=model.device)
        losses = torch.nn.functional.cross_entropy(
            project(model, states), targets, reduction="none"
        )
        sizes = [len(turn.answer) for turn in pack]
        for turn, part, loss, without in zip(
            pack, states.split(sizes), losses.split(sizes), bare, strict=True
        ):
            known = conversations[len(lessons)]
            gain = without - float(loss.mean())
            lessons.append(Lesson(replace(known, gain=gain), turn, part.clone()))
        yield len(lessons) / len(turns)
    return lessons


def pack_lessons(lessons: Sequence[Lesson]) -> list[list[Lesson]]:
    """Lessons in order, those together that are read in one pass."""
    by_turn = {id(lesson.turn): lesson for lesson in lessons}
    packs = pack_by_tokens([lesson.turn for lesson in lessons], PACK_TOKENS)
    return [[by_turn[id(turn)] for turn in pack] for pack in packs]


def save_lessons(folder: Path, lessons: Sequence[Lesson]) -> None:
    """Writes tensors first and the list of conversations last: the list says that all is there."""
    tensors = {str(i): lesson.states.contiguous().cpu() for i, lesson in enumerate(lessons)}
    with staged(folder / "lessons.safetensors") as staging:
        save_file(tensors, staging)
    with staged(folder / "lessons.json") as staging:
        staging.write_text(json.dumps([asdict(lesson.conversation) for lesson in lessons]))


def load_lessons(folder: Path, model: LanguageModel) -> list[Lesson] | None:
    """What `save_lessons` wrote, or None where it did not finish."""
    try:
        listed = json.loads(read_plain(folder / "lessons.json"))
    except FileNotFoundError:
        return None
    prompter = Prompter(model)
    with plain_path(folder / "lessons.safetensors") as plain:
        tensors = load_file(plain, device=str(model.device))
    found = [Conversation(**fields) for fields in listed]
    return [
        Lesson(conversation, conversation.turn(prompter), tensors[str(i)])
        for i, conversation in enumerate(found)
    ]

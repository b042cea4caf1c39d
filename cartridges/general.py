"""What a cartridge must not spoil: everyday questions, answered by the model with no text at all.

A loaded cartridge hurts questions that are not about its corpus; a few percent of such conversations in
training, with a teacher that has no context, keep it from doing so.
"""

import json
from collections.abc import Sequence
from importlib.resources import files

import torch

from cartridges.conversations import Conversation
from cartridges.lessons import GENERAL, PACK_TOKENS, Lesson
from engine.answer_row import GenerationRequest
from engine.generation import generate_text
from engine.model import LanguageModel
from engine.prompts import Lead, Prompter
from engine.sampling import SamplingParams
from engine.scoring import Turn, answer_states, pack_by_tokens

ANSWER_TOKENS = 24


def load_questions() -> tuple[str, ...]:
    """Questions about no corpus in particular."""
    path = files("cartridges") / "general.json"
    return tuple(json.loads(path.read_text(encoding="utf-8"))["questions"])


@torch.inference_mode()
def general_lessons(
    model: LanguageModel, questions: Sequence[str], batch: int = 32
) -> list[Lesson]:
    """The model's own greedy answers and its states for them; the student is asked behind a prefix."""
    if not questions:
        return []
    prompter = Prompter(model)
    bare = [tuple(prompter.bare_ids(question)) for question in questions]
    params = SamplingParams(max_tokens=ANSWER_TOKENS)
    requests = [GenerationRequest(str(i), ids, None, params) for i, ids in enumerate(bare)]
    answers = generate_text(model, requests, batch)
    known = [
        (question, ids, answer.strip(), tuple(model.encode(answer.strip())))
        for question, ids, answer in zip(questions, bare, answers, strict=True)
        if answer.strip()
    ]
    states: list[torch.Tensor] = []
    turns = [Turn(ids, answer) for _, ids, _, answer in known]
    for pack in pack_by_tokens(turns, PACK_TOKENS):
        states += answer_states(model, pack, None).split([len(turn.answer) for turn in pack])
    return [
        Lesson(
            Conversation(-1, question, answer, kind=GENERAL),
            Turn(tuple(prompter.question_ids(question, Lead())), ids),
            part.clone(),
        )
        for (question, _, answer, ids), part in zip(known, states, strict=True)
    ]

"""Answers as token ids with what they took, and the prompt of a question behind its evidence."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.answer_row import GenerationRequest
from engine.generation import GenerationBatch
from engine.model import LanguageModel
from engine.prompts import Prompter
from engine.sampling import SamplingParams

Answers = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Timed:
    """The tokens of each answer by its request's id, and what all of them took."""

    answers: Answers
    seconds: float
    cpu_seconds: float

    @property
    def tokens(self) -> int:
        return sum(map(len, self.answers.values()))


def timed(answer: Callable[[], Answers]) -> Timed:
    """What is answered, with its times."""
    began, began_cpu = time.perf_counter(), time.process_time()
    answers = answer()
    return Timed(answers, time.perf_counter() - began, time.process_time() - began_cpu)


def decode(
    model: LanguageModel, requests: Sequence[GenerationRequest], together: int, drafted: int
) -> Answers:
    """By our engine: `together` at once for as long as there are so many, at most `drafted` guessed."""
    answers: Answers = {request.id: [] for request in requests}
    batch, waiting = GenerationBatch(model, drafted), list(requests)
    while waiting or len(batch):
        room = together - len(batch)
        batch.add(waiting[:room])
        waiting = waiting[room:]
        for piece in batch.step():
            answers[piece.request_id].append(piece.token)
    return answers


def quoting(
    prompter: Prompter,
    evidence: Sequence[str],
    question: str,
    most: int,
    name: str = "one",
    verbatim: bool = False,
) -> GenerationRequest:
    """A question behind its evidence, answered by a quotation of `most` tokens, word for word or as the
    model likes.
    """
    quote = prompter.quote
    prompt = (*prompter.context_ids(evidence), *prompter.question_ids(question, quote))
    params = SamplingParams(max_tokens=most, stop=quote.stop)
    return GenerationRequest(
        name, prompt, None, params, prompter.quotable(evidence) if verbatim else ()
    )

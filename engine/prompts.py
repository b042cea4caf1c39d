"""Prompts as token ids: one form for every route, inside the model's chat template.

    <template> Text: / - sentence / - sentence / ... | Question: ... <template> [According to the text,]

What stands left of the bar never depends on the question (the parts are tokenised apart), which is
what makes a prefix reusable: a cartridge, stored keys and a full context all stand in for the left
part. Contents cannot forge control tokens: they are encoded as plain text.

A small model is given the first words of its answer, which keep it to the text: of 160 Natural Questions
with three sentences of evidence the 135M model then has 70 right instead of 55.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from engine.model import LanguageModel

_LEAD = "According to the text,"
_NEEDS_LEAD = 1_000_000_000  # parameters below which a model gets it
_SLOT = "\ue000question\ue001"  # private-use marks: no template alters them


@dataclass(frozen=True)
class Prompter:
    """Builds every prompt of one model; `context_ids` + `question_ids` is a whole prompt."""

    model: LanguageModel

    @cached_property
    def _scaffold(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Control tokens before and behind a user turn's content."""
        tokenizer = self.model.tokenizer
        if tokenizer.chat_template is None:
            text = f"{_SLOT}\nAnswer:"
        else:
            turns = [{"role": "user", "content": _SLOT}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        before, behind = text.split(_SLOT)
        return self._control(before), self._control(behind)

    @cached_property
    def lead(self) -> str:
        """The words that an answer from a text begins with; none for a model that needs none."""
        return _LEAD if self.model.num_parameters < _NEEDS_LEAD else ""

    def opening_ids(self) -> list[int]:
        """What stands before a user turn's content."""
        return list(self._scaffold[0])

    def line_ids(self, sentence: str) -> list[int]:
        """One sentence as it stands in a context: a line of a list, white space collapsed."""
        return self.model.encode(f"- {' '.join(sentence.split())}\n")

    def context_ids(self, sentences: Iterable[str]) -> list[int]:
        """The prompt up to the end of the text; a list of sentences is what small models read best."""
        lines = [token for sentence in sentences for token in self.line_ids(sentence)]
        return [*self._scaffold[0], *self.model.encode("Text:\n"), *lines]

    def asking_ids(self) -> list[int]:
        """What stands between the text and the question."""
        return self.model.encode("\nQuestion:")

    def asked_ids(self, question: str) -> list[int]:
        """The question's own tokens; the space belongs to its first word, as in running text."""
        return self.model.encode(f" {question.strip()}")

    def question_ids(self, question: str) -> list[int]:
        """The prompt from the end of the text to where the model takes over, behind the lead."""
        lead = self.model.encode(self.lead)
        return [*self.asking_ids(), *self.asked_ids(question), *self._scaffold[1], *lead]

    def answer_ids(self, answer: str) -> list[int]:
        """An answer as the model would go on with it behind `question_ids`."""
        return self.model.encode(f" {answer}" if self.lead else answer)

    def bare_ids(self, question: str) -> list[int]:
        """A question with no text at all."""
        return [*self._scaffold[0], *self.model.encode(question), *self._scaffold[1]]

    def _control(self, text: str) -> tuple[int, ...]:
        return tuple(self.model.tokenizer.encode(text, add_special_tokens=False))

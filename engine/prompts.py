"""Prompts as token ids: one form for every route, inside the model's chat template.

    <template> Text: / - sentence / - sentence / ... | Question: ... <template> [first words]

What stands left of the bar never depends on the question (the parts are tokenised apart), which is
what makes a prefix reusable: a cartridge, stored keys and a full context all stand in for the left
part. Contents cannot forge control tokens: they are encoded as plain text.

A small model is given the first words of its answer, which keep it to the text. Behind a few sentences
of evidence they make it quote them in the form they stand in: of 100 Natural Questions the 135M model
then has 58 right instead of 48, and of 30 questions for three things, told in three sentences, all
instead of 18. What it quotes can be held to the evidence word for word (`quotable`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from engine.model import LanguageModel
from engine.quotation import QuotedLine


@dataclass(frozen=True, slots=True)
class Lead:
    """The first words of an answer, which stand in the prompt, and what ends an answer that has them."""

    text: str = ""
    stop: tuple[str, ...] = ()


_TELL = Lead("According to the text,")
_QUOTE = Lead("The text says:\n-", ("\n\n",))
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

    @property
    def lead(self) -> Lead:
        """How an answer from a whole text or a cartridge begins; empty for a model that needs none."""
        return self._needed(_TELL)

    @property
    def quote(self) -> Lead:
        """How an answer from a few sentences of evidence begins: by quoting them."""
        return self._needed(_QUOTE)

    def quotable(self, sentences: Iterable[str]) -> tuple[QuotedLine, ...]:
        """The lines of evidence that an answer which begins with `quote` is held to; none for a model
        that is not led, or whose tokenizer does not set the dash apart.
        """
        lines = tuple(self._quotable(sentence) for sentence in sentences) if self.is_led else ()
        is_apart = {self.model.decode([line.ids[0]]).strip() for line in lines} == {"-"}
        return lines if is_apart else ()

    def _quotable(self, sentence: str) -> QuotedLine:
        ids = self.line_ids(sentence)
        closed = self.model.encode(f"- {' '.join(sentence.split())}\n\n")
        is_one_token = closed[:-1] == ids[:-1] and closed != ids
        return QuotedLine(tuple(ids), closed[-1] if is_one_token else None)

    @property
    def is_led(self) -> bool:
        """Whether the model is so small that it has to be shown what to do."""
        return self.model.num_parameters < _NEEDS_LEAD

    def _needed(self, lead: Lead) -> Lead:
        return lead if self.is_led else Lead()

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

    def question_ids(self, question: str, lead: Lead | None = None) -> list[int]:
        """The prompt from the end of the text to where the model takes over, behind the lead."""
        words = self.model.encode((lead or self.lead).text)
        return [*self.asking_ids(), *self.asked_ids(question), *self._scaffold[1], *words]

    def answer_ids(self, answer: str) -> list[int]:
        """An answer as the model would go on with it behind `question_ids`."""
        return self.model.encode(f" {answer}" if self.lead.text else answer)

    def bare_ids(self, question: str) -> list[int]:
        """A question with no text at all."""
        return [*self._scaffold[0], *self.model.encode(question), *self._scaffold[1]]

    def _control(self, text: str) -> tuple[int, ...]:
        return tuple(self.model.tokenizer.encode(text, add_special_tokens=False))

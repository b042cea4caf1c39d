"""A decided question to its prompt, with the model's thread in turns."""

import time
from dataclasses import dataclass

from cartridges.store import Cartridge
from service.answers import Decision, Question, Reading, Route
from service.errors import fail
from service.library import ResidentCorpus
from service.limits import Limits
from service.model_thread import ModelThread
from service.routes import Budget, PreparedContext, Routes
from service.routing.facts import Facts
from service.stepped_reading import SteppedReading, take_steps


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A decided question on its way to a prompt."""

    decision: Decision
    corpus: ResidentCorpus
    cartridge: Cartridge | None
    budget: Budget
    facts: Facts


class Preparing:
    """Prepares questions by the routes that were decided on."""

    def __init__(self, routes: Routes, thread: ModelThread, limits: Limits) -> None:
        self._routes, self._thread, self._limits = routes, thread, limits

    async def prepare(self, plan: Plan, question: Question) -> PreparedContext:
        """What generation continues. Raises DEADLINE_PASSED, CONTEXT_TOO_LONG."""
        if plan.decision.route is Route.INFINI_RETRI:
            if question.reading is Reading.STREAMING:
                return await self._read_through(plan, question)
            if question.reading is not Reading.PUBLISHED:
                return await self._read_index(plan, question)
            _check_published(plan.corpus, self._limits)
            return await self._thread.run(
                lambda: self._routes.as_published(plan.corpus, question.text, plan.budget)
            )
        preparer = self._routes.preparer(plan.decision.route, plan.cartridge)
        return await self._thread.run(lambda: preparer(plan.corpus, question.text, plan.budget))

    async def _read_index(self, plan: Plan, question: Question) -> PreparedContext:
        """A registered corpus by its stored keys, a step at a time."""
        steps = self._routes.readers.indexed.steps(
            plan.corpus.index, question.text, self._routes.reading_settings(plan.budget)
        )
        found = await take_steps(self._thread, steps, lambda: check_deadline(question))
        return self._routes.with_evidence(plan.corpus, found, question.text)

    async def _read_through(self, plan: Plan, question: Question) -> PreparedContext:
        """A registered corpus by the streaming reader, a batch of windows at a time."""
        lines = plan.corpus.index.lines()
        reading = SteppedReading(self._thread, self._routes.readers.streaming, question.text)
        async for _ in reading.add(lines):
            check_deadline(question)
        settings = self._routes.reading_settings(plan.budget)
        found = await reading.finish(settings, lambda: check_deadline(question))
        return self._routes.with_evidence(plan.corpus, found, question.text)


def check_deadline(question: Question) -> None:
    """Raises DEADLINE_PASSED."""
    if question.deadline is not None and time.monotonic() >= question.deadline:
        raise fail(
            "DEADLINE_PASSED",
            "the call's deadline passed before the answer began; allow more time or ask less at once",
        )


def _check_published(corpus: ResidentCorpus, limits: Limits) -> None:
    """The published reader holds the model from the first window to the last."""
    if corpus.context_tokens > limits.max_published_tokens:
        raise fail(
            "CONTEXT_TOO_LONG",
            f"the corpus has {corpus.context_tokens} tokens and the published reader reads all of them "
            f"for every question, {limits.max_published_tokens} at most; use the indexed reader",
            field="reader",
        )

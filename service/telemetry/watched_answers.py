"""Answerers with somebody who watches: what they answer is counted and noted, and passed on as it is."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import structlog

from service.answers import AnswerEvent, Decision, Delta, Question, Route, Summary
from service.routes import PreparedContext
from service.telemetry.call import note
from service.telemetry.observer import Observer
from service.text_answering import TextEvent, TextQuestion

if TYPE_CHECKING:
    from service.rpc.backend import Answerer, TextAnswers

_log = structlog.stdlib.get_logger("longmemory.answers")

TEXT_SENT = "TEXT_SENT"
"""The reason of the route of texts that come with their question: nothing else reads them."""


class WatchedAnswers:
    """An answerer of questions about registered corpora."""

    def __init__(self, answerer: Answerer, observer: Observer, log_questions: bool = False) -> None:
        self._answerer, self._observer = answerer, observer
        self._log_questions = log_questions

    async def decide(self, question: Question) -> Decision:
        """The answerer's decision."""
        self._tell(question.text)
        decision = await self._answerer.decide(question)
        note(route=decision.route.value)
        return decision

    async def answer(self, question: Question) -> AsyncGenerator[AnswerEvent]:
        """The answerer's events; closing the iterator closes its own."""
        self._tell(question.text)
        watch, events = _Watch(self._observer), self._answerer.answer(question)
        async with aclosing(cast(AsyncGenerator[AnswerEvent], events)) as events:
            async for event in events:
                if isinstance(event, Decision):
                    watch.decided(event.route, event.reason)
                watch.see(event)
                yield event

    async def retrieve(self, question: Question) -> tuple[Decision, PreparedContext]:
        """What the answerer finds."""
        self._tell(question.text)
        decision, found = await self._answerer.retrieve(question)
        note(route=decision.route.value)
        return decision, found

    def _tell(self, question: str) -> None:
        if self._log_questions:
            _log.info("asked", question=question)


class WatchedTextAnswers:
    """An answerer of questions about texts that come with them."""

    def __init__(
        self, answerer: TextAnswers, observer: Observer, log_questions: bool = False
    ) -> None:
        self._answerer, self._observer = answerer, observer
        self._log_questions = log_questions

    async def answer(
        self, question: TextQuestion, text: AsyncIterator[str]
    ) -> AsyncGenerator[TextEvent]:
        """The answerer's events; closing the iterator closes its own."""
        if self._log_questions:
            _log.info("asked", question=question.text)
        watch, events = _Watch(self._observer), self._answerer.answer(question, text)
        watch.decided(Route.INFINI_RETRI, TEXT_SENT)
        async with aclosing(cast(AsyncGenerator[TextEvent], events)) as events:
            async for event in events:
                watch.see(event)
                yield event


class _Watch:
    """One answer as it goes by."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._arrived = observer, time.monotonic()
        self._route, self._reason, self._has_begun = Route.NONE.value, "", False

    def decided(self, route: Route, reason: str) -> None:
        self._route, self._reason = route.value, reason
        note(route=route.value, reason=reason)

    def see(self, event: object) -> None:
        if isinstance(event, Delta) and not self._has_begun:
            self._has_begun = True
            self._observer.began(self._route, time.monotonic() - self._arrived)
        if isinstance(event, Summary):
            self._observer.answered(self._route, self._reason)
            note(tokens=event.usage.output_tokens)

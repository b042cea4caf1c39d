"""A question's way through the service: admit, decide, prepare, generate, sum up."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import structlog

from cartridges.manifest import CartridgeError
from service import escalation
from service.admission import Admission, Place, tokens_asked
from service.answers import (
    AnswerEvent,
    Decision,
    Option,
    Question,
    Route,
    Summary,
    Usage,
)
from service.config import ServiceConfig
from service.errors import ServiceError, fail
from service.fact_finder import FactFinder
from service.generating import Times, generate
from service.library import Library
from service.model_thread import ModelThread
from service.preparing import Plan, Preparing, check_deadline
from service.prompt_room import PromptRoom
from service.router import Router
from service.routes import PreparedContext, Routes
from service.state.cartridge_shelf import CartridgeShelf
from service.state.corpora import Corpora
from service.telemetry.call import span

_log = structlog.stdlib.get_logger("longmemory.answering")


class MemoryAnswerer:
    """Answers questions about registered corpora."""

    def __init__(
        self,
        config: ServiceConfig,
        corpora: Corpora,
        shelf: CartridgeShelf,
        library: Library,
        routes: Routes,
        thread: ModelThread,
        room: PromptRoom,
        admission: Admission,
        router: Router,
    ) -> None:
        self._config, self._corpora = config, corpora
        self._library, self._routes, self._thread = library, routes, thread
        self._room, self._admission, self._router = room, admission, router
        self._preparing = Preparing(routes, thread, config.limits)
        stale = config.policy.gates.stale
        self._finder = FactFinder(library, routes, shelf, thread.model, stale)

    async def decide(self, question: Question) -> Decision:
        """The route that would be taken; raises what `answer` would raise before generating."""
        with self._admission.admit(tokens_asked(question.text, 0, 0, 0), question.deadline):
            await self._fetch(question)
            plan = await self._thread.run(lambda: self._plan(question))
            return replace(plan.decision, id="")  # nothing is answered that could be judged

    async def answer(self, question: Question) -> AsyncGenerator[AnswerEvent]:
        """Decision, evidence, text and summary; closing the iterator stops the generation.

        Raises:
            ServiceError: QUEUE_FULL, DEADLINE_TOO_SHORT, DEADLINE_PASSED, CORPUS_NOT_READY,
                QUESTION_TOO_LONG, CONTEXT_TOO_LONG and what stands in a requested cartridge's way.
        """
        arrived = time.monotonic()
        most = question.sampling.max_tokens
        with self._admission.admit(self._tokens(question, most), question.deadline) as place:
            with span("route") as told:
                await self._fetch(question)
                plan, began = await self._thread.run(lambda: self._begin(question))
                told |= {"route": plan.decision.route.value, "reason": plan.decision.reason}
            attempt = self._attempt(question, plan, arrived, began, place)
            second = (
                None if self._routes.prompter.is_led else escalation.second_route(plan.decision)
            )
            if second:
                async with aclosing(attempt) as events:
                    held = await escalation.opening(events)
                    if not escalation.is_due(second, held, question.deadline):
                        for event in held:
                            yield event
                        async for event in events:
                            yield event
                        return
                again = await self._thread.run(lambda: self._again(question, plan, second))
                spent = place.tokens - most
                attempt = self._attempt(question, again, arrived, time.monotonic(), place)
                attempt = escalation.with_spent(attempt, spent, held)
            async with aclosing(attempt) as events:  # else a closed answer is decoded on
                async for event in events:
                    yield event

    async def _attempt(
        self, question: Question, plan: Plan, arrived: float, began: float, place: Place
    ) -> AsyncGenerator[AnswerEvent]:
        """The events of a decided question."""
        with span("prepare") as told:
            prepared = await self._preparing.prepare(plan, question)
            told["prompt_tokens"] = len(prepared.prompt)
        place.tokens = len(prepared.prompt) + question.sampling.max_tokens
        times = Times(arrived, began, time.monotonic())
        yield plan.decision.with_effort(prepared.effort)
        yield prepared.evidence
        check_deadline(question)
        generating = generate(self._thread, prepared, question.sampling, times)
        with span("generate") as told:
            async with aclosing(generating) as events:
                async for event in events:
                    if isinstance(event, Summary):
                        told["output_tokens"] = event.usage.output_tokens
                        await self._learn(question, plan, event.usage)
                    yield event

    def _again(self, question: Question, plan: Plan, second: Option) -> Plan:
        """Runs on the model's thread."""
        again = self._plan(replace(question, route=second.route))
        return replace(again, decision=escalation.escalated(plan.decision, again.decision))

    async def _learn(self, question: Question, plan: Plan, usage: Usage) -> None:
        """An answer that was given is not taken back because it could not be noted."""
        try:
            await asyncio.to_thread(self._router.learn, question, plan.decision, plan.facts, usage)
        except ServiceError as error:
            _log.warning("an outcome was not noted", reason=error.reason)
        except Exception:
            _log.exception("an outcome was not noted")

    async def retrieve(self, question: Question) -> tuple[Decision, PreparedContext]:
        """What an answer would be given; generates nothing. Raises what `answer` raises before it
        generates, and INVALID_VALUE for a route that retrieves nothing.
        """
        if question.route is Route.AUTO:
            question = replace(question, route=Route.INFINI_RETRI)
        if question.route not in (Route.INFINI_RETRI, Route.CRAG):
            raise fail(
                "INVALID_VALUE",
                f"the route {question.route.value} retrieves nothing; use infini_retri or crag",
                field="query.route",
            )
        with self._admission.admit(self._tokens(question, 0), question.deadline):
            await self._fetch(question)
            plan, _ = await self._thread.run(lambda: self._begin(question))
            prepared = await self._preparing.prepare(plan, question)
            return replace(plan.decision.with_effort(prepared.effort), id=""), prepared

    async def _fetch(self, question: Question) -> None:
        """What another machine has made is brought here while the model works on."""
        if self._library.is_shared:
            await asyncio.to_thread(
                lambda: self._library.fetch(self._corpora.get(question.corpus_id))
            )

    def _tokens(self, question: Question, most: int) -> int:
        evidence = self._config.reading.evidence
        if question.route is Route.FULL_CONTEXT:
            evidence = self._thread.model.geometry.window - most
        return tokens_asked(question.text, evidence, question.max_prompt_tokens, most)

    def _begin(self, question: Question) -> tuple[Plan, float]:
        began = time.monotonic()
        check_deadline(question)
        return self._plan(question), began

    def _plan(self, question: Question) -> Plan:
        """Runs on the model's thread; reads the record there, since waiting makes it old."""
        corpus = self._corpora.get(question.corpus_id)
        resident = self._library.corpus(corpus)
        sampling = question.sampling
        room, budget = self._room.of(question.text, question.max_prompt_tokens, sampling.max_tokens)
        facts = self._finder.facts(question, corpus, resident, room, budget)
        decision = self._router.decide(question, facts)
        cartridge = None
        if decision.route is Route.CARTRIDGE and facts.cartridge:
            try:
                cartridge = self._finder.load(corpus, facts.cartridge)
            except CartridgeError as error:
                problem = error.reason, str(error)
                facts = replace(facts, cartridge=replace(facts.cartridge, problem=problem))
                decision = self._router.decide(question, facts)
        return Plan(decision, resident, cartridge, budget, facts)

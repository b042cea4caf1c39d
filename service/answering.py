"""A question's way through the service: admit, decide, prepare, generate, sum up."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from cartridges.guard import Guard
from cartridges.manifest import CartridgeError
from cartridges.store import Cartridge
from service.admission import Admission
from service.answers import AnswerEvent, Decision, Question, Reading, Route
from service.config import ServiceConfig
from service.errors import ServiceError, fail
from service.generating import Times, generate
from service.library import Library, ResidentCorpus
from service.limits import Limits
from service.model_thread import ModelThread
from service.prompt_room import PromptRoom
from service.router import CartridgeFacts, Facts, choose, obstacle
from service.routes import Budget, PreparedContext, Routes
from service.state.cartridge_shelf import CartridgeRecord, CartridgeShelf, CartridgeState
from service.state.corpora import Corpora
from service.state.corpus import Corpus
from service.stepped_reading import SteppedReading, take_steps


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """A decided question on its way to a prompt."""

    decision: Decision
    corpus: ResidentCorpus
    cartridge: Cartridge | None
    budget: Budget


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
    ) -> None:
        self._config, self._corpora, self._shelf = config, corpora, shelf
        self._library, self._routes, self._thread = library, routes, thread
        self._room, self._admission = room, admission

    async def decide(self, question: Question) -> Decision:
        """The route that would be taken; raises what `answer` would raise before generating."""
        plan = await self._thread.run(lambda: self._plan(question))
        return plan.decision

    async def answer(self, question: Question) -> AsyncGenerator[AnswerEvent]:
        """Decision, evidence, text and summary; closing the iterator stops the generation.

        Raises:
            ServiceError: QUEUE_FULL, DEADLINE_PASSED, CORPUS_NOT_READY, QUESTION_TOO_LONG,
                CONTEXT_TOO_LONG and what stands in a requested cartridge's way.
        """
        arrived = time.monotonic()
        with self._admission.admit():
            plan, began = await self._thread.run(lambda: self._begin(question))
            prepared = await self._prepare(plan, question)
            times = Times(arrived, began, time.monotonic())
            yield plan.decision.with_effort(prepared.effort)
            yield prepared.evidence
            _check_deadline(question)
            generating = generate(self._thread, prepared, question.sampling, times)
            async with aclosing(generating) as events:  # else a closed answer is decoded on
                async for event in events:
                    yield event

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
        with self._admission.admit():
            plan, _ = await self._thread.run(lambda: self._begin(question))
            prepared = await self._prepare(plan, question)
            return plan.decision.with_effort(prepared.effort), prepared

    def _begin(self, question: Question) -> tuple[_Plan, float]:
        began = time.monotonic()
        _check_deadline(question)
        return self._plan(question), began

    async def _prepare(self, plan: _Plan, question: Question) -> PreparedContext:
        if plan.decision.route is Route.INFINI_RETRI:
            if question.reading is Reading.STREAMING:
                return await self._read_through(plan, question)
            if question.reading is not Reading.PUBLISHED:
                return await self._read_index(plan, question)
            _check_published(plan.corpus, self._config.limits)
            return await self._thread.run(
                lambda: self._routes.as_published(plan.corpus, question.text, plan.budget)
            )
        preparer = self._routes.preparer(plan.decision.route, plan.cartridge)
        return await self._thread.run(lambda: preparer(plan.corpus, question.text, plan.budget))

    async def _read_index(self, plan: _Plan, question: Question) -> PreparedContext:
        """A registered corpus by its stored keys, a step at a time."""
        steps = self._routes.readers.indexed.steps(
            plan.corpus.index, question.text, self._routes.reading_settings(plan.budget)
        )
        found = await take_steps(self._thread, steps, lambda: _check_deadline(question))
        return self._routes.with_evidence(plan.corpus, found, question.text)

    async def _read_through(self, plan: _Plan, question: Question) -> PreparedContext:
        """A registered corpus by the streaming reader, a batch of windows at a time."""
        lines = plan.corpus.index.lines()
        reading = SteppedReading(self._thread, self._routes.readers.streaming, question.text)
        async for _ in reading.add(lines):
            _check_deadline(question)
        settings = self._routes.reading_settings(plan.budget)
        found = await reading.finish(settings, lambda: _check_deadline(question))
        return self._routes.with_evidence(plan.corpus, found, question.text)

    def _plan(self, question: Question) -> _Plan:
        """Runs on the model's thread; reads the record there, since waiting makes it old."""
        corpus = self._corpora.get(question.corpus_id)
        resident = self._library.corpus(corpus)
        sampling = question.sampling
        room, budget = self._room.of(question.text, question.max_prompt_tokens, sampling.max_tokens)
        sentence, cosine = self._routes.nearest(resident, question.text)
        window = resident.window_of(sentence) if sentence >= 0 else ""
        facts = Facts(
            corpus_tokens=resident.context_tokens,
            room=room,
            nearest=cosine,
            is_fresh=corpus.indexed_digest == corpus.content_digest,
            cartridge=self._cartridge_facts(question, corpus, window),
        )
        decision = self._decide(question, facts)
        cartridge = None
        if decision.route is Route.CARTRIDGE and facts.cartridge:
            try:
                cartridge = self._load(corpus, facts.cartridge)
            except CartridgeError as error:
                problem = error.reason, str(error)
                facts = replace(facts, cartridge=replace(facts.cartridge, problem=problem))
                decision = self._decide(question, facts)
        return _Plan(decision, resident, cartridge, budget)

    def _decide(self, question: Question, facts: Facts) -> Decision:
        if blocked := obstacle(question.route, facts):
            raise fail(*blocked, field="route")
        return choose(question.text, question.route, facts, self._config.policy)

    def _cartridge_facts(
        self, question: Question, corpus: Corpus, window: str
    ) -> CartridgeFacts | None:
        """What the record and the manifest tell; no tensors are read for it."""
        record = self._record(question, corpus)
        if record is None:
            return None
        if problem := _state_problem(record):
            return CartridgeFacts(record.id, problem=problem)
        if question.route not in (Route.AUTO, Route.CARTRIDGE):
            return None
        try:
            manifest = self._library.manifest(corpus.id, record.id, record.tensor_digest)
        except CartridgeError as error:
            return CartridgeFacts(record.id, problem=(error.reason, str(error)))
        number = manifest.part_of(window)
        part = manifest.parts[number]
        measured = part.metrics or record.metrics
        return CartridgeFacts(
            record.id,
            measured.get("recovered", 0.0),
            Guard.of_metrics(record.metrics),
            part=number,
            parts=len(manifest.parts),
            tensor_digest=record.tensor_digest,
            problem=self._position_problem(question, part.query_offset),
        )

    def _load(self, corpus: Corpus, facts: CartridgeFacts) -> Cartridge:
        return self._library.part(corpus.id, facts.id, facts.tensor_digest, facts.part).cartridge

    def _position_problem(self, question: Question, before: int) -> tuple[str, str] | None:
        """A question stands behind the whole text that its cartridge stands for."""
        asked = len(self._routes.prompter.question_ids(question.text))
        window = self._thread.model.geometry.window
        left = window - before - asked
        if question.sampling.max_tokens <= left:
            return None
        return (
            "CONTEXT_TOO_LONG",
            f"the cartridge stands for {before} tokens and the question has {asked}, which leaves "
            f"{left} of the window's {window} for an answer of {question.sampling.max_tokens}; "
            "ask for a shorter one",
        )

    def _record(self, question: Question, corpus: Corpus) -> CartridgeRecord | None:
        """The cartridge asked for, else the newest ready one, else the newest one at all."""
        if question.cartridge_id:
            return self._shelf.get(corpus.id, question.cartridge_id)
        ready = self._shelf.newest_ready(corpus.id, self._thread.model.fingerprint)
        if ready:
            return ready
        newest, _ = self._shelf.list(corpus.id, 1)
        return newest[0] if newest else None


def _state_problem(record: CartridgeRecord) -> tuple[str, str] | None:
    match record.state:
        case CartridgeState.STALE:
            return (
                "CARTRIDGE_STALE",
                f"cartridge {record.id} was trained on an earlier content of the corpus; refresh it "
                f"with `longmemory cartridge refresh {record.corpus_id}/{record.id}`",
            )
        case CartridgeState.TRAINING:
            return (
                "CARTRIDGE_NOT_READY",
                f"cartridge {record.id} is still being trained; watch its job with `longmemory jobs ls`",
            )
        case CartridgeState.FAILED:
            why = record.error.message if record.error else "its training failed"
            return ("CARTRIDGE_NOT_READY", f"cartridge {record.id} failed: {why}; train it again")
    return None


def _check_published(corpus: ResidentCorpus, limits: Limits) -> None:
    """The published reader holds the model from the first window to the last."""
    if corpus.context_tokens > limits.max_published_tokens:
        raise fail(
            "CONTEXT_TOO_LONG",
            f"the corpus has {corpus.context_tokens} tokens and the published reader reads all of them "
            f"for every question, {limits.max_published_tokens} at most; use the indexed reader",
            field="reader",
        )


def _check_deadline(question: Question) -> None:
    if question.deadline is not None and time.monotonic() >= question.deadline:
        raise _deadline_passed()


def _deadline_passed() -> ServiceError:
    return fail(
        "DEADLINE_PASSED",
        "the call's deadline passed before the answer began; allow more time or ask less at once",
    )

"""A question's way through the service: admit, decide, prepare, generate, sum up."""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from cartridges.manifest import CartridgeError
from cartridges.store import Cartridge
from engine.generation import FinishReason, GenerationRequest
from service.answers import AnswerEvent, Decision, Delta, Question, Route, Summary, Usage
from service.config import ServiceConfig
from service.errors import ServiceError, fail
from service.library import Library, ResidentCorpus
from service.model_thread import ModelThread
from service.router import CartridgeFacts, Facts, choose, obstacle
from service.routes import Budget, PreparedContext, Routes
from service.state.cartridge_shelf import CartridgeRecord, CartridgeShelf, CartridgeState
from service.state.corpora import Corpora
from service.state.corpus import Corpus


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
    ) -> None:
        self._config, self._corpora, self._shelf = config, corpora, shelf
        self._library, self._routes, self._thread = library, routes, thread
        self._under_way = 0

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
        self._admit()
        try:
            began = arrived

            def prepare() -> tuple[_Plan, PreparedContext]:
                nonlocal began
                began = time.monotonic()
                _check_deadline(question)
                plan = self._plan(question)
                preparer = self._routes.preparer(plan.decision.route, plan.cartridge)
                return plan, preparer(plan.corpus, question.text, plan.budget)

            plan, prepared = await self._thread.run(prepare)
            ready = time.monotonic()
            yield plan.decision
            yield prepared.evidence
            _check_deadline(question)
            generating = self._generate(question, prepared, arrived, began, ready)
            async with aclosing(generating) as events:  # else a closed answer is decoded on
                async for event in events:
                    yield event
        finally:
            self._under_way -= 1

    async def _generate(
        self,
        question: Question,
        prepared: PreparedContext,
        arrived: float,
        began: float,
        ready: float,
    ) -> AsyncGenerator[Delta | Summary]:
        request = GenerationRequest(
            uuid.uuid4().hex, prepared.prompt, prepared.prefix, question.sampling
        )
        first, tokens, finish, lead = 0.0, 0, FinishReason.STOP, prepared.lead
        async with aclosing(self._thread.generate(request)) as pieces:
            async for piece in pieces:
                first = first or time.monotonic() - arrived
                tokens += 1
                finish = piece.finish or finish
                if piece.text:
                    yield Delta(
                        f"{lead} {piece.text.lstrip()}" if lead else piece.text, (piece.token,)
                    )
                    lead = ""
        yield Summary(
            finish,
            Usage(
                prompt_tokens=len(prepared.prompt),
                prefix_tokens=prepared.prefix.length if prepared.prefix else 0,
                output_tokens=tokens,
                queue_seconds=began - arrived,
                prepare_seconds=ready - began,
                first_token_seconds=first,
                total_seconds=time.monotonic() - arrived,
            ),
        )

    def _admit(self) -> None:
        if self._under_way >= self._config.limits.max_queue:
            raise fail(
                "QUEUE_FULL",
                f"{self._under_way} questions are under way, the most this server takes; "
                "ask again in a while",
                retry_after_seconds=1.0,
            )
        self._under_way += 1

    def _plan(self, question: Question) -> _Plan:
        """Runs on the model's thread; reads the record there, since waiting makes it old."""
        corpus = self._corpora.get(question.corpus_id)
        resident = self._library.corpus(corpus)
        room, budget = self._room(question)
        facts_of_cartridge, cartridge = self._cartridge(question, corpus)
        facts = Facts(
            corpus_tokens=resident.context_tokens,
            room=room,
            nearest=self._routes.nearest(resident, question.text),
            is_fresh=corpus.indexed_digest == corpus.content_digest,
            cartridge=facts_of_cartridge,
        )
        if blocked := obstacle(question.route, facts):
            raise fail(*blocked, field="route")
        decision = choose(question.text, question.route, facts, self._config.policy)
        return _Plan(decision, resident, cartridge, budget)

    def _room(self, question: Question) -> tuple[int, Budget]:
        """Tokens left for a context, by the window and the caller's budget."""
        asked = len(self._routes.prompter.question_ids(question.text))
        if asked > self._config.reading.window // 2:
            raise fail(
                "QUESTION_TOO_LONG",
                f"the question has {asked} tokens, {self._config.reading.window // 2} fit; shorten it, "
                "or register the long part as a corpus",
                field="query",
            )
        window = self._thread.model.geometry.window - question.sampling.max_tokens
        most = min(window, question.max_prompt_tokens or window)
        room = most - asked - len(self._routes.prompter.context_ids([]))
        if room < 32:
            raise fail(
                "INVALID_VALUE",
                f"max_prompt_tokens is {question.max_prompt_tokens}; the question alone takes {asked}, "
                f"so give at least {most - room + 32}",
                field="budget.max_prompt_tokens",
            )
        return room, Budget(min(self._config.reading.evidence, room))

    def _cartridge(
        self, question: Question, corpus: Corpus
    ) -> tuple[CartridgeFacts | None, Cartridge | None]:
        record = self._record(question, corpus)
        if record is None:
            return None, None
        if problem := _state_problem(record):
            return CartridgeFacts(record.id, problem=problem), None
        if question.route not in (Route.AUTO, Route.CARTRIDGE):
            return None, None
        try:
            cartridge = self._library.cartridge(corpus.id, record.id, record.tensor_digest)
        except CartridgeError as error:
            reason = (
                error.reason if error.reason == "CARTRIDGE_MODEL_MISMATCH" else "CARTRIDGE_DAMAGED"
            )
            return CartridgeFacts(record.id, problem=(reason, str(error))), None
        if problem := self._position_problem(question, cartridge):
            return CartridgeFacts(record.id, problem=problem), None
        recovered = record.metrics.get("recovered", 0.0)
        return CartridgeFacts(record.id, recovered), cartridge

    def _position_problem(self, question: Question, cartridge: Cartridge) -> tuple[str, str] | None:
        """A question stands behind the whole text that its cartridge stands for."""
        asked = len(self._routes.prompter.question_ids(question.text))
        window, before = self._thread.model.geometry.window, cartridge.prefix.query_offset
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
                f"cartridge {record.id} was trained on an earlier content of the corpus; train it again",
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


def _check_deadline(question: Question) -> None:
    if question.deadline is not None and time.monotonic() >= question.deadline:
        raise _deadline_passed()


def _deadline_passed() -> ServiceError:
    return fail(
        "DEADLINE_PASSED",
        "the call's deadline passed before the answer began; allow more time or ask less at once",
    )

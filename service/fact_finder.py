"""Gathers what a decision is made from: records, manifests and a cheap search. Reads no tensors."""

import time
from dataclasses import replace

from cartridges.guard import Guard
from cartridges.manifest import CartridgeError, Manifest
from cartridges.store import Cartridge
from engine.model import LanguageModel
from retrieval.question_kind import kind_of, names_nothing
from service.answers import Question
from service.errors import ServiceError
from service.library import Library, ResidentCorpus
from service.routes import Budget, Routes
from service.routing.facts import CartridgeFacts, Facts
from service.staleness import share_changed
from service.state.cartridge_shelf import CartridgeRecord, CartridgeShelf, CartridgeState
from service.state.corpus import Corpus

EXPECTED_ANSWER = 32  # tokens, unless the caller allows fewer


class FactFinder:
    """Used on the model's thread."""

    def __init__(
        self,
        library: Library,
        routes: Routes,
        shelf: CartridgeShelf,
        model: LanguageModel,
        stale: float = 0.0,
    ) -> None:
        self._library, self._routes, self._shelf, self._model = library, routes, shelf, model
        self._stale = stale  # share of windows that may have changed since a cartridge was trained

    def facts(
        self,
        question: Question,
        corpus: Corpus,
        resident: ResidentCorpus,
        room: int,
        budget: Budget,
    ) -> Facts:
        """All that is known of a question before it is answered."""
        found = self._routes.survey(resident, question.text)
        window = resident.window_of(found.sentence) if found.sentence >= 0 else ""
        deadline = question.deadline
        return Facts(
            corpus_tokens=resident.context_tokens,
            room=room,
            kind=kind_of(question.text),
            is_nameless=names_nothing(question.text),
            survey=found,
            is_fresh=resident.catalog.corpus_digest == corpus.content_digest,
            cartridge=self._cartridge(question, corpus, resident, window),
            sentences=len(resident.index),
            evidence=budget.evidence,
            asked=len(self._routes.prompter.question_ids(question.text)),
            answer=min(EXPECTED_ANSWER, question.sampling.max_tokens),
            seconds_left=None if deadline is None else deadline - time.monotonic(),
            rehearsal=resident.catalog.rehearsal,
        )

    def load(self, corpus: Corpus, facts: CartridgeFacts) -> Cartridge:
        """The part that was decided on. Raises CartridgeError where its files do not fit."""
        return self._library.part(corpus.id, facts.id, facts.tensor_digest, facts.part).cartridge

    def _cartridge(
        self, question: Question, corpus: Corpus, resident: ResidentCorpus, window: str
    ) -> CartridgeFacts | None:
        record = self._record(question, corpus)
        if record is None:
            return None
        if problem := _state_problem(record):
            return CartridgeFacts(record.id, problem=problem)
        try:
            manifest = self._library.manifest(corpus.id, record.id, record.tensor_digest)
        except CartridgeError as error:
            return CartridgeFacts(record.id, problem=(error.reason, str(error)))
        except ServiceError as error:  # it lies in a store that does not answer
            return CartridgeFacts(record.id, problem=(error.reason, error.message))
        changed = 0.0
        if record.state is CartridgeState.STALE:
            changed = share_changed(manifest.windows, resident.windows)
        if changed > self._stale or (record.state is CartridgeState.STALE and not self._stale):
            return CartridgeFacts(record.id, changed=changed, problem=_staleness(record, changed))
        found = self._of_part(question, record, manifest, manifest.part_of(window))
        return replace(found, changed=changed)

    def _of_part(
        self, question: Question, record: CartridgeRecord, manifest: Manifest, number: int
    ) -> CartridgeFacts:
        part = manifest.parts[number]
        measured = part.metrics or record.metrics
        is_loaded = self._library.holds(record.corpus_id, record.id, record.tensor_digest, number)
        size = record.size_bytes / len(manifest.parts)
        return CartridgeFacts(
            record.id,
            measured.get("recovered", 0.0),
            Guard.of_metrics(record.metrics),
            part=number,
            parts=len(manifest.parts),
            prefix_tokens=part.prefix_tokens,
            mebibytes=0.0 if is_loaded else size / 1024**2,
            tensor_digest=record.tensor_digest,
            problem=self._position_problem(question, part.query_offset),
        )

    def _position_problem(self, question: Question, before: int) -> tuple[str, str] | None:
        """A question stands behind the whole text that its cartridge stands for."""
        asked = len(self._routes.prompter.question_ids(question.text))
        window = self._model.geometry.window
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
        ready = self._shelf.newest_ready(corpus.id, self._model.fingerprint)
        if ready:
            return ready
        newest, _ = self._shelf.list(corpus.id, 1)
        return newest[0] if newest else None


def _staleness(record: CartridgeRecord, changed: float) -> tuple[str, str]:
    much = f", {changed:.0%} of which is another now" if changed else ""
    return (
        "CARTRIDGE_STALE",
        f"cartridge {record.id} was trained on an earlier content of the corpus{much}; refresh it "
        f"with `longmemory cartridge refresh {record.corpus_id}/{record.id}`",
    )


def _state_problem(record: CartridgeRecord) -> tuple[str, str] | None:
    match record.state:
        case CartridgeState.TRAINING:
            return (
                "CARTRIDGE_NOT_READY",
                f"cartridge {record.id} is still being trained; watch its job with `longmemory jobs ls`",
            )
        case CartridgeState.FAILED:
            why = record.error.message if record.error else "its training failed"
            return ("CARTRIDGE_NOT_READY", f"cartridge {record.id} failed: {why}; train it again")
    return None

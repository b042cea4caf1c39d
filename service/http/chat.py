"""`/v1/chat/completions`: a question's events to a completion, whole or as server-sent events."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from retrieval.corpus_index import Evidence
from service.answers import AnswerEvent, Decision, Delta, Question, ReadSoFar, Route, Summary
from service.errors import ServiceError, fail
from service.file_errors import file_error
from service.http import errors
from service.http.chat_request import ChatRequest
from service.http.presence import until_gone
from service.rpc.backend import Backend
from service.stopped_reader import taken
from service.text_answering import TextEvent

_PIECE = 64 * 1024  # characters of an inline text that are read at a time
_log = structlog.stdlib.get_logger("longmemory.http")


@dataclass
class Completion:
    """One answer as it grows, in OpenAI's words."""

    asked: ChatRequest
    route: str = Route.INFINI_RETRI.value  # of an inline text, which no router decides on
    memory: dict[str, Any] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    summary: Summary | None = None
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def add(self, event: AnswerEvent | TextEvent) -> None:
        """Takes in the next event."""
        if isinstance(event, Decision):
            self.route = event.route.value
            self.memory |= {"reason": event.reason, "explanation": event.explanation}
            self.memory |= {"decision_id": event.id, "signals": dict(event.signals)}
            self.memory["fallbacks"] = [asdict(one) for one in event.fallbacks]
        elif isinstance(event, Delta):
            self.texts.append(event.text)
        elif isinstance(event, Summary):
            self.summary = event
        elif isinstance(event, ReadSoFar):
            self.memory["read"] = asdict(event)
        else:
            self.memory["evidence"] = [_evidence(one) for one in event]

    def whole(self) -> dict[str, Any]:
        """The completion once its summary is there."""
        message = {"role": "assistant", "content": "".join(self.texts), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self.finish, "logprobs": None}
        return self._named("chat.completion", [choice]) | {
            "usage": self.usage,
            "longmemory": self.told,
        }

    def chunk(self, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        """A part of a streamed completion."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return self._named("chat.completion.chunk", [choice])

    def usage_chunk(self) -> dict[str, Any]:
        """The part that tells what the answer took."""
        return self._named("chat.completion.chunk", []) | {"usage": self.usage}

    @property
    def told(self) -> dict[str, Any]:
        """What OpenAI's API has no field for."""
        return {"route": self.route, "unread_messages": self.asked.unread_messages} | self.memory

    @property
    def finish(self) -> str:
        return self.summary.finish.value if self.summary else "stop"

    @property
    def usage(self) -> dict[str, Any]:
        """Rows of a cartridge count as cached tokens of the prompt."""
        used = self.summary.usage if self.summary else None
        prefix = used.prefix_tokens if used else 0
        prompt = prefix + used.prompt_tokens if used else 0
        output = used.output_tokens if used else 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": prefix},
        }

    def _named(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        named = {"id": self.id, "object": kind, "created": self.created}
        return named | {"model": self.asked.model, "choices": choices}


async def complete(backend: Backend, asked: ChatRequest, receive: Receive) -> Response:
    """The response; a client that leaves ends the generation. Raises what the answerers raise."""
    if isinstance(asked.question, Question):
        await asyncio.to_thread(_check_exists, backend, asked.question)
    answer, events = Completion(asked), _events(backend, asked)
    if asked.is_streamed:
        # The first event settles route and status, both of which go ahead of the stream.
        answer.add(await until_gone(receive, anext(events)))
        return EventStream(answer, events, backend.limits.reader_seconds)
    await until_gone(receive, _collect(answer, events))
    return JSONResponse(answer.whole(), headers={"x-longmemory-route": answer.route})


async def _collect(answer: Completion, events: AsyncGenerator[Any]) -> None:
    async with aclosing(events):
        async for event in events:
            answer.add(event)


class EventStream(Response):
    """A completion as server-sent events, ended with the client or the server."""

    media_type = "text/event-stream"

    def __init__(
        self, answer: Completion, events: AsyncGenerator[Any], reader_seconds: float
    ) -> None:
        super().__init__(headers={"x-longmemory-route": answer.route, "cache-control": "no-cache"})
        del self.headers["content-length"]
        self._answer, self._events = answer, events
        self._reader_seconds = reader_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events; closes them whatever happens. Nobody is left to tell of a client gone."""
        async with aclosing(self._events):
            with suppress(ClientDisconnect):
                await until_gone(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for chunk in self._chunks():
            text = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False)
            body = f"data: {text}\n\n".encode()
            part = {"type": "http.response.body", "body": body, "more_body": True}
            await taken(send(part), self._reader_seconds)
        await send({"type": "http.response.body", "body": b""})

    async def _chunks(self) -> AsyncIterator[dict[str, Any] | str]:
        answer = self._answer
        yield answer.chunk({"role": "assistant", "content": ""})
        try:
            async for event in self._events:
                answer.add(event)
                if isinstance(event, Delta):
                    yield answer.chunk({"content": event.text})
        except ServiceError as error:
            yield errors.body(error)
            return
        except Exception as error:
            known = file_error(error)
            if known is None:
                _log.exception("a stream failed", completion=answer.id)
                known = fail("INTERNAL", f"the server failed on {answer.id}; see its log")
            yield errors.body(known)
            return
        yield answer.chunk({}, answer.finish) | {"longmemory": answer.told}
        if answer.asked.include_usage:
            yield answer.usage_chunk()
        yield "[DONE]"


def _events(backend: Backend, asked: ChatRequest) -> Any:
    if isinstance(asked.question, Question):
        return backend.answerer.answer(asked.question)
    return backend.text_answerer.answer(asked.question, _pieces(asked.text))


async def _pieces(text: str) -> AsyncIterator[str]:
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def _check_exists(backend: Backend, question: Question) -> None:
    backend.corpora.require(question.corpus_id)
    if question.cartridge_id:
        backend.shelf.get(question.corpus_id, question.cartridge_id)


def _evidence(span: Evidence) -> dict[str, Any]:
    named = {"document": span.document, "start": span.start, "end": span.end}
    return named | {"score": float(span.score), "text": span.text}

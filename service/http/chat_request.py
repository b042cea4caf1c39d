"""The body of a chat completion to a question to a corpus, or to a text that comes with it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from engine.sampling import SamplingParams
from service import ids
from service.answers import WISHES, Question, Reading, Route
from service.errors import fail, quoted
from service.http.wire import flag, invalid, number, text, whole
from service.limits import Limits
from service.text_answering import TextQuestion

_Word = TypeVar("_Word", bound=StrEnum)
INLINE = "memory"
PREFIX = "memory/"
_LAST_BLANK_LINE = re.compile(r"(.*)\n[ \t\r]*\n(.*)", re.DOTALL)
_MAX_STOPS = 16
_ROLES = ("system", "developer", "user", "assistant")
_READ = {
    "model", "messages", "stream", "stream_options", "temperature", "top_p", "seed", "stop",
    "max_tokens", "max_completion_tokens", "longmemory",
}  # fmt: skip
_HARMLESS = {"user", "metadata", "store", "safety_identifier", "service_tier"}
_NEUTRAL: dict[str, tuple[object, ...]] = {  # what these fields may say: nothing
    "n": (1,),
    "logprobs": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none",),
    "parallel_tool_calls": (True, False),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request. `text` is the inline text, empty for a question to a corpus."""

    model: str
    question: Question | TextQuestion
    text: str
    unread_messages: int  # earlier messages, which a question to a corpus stands without
    is_streamed: bool
    include_usage: bool


def parse(body: dict[str, Any], limits: Limits, deadline: float | None = None) -> ChatRequest:
    """The request in a body; `deadline` is in `time.monotonic()` seconds.

    Raises ServiceError: INVALID_VALUE, MODEL_NOT_FOUND, QUESTION_EMPTY, QUESTION_TOO_LONG, TEXT_EMPTY.
    """
    _check_fields(body)
    model, messages = text(body, "model"), _messages(body.get("messages"))
    sampling = _sampling(body, limits)
    extra = _object(body.get("longmemory"), "longmemory")
    options = _object(body.get("stream_options"), "stream_options")
    asked: Question | TextQuestion
    if model == INLINE:
        context, question = _split(messages)
        unread = 0
        most = _text_budget(extra)
        asked = TextQuestion(_question(question, limits), most, sampling, deadline)
    else:
        context, unread = "", len(messages) - 1
        made = _corpus_question(model, _question(messages[-1], limits), extra, sampling)
        asked = replace(made, deadline=deadline)
    return ChatRequest(
        model, asked, context, unread,
        flag(body.get("stream"), "stream"),
        flag(options.get("include_usage"), "stream_options.include_usage"),
    )  # fmt: skip


def corpus_of(model: str) -> str:
    """The corpus that a model's name stands for; raises MODEL_NOT_FOUND."""
    if not model.startswith(PREFIX):
        raise fail(
            "MODEL_NOT_FOUND",
            f"model: there is no {quoted(model)}; name 'memory/<corpus>', or 'memory' for a text "
            "in the prompt",
            field="model",
        )
    return ids.parse_id(model.removeprefix(PREFIX), "model")


def _check_fields(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name in _READ or name in _HARMLESS or value is None:
            continue
        if value not in _NEUTRAL.get(name, ()):
            raise invalid(quoted(name)[1:-1], "this service does not support it; leave it out")


def _messages(value: object) -> list[str]:
    """The texts of the messages, the last one a user's."""
    if not isinstance(value, list) or not value:
        raise invalid("messages", "there is none; end them with a user's message")
    texts = []
    for place, message in enumerate(value):
        field = f"messages[{place}]"
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise invalid(f"{field}.role", f"it is none of {', '.join(_ROLES)}; use one of them")
        texts.append(_content(message.get("content"), f"{field}.content"))
    if value[-1]["role"] != "user":
        raise invalid("messages", "the last one is not the user's; end with the question")
    return texts


def _content(value: object, field: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise invalid(field, "it is neither a text nor a list of text parts; give one of them")
    texts = []
    for place, part in enumerate(value):
        is_text = isinstance(part, dict) and part.get("type") == "text"
        if not is_text or not isinstance(part.get("text"), str):
            raise invalid(f"{field}[{place}]", "it is not a text part; only text is supported")
        texts.append(part["text"])
    return "".join(texts)


def _split(messages: list[str]) -> tuple[str, str]:
    """The text and the question: what stands before and behind the last blank line."""
    last = messages[-1].strip()
    earlier = messages[:-1]
    if halves := _LAST_BLANK_LINE.fullmatch(last):
        earlier, last = [*earlier, halves[1]], halves[2]
    context = "\n\n".join(earlier)
    if not context.strip():
        raise fail(
            "TEXT_EMPTY",
            "messages: there is no text before the question; write the text, a blank line, then "
            "the question, or name a corpus as model 'memory/<corpus>'",
            field="messages",
        )
    return context, last


def _question(value: str, limits: Limits) -> str:
    if not value.strip():
        raise fail("QUESTION_EMPTY", "messages: the question has no text", field="messages")
    if len(value) > limits.max_question_chars:
        raise fail(
            "QUESTION_TOO_LONG",
            f"messages: the question has {len(value)} characters, the limit is "
            f"{limits.max_question_chars}; shorten it, or ask model 'memory' with the text before "
            "a blank line",
            field="messages",
        )
    return value


def _corpus_question(
    model: str, question: str, extra: dict[str, Any], sampling: SamplingParams
) -> Question:
    corpus_id = corpus_of(model)
    _only(extra, ("route", "reader", "cartridge", "max_prompt_tokens"))
    cartridge = extra.get("cartridge") or ""
    if not isinstance(cartridge, str):
        raise invalid("longmemory.cartridge", "it is not the id of a cartridge; give one")
    if cartridge:
        ids.parse_id(cartridge, "longmemory.cartridge")
    route = _one_of(WISHES, extra.get("route") or "auto", "longmemory.route")
    if cartridge and route not in (Route.AUTO, Route.CARTRIDGE):
        raise invalid("longmemory.cartridge", f"the route {route.value} uses none; leave it out")
    return Question(
        corpus_id, question, route, cartridge, _budget(extra), sampling,
        reading=_one_of(tuple(Reading), extra.get("reader") or "default", "longmemory.reader"),
    )  # fmt: skip


def _text_budget(extra: dict[str, Any]) -> int:
    _only(extra, ("route", "max_prompt_tokens"))
    if extra.get("route") not in (None, "auto", "infini_retri"):
        raise invalid("longmemory.route", "an inline text is read by infini_retri; leave it out")
    return _budget(extra)


def _budget(extra: dict[str, Any]) -> int:
    most = whole(extra.get("max_prompt_tokens") or 0, "longmemory.max_prompt_tokens")
    if most < 0:
        raise invalid("longmemory.max_prompt_tokens", "it is negative; use 0 or more")
    return most


def _one_of(known: Sequence[_Word], value: object, field: str) -> _Word:
    for one in known:
        if one.value == value:
            return one
    names = ", ".join(one.value for one in known)
    raise invalid(field, f"it is none of {names}; use one of them")


def _only(extra: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in extra:
        if name not in names:
            field = f"longmemory.{quoted(name)[1:-1]}"
            raise invalid(field, f"there is no such field; use {', '.join(names)}")


def _object(value: object, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(field, "it is not an object; give one")
    return value


def _sampling(body: dict[str, Any], limits: Limits) -> SamplingParams:
    params = SamplingParams(max_tokens=min(SamplingParams().max_tokens, limits.max_output_tokens))
    readers = {
        "max_tokens": ("max_tokens", whole), "max_completion_tokens": ("max_tokens", whole),
        "temperature": ("temperature", number), "top_p": ("top_p", number), "seed": ("seed", whole),
    }  # fmt: skip
    for field, (name, read) in readers.items():
        if body.get(field) is not None:
            try:
                params = replace(params, **{name: read(body[field], field)})  # type: ignore[arg-type]
            except ValueError as error:
                raise invalid(field, str(error)) from None
    if params.max_tokens > limits.max_output_tokens:
        raise invalid(
            "max_tokens", f"it is above the limit of {limits.max_output_tokens}; lower it"
        )
    return replace(params, stop=_stops(body.get("stop")))


def _stops(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
        raise invalid("stop", "it is not a text or a list of texts that are not empty; give one")
    if len(stops) > _MAX_STOPS:
        raise invalid("stop", f"there are {len(stops)}; give at most {_MAX_STOPS}")
    return tuple(stops)

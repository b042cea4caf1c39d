"""A query request to a validated question.

A failed check names the field by its path in the request, such as `query.budget`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from longmemory.v1 import query_pb2

from engine.sampling import SamplingParams
from service import ids
from service.answers import WISHES, Question, Reading, Route
from service.errors import ServiceError, fail
from service.limits import Limits
from service.rpc.answer_wire import ROUTES
from service.text_answering import TextQuestion

# Every new token is compared with each of them; no known format needs more.
_MAX_STOP_SEQUENCES = 16

_READINGS: dict[int, Reading] = {
    query_pb2.READER_UNSPECIFIED: Reading.DEFAULT,
    query_pb2.READER_INDEXED: Reading.INDEXED,
    query_pb2.READER_STREAMING: Reading.STREAMING,
    query_pb2.READER_PUBLISHED: Reading.PUBLISHED,
}
_ROUTE_OF_NUMBER: dict[int, Route] = {number: route for route, number in ROUTES.items()}


def question(
    request: query_pb2.QueryRequest, limits: Limits, deadline: float | None, path: str = ""
) -> Question:
    """The question in a request; `path` stands before each field's name in an error.

    Raises MALFORMED_ID, INVALID_VALUE, QUESTION_EMPTY, QUESTION_TOO_LONG.
    """
    corpus_id = ids.parse_corpus_name(request.corpus, f"{path}corpus")
    ids.parse_request_id(request.request_id, f"{path}request_id")
    route = _route(request.route, f"{path}route")
    return Question(
        corpus_id=corpus_id,
        text=_text(request.query, limits, f"{path}query"),
        route=route,
        cartridge_id=_cartridge_id(request.cartridge, corpus_id, route, f"{path}cartridge"),
        max_prompt_tokens=_not_negative(
            request.budget.max_prompt_tokens, f"{path}budget.max_prompt_tokens"
        ),
        sampling=_sampling(request.generation_config, limits, f"{path}generation_config"),
        deadline=deadline,
        reading=_reading(request.reader, f"{path}reader"),
    )


def text_question(
    query: query_pb2.TextQuery, limits: Limits, deadline: float | None
) -> TextQuestion:
    """The question that comes before a text. Raises what `question` raises."""
    field = "question.reader"
    if _reading(query.reader, field) not in (Reading.DEFAULT, Reading.STREAMING):
        raise _invalid(field, "a text that is sent along is read by the streaming reader alone")
    return TextQuestion(
        text=_text(query.query, limits, "question.query"),
        max_prompt_tokens=_not_negative(
            query.budget.max_prompt_tokens, "question.budget.max_prompt_tokens"
        ),
        sampling=_sampling(query.generation_config, limits, "question.generation_config"),
        deadline=deadline,
    )


def candidates(most: int, limits: Limits) -> int:
    """How many candidates a caller wants to see."""
    field = "max_candidates"
    if most > limits.max_candidates:
        raise _invalid(field, f"{most} is above the limit of {limits.max_candidates}; lower it")
    return _not_negative(most, field)


def verdict(number: int) -> bool:
    """Whether an answer was right."""
    if number not in (query_pb2.VERDICT_GOOD, query_pb2.VERDICT_BAD):
        raise _invalid("verdict", "it is not set; say VERDICT_GOOD or VERDICT_BAD")
    return number == query_pb2.VERDICT_GOOD


def _text(text: str, limits: Limits, field: str) -> str:
    if not text.strip():
        raise fail("QUESTION_EMPTY", f"{field}: the question has no text; write one", field=field)
    if len(text) > limits.max_question_chars:
        raise fail(
            "QUESTION_TOO_LONG",
            f"{field}: the question has {len(text)} characters, the limit is "
            f"{limits.max_question_chars}; shorten it, or upload the long part as a document",
            field=field,
            limit=limits.max_question_chars,
        )
    return text


def _route(number: int, field: str) -> Route:
    route = _ROUTE_OF_NUMBER.get(number)
    if route is None:
        raise _invalid(field, f"{number} is no route; use one that the service's proto names")
    if route not in WISHES:
        raise _invalid(field, "whether to decline is for the router to say; leave the route unset")
    return route


def _reading(number: int, field: str) -> Reading:
    reading = _READINGS.get(number)
    if reading is None:
        raise _invalid(field, f"{number} is no reader; use one that the service's proto names")
    return reading


def _cartridge_id(name: str, corpus_id: str, route: Route, field: str) -> str:
    if not name:
        return ""
    named = ids.parse_cartridge_name(name, field)
    if named.corpus_id != corpus_id:
        raise _invalid(field, "the cartridge belongs to another corpus; name one of this corpus")
    if route not in (Route.AUTO, Route.CARTRIDGE):
        raise _invalid(field, f"the route {route.value} uses no cartridge; leave one of them out")
    return named.cartridge_id


def _not_negative(value: int, field: str) -> int:
    if value < 0:
        raise _invalid(field, f"{value} is negative; use 0 for the server's default, or more")
    return value


def _sampling(config: query_pb2.GenerationConfig, limits: Limits, field: str) -> SamplingParams:
    default = SamplingParams()
    params = replace(default, max_tokens=min(default.max_tokens, limits.max_output_tokens))
    steps: dict[str, Callable[[SamplingParams], SamplingParams]] = {
        "max_output_tokens": lambda p: replace(p, max_tokens=config.max_output_tokens),
        "temperature": lambda p: replace(p, temperature=config.temperature),
        "top_p": lambda p: replace(p, top_p=config.top_p),
        "seed": lambda p: replace(p, seed=config.seed),
    }
    for name, step in steps.items():
        if config.HasField(name):
            try:
                params = step(params)
            except ValueError as error:
                raise _invalid(f"{field}.{name}", str(error)) from None
    if params.max_tokens > limits.max_output_tokens:
        wrong = f"{params.max_tokens} is above the limit of {limits.max_output_tokens}; lower it"
        raise _invalid(f"{field}.max_output_tokens", wrong)
    return replace(params, stop=_stops(tuple(config.stop_sequences), f"{field}.stop_sequences"))


def _stops(stops: tuple[str, ...], field: str) -> tuple[str, ...]:
    if len(stops) > _MAX_STOP_SEQUENCES:
        raise _invalid(field, f"there are {len(stops)}; give at most {_MAX_STOP_SEQUENCES}")
    if "" in stops:
        raise _invalid(field, "one is empty and would end every answer at once; leave it out")
    return stops


def _invalid(field: str, wrong: str) -> ServiceError:
    return fail("INVALID_VALUE", f"{field}: {wrong}", field=field)

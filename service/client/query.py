"""A question as a message: the caller's words and options, checked where the server cannot."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TypedDict

from longmemory.v1 import query_pb2

from service.client.types import Reader, Route


class AskOptions(TypedDict, total=False):
    """Options of a question; what is left out, or None, takes the server's default."""

    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    stop: Sequence[str]
    cartridge: str  # corpora/{corpus}/cartridges/{cartridge}
    max_prompt_tokens: int
    reader: str


def query_request(
    corpus: str, question: str, route: str, options: AskOptions
) -> query_pb2.QueryRequest:
    """The request of a question. Raises ValueError for a route that does not exist."""
    return query_pb2.QueryRequest(
        corpus=corpus,
        query=question,
        route=_route(route),
        cartridge=options.get("cartridge", ""),
        generation_config=_generation(options),
        budget=query_pb2.Budget(max_prompt_tokens=options.get("max_prompt_tokens", 0)),
        request_id=str(uuid.uuid4()),
        reader=_reader(options.get("reader", Reader.DEFAULT)),
    )


def text_requests(
    question: str, pieces: Iterable[str], options: AskOptions
) -> Iterator[query_pb2.QueryTextRequest]:
    """The messages of a question with its text: the question first, then the text in order."""
    yield query_pb2.QueryTextRequest(
        question=query_pb2.TextQuery(
            query=question,
            generation_config=_generation(options),
            budget=query_pb2.Budget(max_prompt_tokens=options.get("max_prompt_tokens", 0)),
        )
    )
    for piece in pieces:
        yield query_pb2.QueryTextRequest(text=piece)


def _generation(options: AskOptions) -> query_pb2.GenerationConfig:
    return query_pb2.GenerationConfig(
        max_output_tokens=options.get("max_output_tokens"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        seed=options.get("seed"),
        stop_sequences=options.get("stop", ()),
    )


def _reader(name: str) -> str:
    if name not in list(Reader):
        raise ValueError(f"reader is {name!r}; use one of {', '.join(Reader)}")
    return "READER_UNSPECIFIED" if name == Reader.DEFAULT else f"READER_{name.upper()}"


def _route(name: str) -> str:
    if name not in list(Route):
        raise ValueError(f"route is {name!r}; use one of {', '.join(Route)}")
    return "ROUTE_UNSPECIFIED" if name == Route.AUTO else f"ROUTE_{name.upper()}"

"""A question as a message: the caller's words and options, checked where the server cannot."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TypedDict

from longmemory.v1 import query_pb2

from service.client.types import Route


class AskOptions(TypedDict, total=False):
    """Options of a question; what is left out, or None, takes the server's default."""

    max_output_tokens: int | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    stop: Sequence[str]
    cartridge: str  # corpora/{corpus}/cartridges/{cartridge}
    max_prompt_tokens: int


def query_request(
    corpus: str, question: str, route: str, options: AskOptions
) -> query_pb2.QueryRequest:
    """The request of a question. Raises ValueError for a route that does not exist."""
    return query_pb2.QueryRequest(
        corpus=corpus,
        query=question,
        route=_route(route),
        cartridge=options.get("cartridge", ""),
        generation_config=query_pb2.GenerationConfig(
            max_output_tokens=options.get("max_output_tokens"),
            temperature=options.get("temperature"),
            top_p=options.get("top_p"),
            seed=options.get("seed"),
            stop_sequences=options.get("stop", ()),
        ),
        budget=query_pb2.Budget(max_prompt_tokens=options.get("max_prompt_tokens", 0)),
        request_id=str(uuid.uuid4()),
    )


def _route(name: str) -> str:
    if name not in list(Route):
        raise ValueError(f"route is {name!r}; use one of {', '.join(Route)}")
    return "ROUTE_UNSPECIFIED" if name == Route.AUTO else f"ROUTE_{name.upper()}"

"""`/v1/models`: the corpora by the names that a completion asks them by."""

import asyncio
from typing import Any

from service.http.chat_request import INLINE, PREFIX, corpus_of
from service.rpc.backend import Backend
from service.state.corpus import Corpus
from service.state.pages import all_pages


async def listing(backend: Backend) -> dict[str, Any]:
    """Every corpus, the embedder, and the model that reads a text in the prompt."""
    corpora = await asyncio.to_thread(_all, backend)
    names = (INLINE, backend.info.embedder)
    data = [_model(name, 0) for name in names] + [_of(corpus) for corpus in corpora]
    return {"object": "list", "data": data}


async def one(backend: Backend, model: str) -> dict[str, Any]:
    """One model; raises MODEL_NOT_FOUND, CORPUS_NOT_FOUND."""
    if model in (INLINE, backend.info.embedder):
        return _model(model, 0)
    return _of(await asyncio.to_thread(backend.corpora.get, corpus_of(model)))


def _all(backend: Backend) -> list[Corpus]:
    most = backend.limits.max_page_size
    return list(all_pages(lambda token: backend.corpora.list(most, token)))


def _of(corpus: Corpus) -> dict[str, Any]:
    return _model(PREFIX + corpus.id, int(corpus.create_time))


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "longmemory"}

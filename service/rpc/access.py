"""Before every call: whose token it carries, whether that may call this, and the tenant's backend."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from service.errors import fail
from service.rpc.backend import Backend
from service.rpc.handlers import Handler, HandlerInterceptor
from service.rpc.permissions import EXEMPT, check
from service.telemetry.call import note
from service.tokens import DEFAULT_TENANT, Caller, TokenFile
from service.whose_call import works_for

TOKEN_KEY = "authorization"
"""The metadata key of the token, written as `Bearer <token>`."""

Metadata = Iterable[tuple[str, str | bytes]]

Use = Callable[[str], AbstractAsyncContextManager[Backend]]
"""Lends the backend of a tenant for the time of one call; raises ServiceError."""

_current: ContextVar[Backend] = ContextVar("backend")


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in and to what; without `tokens` everybody is the default tenant's admin."""

    use: Use
    tokens: TokenFile | None = None
    is_on: Callable[[], bool] = lambda: True  # asked at every call: the first token closes the door

    def caller(self, method: str, metadata: Metadata) -> Caller:
        """Who calls a method.

        Raises:
            ServiceError: TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, ROLE_TOO_LOW.
        """
        if self.tokens is None or not self.is_on():
            return Caller()
        caller = self.tokens.caller(_bearer(metadata))
        check(method, caller)
        return caller

    @asynccontextmanager
    async def lend(self, method: str, metadata: Metadata) -> AsyncIterator[tuple[Caller, Backend]]:
        """Who calls a method and that tenant's backend, for the time of the call; raises as `caller`."""
        caller = self.caller(method, metadata)
        works_for(caller.tenant)
        async with self.use(caller.tenant) as backend:
            yield caller, backend

    @asynccontextmanager
    async def enter(self, method: str, metadata: Metadata) -> AsyncIterator[Caller | None]:
        """Within it servicers find the caller's backend; None stands for a method open to anybody."""
        if method in EXEMPT:
            yield None
            return
        async with self.lend(method, metadata) as (caller, backend):
            if caller.token_id:
                note(tenant=caller.tenant, token=caller.token_id)
            # Not reset: each call runs in a task, so in a context of its own.
            _current.set(backend)
            yield caller


def guarded(use: Use, tokens: TokenFile, auth: bool | None) -> Access:
    """The access of a server that asks for tokens. With `auth` None they are asked for from the first
    one on, until the server ends.
    """
    was_on = bool(auth)

    def is_on() -> bool:
        nonlocal was_on
        was_on = was_on or (auth is None and tokens.exists)
        return was_on

    return Access(use, tokens, is_on)


def only(backend: Backend) -> Use:
    """Lends one backend, the default tenant's, and refuses other tenants with TENANT_NOT_SERVED."""

    @asynccontextmanager
    async def use(tenant: str) -> AsyncIterator[Backend]:
        if tenant != DEFAULT_TENANT:
            raise fail(
                "TENANT_NOT_SERVED",
                f"this server serves the tenant '{DEFAULT_TENANT}' alone; use a token of it",
            )
        yield backend

    return use


def open_to_all(backend: Backend) -> Access:
    """The access of a server with one backend and no tokens."""
    return Access(only(backend))


class CallersBackend:
    """What a servicer works on: the backend of the call under way."""

    @property
    def _backend(self) -> Backend:
        """Raises LookupError outside a call."""
        return _current.get()


class AccessInterceptor(HandlerInterceptor):
    """Lets calls in or refuses them; belongs inside `CallInterceptor`, which tells the error."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def wrapped(self, behaviour: Handler, method: str, is_streaming: bool) -> Handler:
        """The behaviour behind the check."""

        async def one(request: Any, context: Any) -> Any:
            async with self._access.enter(method, context.invocation_metadata() or ()):
                return await behaviour(request, context)

        async def many(request: Any, context: Any) -> AsyncIterator[Any]:
            async with (
                self._access.enter(method, context.invocation_metadata() or ()),
                aclosing(behaviour(request, context)) as messages,
            ):
                async for message in messages:
                    yield message

        return many if inspect.isasyncgenfunction(behaviour) else one


def _bearer(metadata: Metadata) -> str:
    given = [value for key, value in metadata if key.lower() == TOKEN_KEY]
    kind, _, token = given[0].partition(" ") if given and isinstance(given[0], str) else ("",) * 3
    if kind.lower() != "bearer" or not token.strip():
        raise fail(
            "TOKEN_MISSING",
            "the call carries no bearer token; set LONGMEMORY_TOKEN or --token, which sends "
            f"`{TOKEN_KEY}: Bearer TOKEN`",
        )
    return token.strip()

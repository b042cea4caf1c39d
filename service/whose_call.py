"""For which tenant the call that is under way works; known in all tasks that are begun inside it."""

from contextvars import ContextVar

from service.tokens import DEFAULT_TENANT

_TENANT: ContextVar[str] = ContextVar("tenant", default=DEFAULT_TENANT)


def tenant_under_way() -> str:
    """The default tenant's outside a call."""
    return _TENANT.get()


def works_for(tenant: str) -> None:
    """Says it for the rest of the running task, which is one call's own."""
    _TENANT.set(tenant)

"""Who may call what: the least role of every method served. Pure.

A caller reads with READ, changes what is there with WRITE, and needs ADMIN for what cannot be undone
or is shared by all tenants. A method without a row is refused to everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from service.errors import fail
from service.tokens import Caller, Role

_ROLES = {
    "longmemory.v1.CorpusService": {
        Role.READ: "GetCorpus ListCorpora ListDocuments GetUpload",
        Role.WRITE: "CreateCorpus UploadDocuments DeleteDocument IndexCorpus",
        Role.ADMIN: "DeleteCorpus",
    },
    "longmemory.v1.CartridgeService": {
        Role.READ: "GetCartridge ListCartridges GetResidency",
        Role.WRITE: "TrainCartridge WarmCartridge EvictCartridge",
        Role.ADMIN: "DeleteCartridge",
    },
    "longmemory.v1.JobService": {Role.READ: "WatchJob"},
    "longmemory.v1.QueryService": {
        Role.READ: "Query StreamQuery ExplainRoute Retrieve QueryText CountTokens RecordFeedback",
    },
    "longmemory.v1.InfoService": {Role.READ: "GetInfo"},
    "google.longrunning.Operations": {
        Role.READ: "GetOperation ListOperations WaitOperation",
        Role.WRITE: "CancelOperation",
        Role.ADMIN: "DeleteOperation",
    },
    "grpc.reflection.v1alpha.ServerReflection": {Role.READ: "ServerReflectionInfo"},
}

LEAST_ROLES: Mapping[str, Role] = MappingProxyType(
    {
        f"/{service}/{method}": role
        for service, roles in _ROLES.items()
        for role, methods in roles.items()
        for method in methods.split()
    }
)
"""The least role for each method, by its path."""

EXEMPT = frozenset(f"/grpc.health.v1.Health/{method}" for method in ("Check", "Watch", "List"))
"""Methods that anybody may call: probes carry no token, and health names no tenant's things."""


def check(method: str, caller: Caller) -> None:
    """Raises ROLE_TOO_LOW where the caller may not call the method."""
    least = LEAST_ROLES.get(method)
    if least is None or caller.role < least:
        wanted = least.name.lower() if least else "no"
        raise fail(
            "ROLE_TOO_LOW",
            f"{method.rpartition('/')[2]} needs the role {wanted}, the token has "
            f"{caller.role.name.lower()}; use a token with that role",
            needed=wanted,
            role=caller.role.name.lower(),
        )

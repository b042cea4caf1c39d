"""Bearer tokens: whom they stand for, what they may do, and the file that keeps their hashes.

A token is `lm_<id>_<secret>`. The secret has 256 random bits, so one round of SHA-256 is as good as a
slow hash; the id finds the entry, and the digests are compared in constant time.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path

from service.errors import ServiceError, fail
from service.ids import parse_id

DEFAULT_TENANT = "default"
FILE = "tokens.json"

_FORMAT = 1
_TOKEN = re.compile(r"lm_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_MOST_NAME_CHARS = 200
_DAY_SECONDS = 86_400.0


class Role(IntEnum):
    """What a caller may do; each may do all that the ones before it may."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a tenant, a role in it, and the id of the token that said so."""

    tenant: str = DEFAULT_TENANT
    role: Role = Role.ADMIN
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is stored. Times are seconds since the epoch; `expires` is None for never."""

    id: str
    tenant: str
    role: Role
    name: str
    sha256: str
    created: float
    expires: float | None = None

    def is_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


class TokenFile:
    """The tokens in a data folder; changes by other processes are seen at the next call."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = folder / FILE, clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    @property
    def exists(self) -> bool:
        """Whether a token was ever made here; a file whose tokens are all revoked counts."""
        return os.path.lexists(self._path)

    def add(self, tenant: str, role: Role, name: str = "", days: float = 0.0) -> tuple[Token, str]:
        """A new token and its secret, which is nowhere kept; `days` 0 means that it never expires.

        Raises MALFORMED_ID for a tenant that is no id, INVALID_VALUE for the others.
        """
        parse_id(tenant, "tenant")
        if len(name) > _MOST_NAME_CHARS or not name.isprintable():
            raise fail(
                "INVALID_VALUE",
                f"name: it is longer than {_MOST_NAME_CHARS} characters or not printable; shorten it",
                field="name",
            )
        if not 0 <= days < 36_525:
            raise fail(
                "INVALID_VALUE",
                f"expires: {days} days; give more than 0 and less than a century, or leave it out",
                field="expires",
            )
        now, own_id, secret = self._clock(), secrets.token_hex(6), secrets.token_urlsafe(32)
        expires = now + days * _DAY_SECONDS if days else None
        token = Token(own_id, tenant, role, name, _digest(secret), now, expires)
        with self._changing() as tokens:
            tokens[own_id] = token
        return token, f"lm_{own_id}_{secret}"

    def list(self) -> tuple[Token, ...]:
        """All tokens, oldest first."""
        return tuple(sorted(self._read().values(), key=lambda token: (token.created, token.id)))

    def revoke(self, token_id: str) -> Token:
        """Forget a token; raises TOKEN_NOT_FOUND."""
        with self._changing() as tokens:
            if token_id not in tokens:
                raise fail(
                    "TOKEN_NOT_FOUND",
                    f"there is no token {token_id[:20]!r}; see `longmemory token list`",
                    field="id",
                )
            return tokens.pop(token_id)

    def revoke_all(self, tenant: str) -> tuple[Token, ...]:
        """Forget every token of a tenant."""
        with self._changing() as tokens:
            gone = tuple(token for token in tokens.values() if token.tenant == tenant)
            for token in gone:
                del tokens[token.id]
        return gone

    def caller(self, bearer: str) -> Caller:
        """Whom a token stands for.

        Raises:
            ServiceError: TOKEN_INVALID for one that is unknown, revoked or malformed, TOKEN_EXPIRED,
                TOKENS_UNREADABLE where the file cannot be read: then nobody is let in.
        """
        parts = _TOKEN.fullmatch(bearer)
        token = self._read().get(parts[1]) if parts else None
        # Compared for an unknown id too, so that the time tells nothing of which ids there are.
        is_right = hmac.compare_digest(
            _digest(parts[2] if parts else ""), token.sha256 if token else _digest("-")
        )
        if token is None or not is_right:
            raise fail(
                "TOKEN_INVALID",
                "the bearer token is unknown or revoked; ask who runs the server for a new one",
            )
        if token.is_expired(self._clock()):
            raise fail(
                "TOKEN_EXPIRED",
                f"the bearer token {token.id} has expired; ask who runs the server for a new one",
                token_id=token.id,
            )
        return Caller(token.tenant, token.role, token.id)

    def _read(self) -> dict[str, Token]:
        with self._lock:
            try:
                found = os.lstat(self._path)
                seen = (found.st_ino, found.st_mtime_ns, found.st_size)
                if seen != self._seen:
                    self._tokens, self._seen = _load(self._path), seen
            except FileNotFoundError:
                self._tokens, self._seen = {}, None
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                self._seen = None
                raise _unreadable() from error
            return self._tokens

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Token]]:
        """The tokens to be changed, written back at the end; one process at a time."""
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            tokens = dict(self._read())
            yield tokens
            self._write(tokens)
            os.fsync(handle)
        finally:
            os.close(handle)

    def _write(self, tokens: dict[str, Token]) -> None:
        entries = [asdict(one) | {"role": one.role.name.lower()} for one in tokens.values()]
        staging = self._path.with_name(f".{FILE}.{secrets.token_hex(6)}.staging")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(staging, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "tokens": entries}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(self._path)


def parse_role(role: str) -> Role:
    """The role of that name; raises INVALID_VALUE."""
    try:
        return Role[role.upper()]
    except KeyError:
        raise fail(
            "INVALID_VALUE", f"role: {role[:20]!r} is none; use read, write or admin", field="role"
        ) from None


def _load(path: Path) -> dict[str, Token]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(handle, encoding="utf-8") as file:
        if stat.S_IMODE(os.fstat(handle).st_mode) & 0o022:
            raise ValueError("others may write the file of tokens")
        stored = json.load(file)
    if stored["format"] != _FORMAT:
        raise ValueError(f"format {stored['format']}")
    tokens = (Token(**entry) for entry in stored["tokens"])
    return {one.id: replace(one, role=Role[str(one.role).upper()]) for one in tokens}


def _unreadable() -> ServiceError:
    return fail(
        "TOKENS_UNREADABLE",
        f"the server cannot read its {FILE}; who runs it must mend the file: valid JSON, no link, "
        "written by its owner alone",
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

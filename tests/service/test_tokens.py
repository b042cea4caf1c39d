"""Tokens: told once, kept as hashes, seen when they change."""

import json
import os
import stat
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.tokens import FILE, Caller, Role, TokenFile


def reason(tokens: TokenFile, bearer: str) -> str:
    with pytest.raises(ServiceError) as caught:
        tokens.caller(bearer)
    assert bearer not in caught.value.message
    return caught.value.reason


def test_a_token_stands_for_its_tenant_and_role(tmp_path: Path) -> None:
    made, secret = TokenFile(tmp_path).add("books", Role.WRITE, "the importer")
    assert TokenFile(tmp_path).caller(secret) == Caller("books", Role.WRITE, made.id)


def test_the_secret_is_nowhere_in_the_file_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    _, secret = TokenFile(tmp_path).add("books", Role.READ)
    assert secret.split("_", 2)[2] not in (tmp_path / FILE).read_text()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_right_id_with_a_wrong_secret_is_refused(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    (one, _), (_, other) = tokens.add("books", Role.READ), tokens.add("books", Role.READ)
    assert reason(tokens, f"lm_{one.id}_{other.split('_', 2)[2]}") == "TOKEN_INVALID"


def test_a_token_ends_with_its_days(tmp_path: Path) -> None:
    now = [1000.0]
    tokens = TokenFile(tmp_path, lambda: now[0])
    _, secret = tokens.add("books", Role.READ, days=2)
    now[0] += 2 * 86_400 - 1
    assert tokens.caller(secret).tenant == "books"
    now[0] += 1
    assert reason(tokens, secret) == "TOKEN_EXPIRED"


def test_what_another_process_revokes_is_refused_at_once(tmp_path: Path) -> None:
    tokens = TokenFile(tmp_path)
    made, secret = tokens.add("books", Role.READ)
    tokens.caller(secret)
    TokenFile(tmp_path).revoke(made.id)
    assert reason(tokens, secret) == "TOKEN_INVALID"


@pytest.mark.parametrize("harm", ["torn", "linked", "writable"])
def test_a_file_that_cannot_be_trusted_lets_nobody_in(tmp_path: Path, harm: str) -> None:
    tokens, path = TokenFile(tmp_path), tmp_path / FILE
    _, secret = tokens.add("books", Role.READ)
    if harm == "torn":
        path.write_text(path.read_text()[:-9])
    elif harm == "linked":
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
    else:
        os.utime(path, (1, 1))
        path.chmod(0o666)
    assert reason(tokens, secret) == "TOKENS_UNREADABLE"


@pytest.mark.parametrize("tenant", ["", "../up", "Books", "a/b"])
def test_a_tenant_is_an_id(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(ServiceError) as caught:
        TokenFile(tmp_path).add(tenant, Role.READ)
    assert (caught.value.reason, caught.value.field) == ("MALFORMED_ID", "tenant")


def test_a_role_is_stored_by_its_name(tmp_path: Path) -> None:
    TokenFile(tmp_path).add("books", Role.ADMIN)
    stored = json.loads((tmp_path / FILE).read_text())
    assert [token["role"] for token in stored["tokens"]] == ["admin"]

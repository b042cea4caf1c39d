"""TLS as clients meet it: right and wrong authorities, an expired certificate, mTLS, new files."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc_room import open_room

from service.client.connection import Client, ClientError, Credentials
from service.rpc.server import ServerConfig, start
from service.rpc.tls import TlsFiles, tls_files


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """A certificate authority of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.own = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
            "-subj", f"/CN={name}", "-days", "2", "-keyout", self.own.key, "-out",
            self.own.certificate,
        )  # fmt: skip
        (folder / f"{name}.txt").touch()
        (folder / f"{name}.cnf").write_text(
            f"[ca]\ndefault_ca=it\n[it]\ndatabase={folder}/{name}.txt\nnew_certs_dir={folder}\n"
            "rand_serial=yes\ndefault_md=sha256\nunique_subject=no\npolicy=any\nx509_extensions=names\n"
            "[any]\ncommonName=supplied\n[names]\nsubjectAltName=IP:127.0.0.1\n"
        )

    def sign(self, name: str, start: str = "20200101000000Z", end: str = "20990101000000Z") -> Pair:
        made = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        _openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
            "-subj", f"/CN={name}", "-keyout", made.key, "-out", request,
        )  # fmt: skip
        _openssl(
            "ca", "-batch", "-notext", "-config", self._folder / f"{self._name}.cnf", "-in", request,
            "-out", made.certificate, "-cert", self.own.certificate, "-keyfile", self.own.key,
            "-startdate", start, "-enddate", end,
        )  # fmt: skip
        return made


def _openssl(*arguments: object) -> None:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@asynccontextmanager
async def serving(folder: Path, files: TlsFiles) -> AsyncIterator[str]:
    async with open_room(folder) as room:
        server = await start(ServerConfig("127.0.0.1:0", tls=files), room.backend)
        yield server.address
        await server.stop()


async def asked(address: str, credentials: Credentials) -> str:
    """What a client of its own gets: the model's name, or the code of the refusal."""

    def ask() -> str:
        with Client(address, credentials) as client:
            try:
                return client.info(5.0).model_name
            except ClientError as error:
                return error.code

    return await asyncio.to_thread(ask)


async def test_only_who_knows_the_authority_is_served(tmp_path: Path, authority: Authority) -> None:
    own, other = authority.sign("server"), Authority(tmp_path, "other")
    async with serving(tmp_path, TlsFiles(own.certificate, own.key)) as address:
        right = Credentials(tls_ca=authority.own.certificate)
        assert await asked(address, right) == "toy"
        wrong = Credentials(tls_ca=other.own.certificate)
        assert await asked(address, wrong) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
        assert await asked(address, Credentials()) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


async def test_an_expired_certificate_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    own = authority.sign("server", end="20200201000000Z")
    async with serving(tmp_path, TlsFiles(own.certificate, own.key)) as address:
        right = Credentials(tls_ca=authority.own.certificate)
        assert await asked(address, right) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


async def test_a_client_must_show_a_certificate_where_an_authority_is_named(
    tmp_path: Path, authority: Authority
) -> None:
    own, client, ca = authority.sign("server"), authority.sign("client"), authority.own.certificate
    foreign = Authority(tmp_path, "other").sign("stranger")
    async with serving(tmp_path, TlsFiles(own.certificate, own.key, ca)) as address:
        known = Credentials("", ca, client.certificate, client.key)
        assert await asked(address, known) == "toy"
        for one in (Credentials(tls_ca=ca), Credentials("", ca, foreign.certificate, foreign.key)):
            assert await asked(address, one) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


async def test_new_files_are_used_without_a_restart_once_they_fit(
    tmp_path: Path, authority: Authority
) -> None:
    own, second = authority.sign("server"), Authority(tmp_path, "second")
    new = second.sign("renewed")
    old_client = Credentials(tls_ca=authority.own.certificate)
    new_client = Credentials(tls_ca=second.own.certificate)
    async with serving(tmp_path, TlsFiles(own.certificate, own.key)) as address:
        assert await asked(address, old_client) == "toy"
        new.certificate.replace(own.certificate)  # its key comes later: the old pair stays
        assert await asked(address, old_client) == "toy"
        new.key.replace(own.key)
        assert await asked(address, new_client) == "toy"
        assert await asked(address, old_client) != "toy"


def test_files_that_do_not_fit_are_refused_at_the_start(authority: Authority) -> None:
    one, two = authority.sign("one"), authority.sign("two")
    TlsFiles(one.certificate, one.key).check()
    with pytest.raises(ValueError, match="cannot be used"):
        TlsFiles(one.certificate, two.key).check()
    with pytest.raises(ValueError, match="name both"):
        tls_files(one.certificate, None, None)


def test_another_machine_may_be_let_in_over_tls(authority: Authority) -> None:
    own = authority.sign("server")
    ServerConfig("0.0.0.0:1", tls=TlsFiles(own.certificate, own.key))
    with pytest.raises(ValueError, match="TLS certificate"):
        ServerConfig("0.0.0.0:1")

"""The container file: lint, and that it agrees with the package it installs. `image.sh` builds it."""

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy_room import DEPLOY, ROOT

TEXT = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_hadolint_has_nothing_to_say(program: Callable[..., Any]) -> None:
    beside = Path(sys.executable).parent / "hadolint"  # a package of the dev extra
    done = program(str(beside) if beside.exists() else "hadolint", DEPLOY / "Containerfile")
    assert done.returncode == 0, done.stdout


def test_the_base_is_pinned_by_digest_and_every_stage_uses_it() -> None:
    assert re.search(r"^ARG BASE=\S+:\S+@sha256:[0-9a-f]{64}$", TEXT, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)) == {"${BASE}"}


def test_a_variant_is_an_extra_of_the_package() -> None:
    variants = set(re.findall(r"VARIANT=(\w+)", TEXT))
    assert variants == {"cpu", "gpu"}
    assert variants <= PROJECT["project"]["optional-dependencies"].keys()


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_is() -> None:
    last = TEXT[TEXT.rindex("FROM ") :]
    assert "\nUSER 10001:10001\n" in last
    assert '\n    CMD ["python3", "/opt/longmemory/health.py"]\n' in last
    assert last.index("USER ") > last.index("RUN ")


def test_nothing_listens_beyond_the_container_by_default() -> None:
    assert 'CMD ["serve"]' in TEXT
    assert "--insecure" not in TEXT


def test_the_build_sees_every_package_and_no_data() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    admitted = {line.removeprefix("!").split("/")[0] for line in lines if line.startswith("!")}
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        top = package.split(".")[0]
        assert folders.get(top, top).split("/")[0] in admitted, package
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE):
        for source in copied.split():
            assert source == "." or source.split("/")[0] in admitted, source
    assert not admitted & {".work", ".venv", ".git", "tests"}

"""Every package that is installed is pinned by hash, torch alone by its version."""

import re
from pathlib import Path

import pytest
from deploy_room import DEPLOY, ROOT

LOCKS = {path.name: path for path in DEPLOY.glob("*.lock")}
HASHED = sorted(LOCKS.keys() - {"torch.lock"})


def entries(path: Path) -> dict[str, str]:
    """What is said of each package, by its name."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return {line.split("==")[0].strip(): line for line in lines if line.strip()}


def test_there_is_a_lock_for_development_and_one_for_each_image() -> None:
    assert LOCKS.keys() == {"requirements.lock", "cpu.lock", "gpu.lock", "torch.lock"}


@pytest.mark.parametrize("name", HASHED)
def test_every_package_of_a_lock_has_its_version_and_hashes(name: str) -> None:
    found = entries(LOCKS[name])
    assert len(found) > 60
    for package, line in found.items():
        assert re.match(rf"{re.escape(package)}==[^\s=]+ ", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}( |$)", line), package
    assert "torch" not in found


def test_torch_is_pinned_by_its_version_alone() -> None:
    (line,) = entries(LOCKS["torch.lock"]).values()
    assert re.fullmatch(r"torch==[0-9.]+", line)


@pytest.mark.parametrize("name", ["cpu.lock", "gpu.lock"])
def test_an_image_has_what_was_tested(name: str) -> None:
    tested = entries(LOCKS["requirements.lock"])
    for package, line in entries(LOCKS[name]).items():
        if "cu12" not in package and package != "faiss-gpu":
            assert line.split()[0] == tested[package].split()[0]


def test_no_lock_names_an_index() -> None:
    for path in (*LOCKS.values(), ROOT / "engine" / "wheels.lock"):
        text = path.read_text(encoding="utf-8")
        assert "://" not in text
        assert "index" not in re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)


def test_what_installs_asks_for_hashes() -> None:
    for name in ("Makefile", "deploy/Containerfile", "README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        uses = [line for line in text.splitlines() if re.search(r"-r(equirement)? \S+\.lock", line)]
        assert uses
        for line in uses:
            assert "--require-hashes" in line or "torch.lock" in line, line

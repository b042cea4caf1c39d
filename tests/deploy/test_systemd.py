"""The units, by systemd's own eyes in a root of their own."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploy_room import DEPLOY

UNITS = ("longmemory.service", "longmemory-worker@.service")
INSTANCES = ("longmemory.service", "longmemory-worker@1.service")
TARGETS = Path("/usr/lib/systemd/system")
COMMAND = Path("opt/longmemory/bin/longmemory")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the units, systemd's targets and the command that the units start."""
    ours = tmp_path / "etc/systemd/system"
    theirs = tmp_path / "usr/lib/systemd/system"
    for folder in (ours, theirs, (tmp_path / COMMAND).parent):
        folder.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(DEPLOY / "systemd" / unit, ours)
    for target in (*TARGETS.glob("*.target"), *TARGETS.glob("*.slice")):
        shutil.copy(target, theirs)
    (tmp_path / COMMAND).write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / COMMAND).chmod(0o755)
    return tmp_path


@pytest.fixture
def verify(program: Callable[..., Any], root: Path) -> Callable[[], Any]:
    """What `systemd-analyze verify` says of both units."""
    return lambda: program("systemd-analyze", "verify", "--man=no", f"--root={root}", *INSTANCES)


def test_systemd_takes_the_units(verify: Callable[[], Any]) -> None:
    done = verify()
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_misspelt_setting_would_be_noticed(verify: Callable[[], Any], root: Path) -> None:
    unit = root / "etc/systemd/system/longmemory.service"
    text = unit.read_text(encoding="utf-8")
    unit.write_text(text.replace("ProtectClock", "ProtectClok"), encoding="utf-8")
    assert "ProtectClok" in verify().stderr


def test_a_gpu_is_given_by_a_drop_in(verify: Callable[[], Any], root: Path) -> None:
    folder = root / "etc/systemd/system/longmemory.service.d"
    folder.mkdir()
    shutil.copy(DEPLOY / "systemd" / "gpu.conf", folder)
    done = verify()
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
def test_little_is_left_to_attack(program: Callable[..., Any], unit: str) -> None:
    done = program(
        "systemd-analyze", "security", "--offline=true", "--threshold=20",
        DEPLOY / "systemd" / unit,
    )  # fmt: skip
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= 2.0
    assert done.returncode == 0


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_waits_for_nothing_that_never_comes(unit: str) -> None:
    """The service tells systemd nothing: `Type=notify` would let every start time out."""
    text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
    assert "Type=exec" in text
    assert "WatchdogSec" not in text


def test_the_account_of_the_units_is_made(program: Callable[..., Any]) -> None:
    done = program("systemd-sysusers", "--dry-run", DEPLOY / "systemd" / "longmemory-user.conf")
    assert done.returncode == 0, done.stderr
    for unit in UNITS:
        text = (DEPLOY / "systemd" / unit).read_text(encoding="utf-8")
        assert "\nUser=longmemory\nGroup=longmemory\n" in text

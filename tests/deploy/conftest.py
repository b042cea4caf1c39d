"""Shared by the tests of deploy/: the programs that check its files, and the rendered overlays."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deploy_room import KUBERNETES, OVERLAYS, Manifests, compose_file, overlay_named, rendered


@pytest.fixture(scope="session")
def program() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a program that checks a file. Where it is not installed CI fails and others skip."""

    def run(name: str, *arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
        path = shutil.which(name)
        if path is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed")
        command = [path, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return run


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file with its anchors merged."""
    return compose_file()


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Manifests:
    """The manifests of one overlay after another."""
    return overlay_named(request.param)


@pytest.fixture
def encrypted(request: pytest.FixtureRequest, tmp_path: Path) -> Manifests:
    """The manifests of the overlay that a test names, with the component `tls`."""
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    listing = copy / "overlays" / request.param / "kustomization.yaml"
    with listing.open("a", encoding="utf-8") as file:
        file.write("components: [../../components/tls]\n")
    return rendered(listing.parent)

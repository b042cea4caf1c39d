"""The files of deploy/, what they run, and how they are rendered."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu", "keda")
Manifests = tuple[dict[str, Any], ...]


def compose_file() -> dict[str, Any]:
    """The compose file with its anchors merged."""
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return read


@cache
def rendered(folder: Path) -> Manifests:
    """The manifests that kustomize makes of a folder; skips where there is no kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl, which renders overlays, is not installed")
    command = [kubectl, "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def overlay_named(name: str) -> Manifests:
    """The manifests of one overlay."""
    return rendered(KUBERNETES / "overlays" / name)


def named(manifests: Manifests, kind: str, name: str) -> dict[str, Any]:
    """The one manifest of a kind and a name."""
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    assert len(found) == 1, (kind, name)
    return found[0]


def pods(manifests: Manifests) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod template of everything that runs."""
    for manifest in manifests:
        if manifest["kind"] in ("StatefulSet", "ScaledJob"):
            spec: Mapping[str, Any] = manifest["spec"]
            job = spec.get("jobTargetRef", spec)
            yield manifest["metadata"]["name"], job["template"]

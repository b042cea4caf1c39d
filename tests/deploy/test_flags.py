"""Every command that deploy/ runs is one that the command line takes, option for option."""

import re
import shlex
from collections.abc import Iterator

import pytest
import typer
from deploy_room import DEPLOY, OVERLAYS, compose_file, overlay_named, pods

from service.cli.main import app


def compose_commands() -> Iterator[list[str]]:
    for service in compose_file()["services"].values():
        if "build" in service:
            yield service["command"]


def unit_commands() -> Iterator[list[str]]:
    for path in (DEPLOY / "systemd").glob("*.service"):
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^ExecStart=\S+/longmemory (.+)$", text, re.MULTILINE):
            yield shlex.split(line)
        for line in re.findall(r"^# +SERVE_OPTIONS=(.+)$", text, re.MULTILINE):
            yield ["serve", *shlex.split(line)]


def pod_commands() -> Iterator[list[str]]:
    for name in OVERLAYS:
        for _, template in pods(overlay_named(name)):
            for container in template["spec"]["containers"]:
                if container["image"].startswith("longmemory:"):
                    yield container["args"]


def tls_options() -> Iterator[list[str]]:
    text = (DEPLOY / "kubernetes/components/tls/kustomization.yaml").read_text(encoding="utf-8")
    yield ["serve", *re.findall(r"value: (--\S+?)\}", text)]


@pytest.mark.parametrize("commands", [compose_commands, unit_commands, pod_commands, tls_options])
def test_every_option_is_one_of_the_command_line(commands: object) -> None:
    assert callable(commands)
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    seen = 0
    for command in commands():
        verb, *options = command
        assert verb in known, verb
        there = {o for p in known[verb].params for o in p.opts}
        for option in options:
            if option.startswith("--"):
                assert option.partition("=")[0] in there, (verb, option)
                seen += 1
    assert seen


def test_the_images_own_command_is_there() -> None:
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert re.findall(r'^CMD \["(\w+)"\]$', text, re.MULTILINE) == ["serve"]
    assert "serve" in known

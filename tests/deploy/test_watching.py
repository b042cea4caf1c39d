"""Prometheus' rules and Grafana's board: by promtool, and every metric named is one that is told."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from deploy_room import DEPLOY, KUBERNETES, ROOT

from service.errors import REASONS
from service.state.job import JobKind, JobState

OF_PROMETHEUS = {"up", "process_resident_memory_bytes"}
WORDS_OF_PROMQL = {
    "absent", "and", "by", "delta", "histogram_quantile", "max", "on", "or", "rate", "sum",
    "unless", "vector",
}  # fmt: skip
PROMETHEUS = DEPLOY / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules.yaml").read_text(encoding="utf-8"))
BOARD = json.loads((DEPLOY / "grafana" / "longmemory.json").read_text(encoding="utf-8"))
_METRIC = re.compile(r"(longmemory|grpc_server)_[a-z_]+")
_SUFFIX = re.compile(r"_(total|bucket|sum|count)$")


@cache
def metrics_told() -> set[str]:
    """Every metric's name in the service's source, as prometheus_client is given it."""
    names = set[str]()
    for path in (ROOT / "service").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
        names |= {text for text in texts if isinstance(text, str) and _METRIC.fullmatch(text)}
    return names


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and what is asked: of rules, panels and the trigger of the workers."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    workers = KUBERNETES / "overlays" / "keda" / "workers.yaml"
    for trigger in yaml.safe_load(workers.read_text(encoding="utf-8"))["spec"]["triggers"]:
        yield "workers.yaml", trigger["metadata"]["valueLocation"]


def names_in(expression: str) -> set[str]:
    """Names of metrics and of recorded rules; labels, durations and PromQL's own words left out."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    bare = re.sub(r"\b(by|on)\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"[a-z_][a-z0-9_:]*", bare)) - WORDS_OF_PROMQL


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_what_is_asked_for_is_told(place: str, expression: str) -> None:
    recorded = {r["record"] for g in RULES["groups"] for r in g["rules"] if "record" in r}
    told = metrics_told()
    asked = names_in(expression)
    assert asked, place
    for name in asked - recorded - OF_PROMETHEUS:
        assert name in told or _SUFFIX.sub("", name) in told, (place, name)


@pytest.mark.parametrize(("place", "expression"), [*expressions()])
def test_labels_have_values_that_exist(place: str, expression: str) -> None:
    known = {
        "state": {state.value.lower() for state in JobState},
        "kind": {kind.value for kind in JobKind},
        "reason": set(REASONS),
        "job": {"longmemory"},
    }
    for label, values in re.findall(r'(\w+)=~?"([^"$]+)"', expression):
        if label in known:
            assert set(values.split("|")) <= known[label], place


def test_promtool_takes_the_rules_and_what_scrapes(program: Callable[..., Any]) -> None:
    for check, name in (("rules", "rules.yaml"), ("config", "prometheus.yaml")):
        done = program("promtool", "check", check, PROMETHEUS / name)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_raised_by_its_story_and_by_no_other(program: Callable[..., Any]) -> None:
    done = program("promtool", "test", "rules", "rules_test.yaml", cwd=PROMETHEUS)
    assert done.returncode == 0, done.stdout + done.stderr
    stories = yaml.safe_load((PROMETHEUS / "rules_test.yaml").read_text(encoding="utf-8"))["tests"]
    raised = {
        case["alertname"] for s in stories for case in s["alert_rule_test"] if case["exp_alerts"]
    }
    assert raised == {r["alert"] for g in RULES["groups"] for r in g["rules"] if "alert" in r}


def test_every_alert_says_what_to_do() -> None:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                assert rule["annotations"].keys() == {"summary", "mend"}, rule["alert"]
                assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]


def test_the_boards_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])

"""The compose file: by the specification's schema, by its own names, and against a real Redis."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
import yaml
from deploy_room import DEPLOY, KUBERNETES

SCHEMA = json.loads(
    (Path(__file__).parent / "third_party" / "compose-spec.json").read_text(encoding="utf-8")
)


def test_it_is_what_the_compose_specification_allows(compose: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(compose)


def test_a_misspelt_key_would_be_noticed(compose: dict[str, Any]) -> None:
    server = compose["services"]["server"] | {"readonly": True}
    broken = compose | {"services": compose["services"] | {"server": server}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(broken)


def test_each_profile_brings_a_server_and_a_worker_of_its_variant(compose: dict[str, Any]) -> None:
    for variant, suffix in (("cpu", ""), ("gpu", "-gpu")):
        for name in ("server", "worker"):
            service = compose["services"][name + suffix]
            assert service["profiles"] == [variant]
            assert service["image"] == f"longmemory:{variant}"
            assert service["build"]["args"]["VARIANT"] == variant
            assert ("deploy" in service) == (variant == "gpu")
    watching = [n for n, s in compose["services"].items() if s.get("profiles") == ["observability"]]
    assert watching == ["prometheus", "grafana"]


def test_every_service_is_locked_down(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "healthcheck" in service, name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_what_is_named_is_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("networks", ())) <= compose["networks"].keys(), name
        assert service.get("depends_on", {}).keys() <= compose["services"].keys(), name
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            there = source in compose["volumes"] or (DEPLOY / source).exists()
            assert there, (name, source)


def test_redis_is_reached_from_the_inside_alone(compose: dict[str, Any]) -> None:
    assert compose["networks"]["state"]["internal"] is True
    assert compose["services"]["redis"]["networks"] == ["state"]
    assert "ports" not in compose["services"]["redis"]


@pytest.fixture
def served_redis(
    compose: dict[str, Any], program: Callable[..., Any], tmp_path: Path
) -> Iterator[Any]:
    """A real redis-server with the arguments that the compose file gives."""
    program("redis-server", "--version")
    path = tmp_path / "socket"
    own = ["--port", "0", "--unixsocket", str(path), "--dir", str(tmp_path)]
    process = subprocess.Popen(
        [*compose["services"]["redis"]["command"], *own], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "ready to accept connections" in line.lower():
            break
    client = redis.Redis(unix_socket_path=str(path))
    yield client
    client.close()
    process.terminate()
    process.communicate()


@pytest.mark.process
def test_redis_keeps_what_it_is_given(served_redis: Any) -> None:
    told = {
        name: served_redis.config_get(name)[name]
        for name in ("appendonly", "appendfsync", "maxmemory-policy")
    }
    assert told == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }


def test_kubernetes_runs_the_same_redis_in_the_same_way(compose: dict[str, Any]) -> None:
    path = KUBERNETES / "overlays" / "keda" / "redis.yaml"
    manifests = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    container = manifests[1]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == compose["services"]["redis"]["command"]
    assert container["image"] == compose["services"]["redis"]["image"]


def test_every_image_of_others_is_pinned_to_a_release(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if "build" not in service:
            tag = service["image"].rpartition(":")[2]
            assert tag.count(".") == 2, name

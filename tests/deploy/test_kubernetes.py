"""The manifests as kustomize renders them: by Kubernetes' schemas, and by each other."""

import json
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from deploy_room import KUBERNETES, Manifests, named, overlay_named, pods
from longmemory.v1 import query_pb2

VERSION = "1.34"
QUERY_SERVICE = query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name
SCALED_JOB = json.loads(
    (Path(__file__).parent / "scaled_job.schema.json").read_text(encoding="utf-8")
)


def test_every_file_is_used_by_its_kustomization() -> None:
    for listing in KUBERNETES.rglob("kustomization.yaml"):
        read = yaml.safe_load(listing.read_text(encoding="utf-8"))
        patches = {patch.get("path") for patch in read.get("patches", ())}
        used = {name for name in read.get("resources", ()) if name.endswith(".yaml")}
        files = {path.name for path in listing.parent.glob("*.yaml")} - {listing.name}
        assert files == used | patches - {None}, listing


def test_the_base_is_valid_before_it_is_rendered() -> None:
    for path in (KUBERNETES / "base").glob("*.yaml"):
        if path.name != "kustomization.yaml":
            for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
                kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_kubernetes_takes_every_manifest(overlay: Manifests) -> None:
    for manifest in overlay:
        if manifest["kind"] == "ScaledJob":
            jsonschema.Draft7Validator(SCALED_JOB).validate(manifest)
            job = {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": manifest["metadata"]["name"]},
                "spec": manifest["spec"]["jobTargetRef"],
            }
            kubernetes_validate.validate(job, VERSION, strict=True)
        else:
            kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_a_misspelt_field_would_be_noticed() -> None:
    manifest = yaml.safe_load((KUBERNETES / "base" / "server.yaml").read_text(encoding="utf-8"))
    manifest["spec"]["template"]["spec"]["containers"][0]["startUpProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_every_pod_is_locked_down(overlay: Manifests) -> None:
    for name, template in pods(overlay):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name


def test_the_server_is_probed_for_life_and_for_answers(overlay: Manifests) -> None:
    server = named(overlay, "StatefulSet", "longmemory")["spec"]["template"]["spec"]
    container = server["containers"][0]
    port = container["ports"][0]["containerPort"]
    assert container["startupProbe"]["grpc"] == {"port": port}
    assert container["livenessProbe"]["grpc"] == {"port": port}
    assert container["readinessProbe"]["grpc"] == {"port": port, "service": QUERY_SERVICE}
    assert f"--listen=0.0.0.0:{port}" in container["args"]
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 300  # a model is converted


@pytest.mark.parametrize("encrypted", ["cpu", "keda"], indirect=True)
def test_with_tls_the_probes_speak_it_too(encrypted: Manifests) -> None:
    server = named(encrypted, "StatefulSet", "longmemory")
    container = server["spec"]["template"]["spec"]["containers"][0]
    kubernetes_validate.validate(server, VERSION, strict=True)
    assert {"--tls-certificate=/tls/tls.crt", "--tls-key=/tls/tls.key"} <= set(container["args"])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert "grpc" not in container[probe]
        assert "--ca=/tls/ca.crt" in container[probe]["exec"]["command"]
    assert QUERY_SERVICE in container["readinessProbe"]["exec"]["command"]


def test_selectors_find_pods_and_claims_find_volumes(overlay: Manifests) -> None:
    labels = [template["metadata"]["labels"].items() for _, template in pods(overlay)]
    claims = {m["metadata"]["name"] for m in overlay if m["kind"] == "PersistentVolumeClaim"}
    for manifest in overlay:
        spec = manifest.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        wanted = selector.get("matchLabels", selector)
        if manifest["kind"] in ("Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"):
            assert any(wanted.items() <= pod for pod in labels), manifest["metadata"]["name"]
    for name, template in pods(overlay):
        for volume in template["spec"].get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name


def test_every_pod_has_a_network_policy_and_a_variant(overlay: Manifests) -> None:
    policies = [m["spec"] for m in overlay if m["kind"] == "NetworkPolicy"]
    for name, template in pods(overlay):
        labels = template["metadata"]["labels"].items()
        mine = [p for p in policies if p["podSelector"]["matchLabels"].items() <= labels]
        assert [p["policyTypes"] for p in mine] == [["Ingress", "Egress"]], name
        for container in template["spec"]["containers"]:
            assert re.search(r":(cpu|gpu|\d+\.\d+\.\d+-\w+)$", container["image"]), name


def test_what_servers_and_workers_call_is_a_service_of_the_overlay() -> None:
    manifests = overlay_named("keda")
    services = {
        m["metadata"]["name"]: {port["port"] for port in m["spec"]["ports"]}
        for m in manifests
        if m["kind"] == "Service"
    }
    states = set()
    for _, template in pods(manifests):
        for argument in template["spec"]["containers"][0]["args"]:
            if match := re.fullmatch(r"--state=redis://([\w-]+):(\d+)/\d+", argument):
                states.add(argument)
                assert int(match[2]) in services[match[1]]
    assert len(states) == 1
    for trigger in named(manifests, "ScaledJob", "longmemory-worker")["spec"]["triggers"]:
        url = re.fullmatch(
            r"http://([\w-]+)\.([\w-]+)\.svc:(\d+)/metrics", trigger["metadata"]["url"]
        )
        assert url is not None
        assert int(url[3]) in services[url[1]]
        assert named(manifests, "Namespace", url[2])


def test_one_volume_is_written_by_many_only_where_it_can_be() -> None:
    modes = {"cpu": "ReadWriteOnce", "gpu": "ReadWriteOnce", "keda": "ReadWriteMany"}
    for name, mode in modes.items():
        manifests = overlay_named(name)
        claim = named(manifests, "PersistentVolumeClaim", "longmemory-data")
        assert claim["spec"]["accessModes"] == [mode]
        replicas = named(manifests, "StatefulSet", "longmemory")["spec"]["replicas"]
        assert (replicas > 1) == (mode == "ReadWriteMany")


def test_a_gpu_is_asked_for_and_granted_whole() -> None:
    manifests = overlay_named("gpu")
    spec = named(manifests, "StatefulSet", "longmemory")["spec"]["template"]["spec"]
    resources = spec["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 1
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec[
        "tolerations"
    ]

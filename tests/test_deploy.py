"""What deploy/ has is valid: rendered by Helm's own engine, checked against schemas, and it speaks of what there is."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmRenderError, HelmValuesError
from typer.core import TyperGroup
from typer.main import get_command

from server.cli import app
from server.engine.pool import Engines, Registries
from server.observability.gauges import Gauges
from server.observability.metrics import Metrics
from server.observability.tracing import tracing
from server.settings import Settings
from store.database import Database

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
CHART = DEPLOY / "helm" / "attune"
NEEDED: dict[str, Any] = {
    "image": {"repository": "registry.example/attune"},
    "secret": {"name": "attune"},
    "engine": {"url": "http://engines:8000"},
    "settings": {"ATTUNE_ADAPTER_STORE": "s3://bucket/attune"},
    "trainer": {"model": "/models/base"},
}
ALL: dict[str, Any] = {
    **NEEDED,
    "image": {"repository": "registry.example/attune", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "engine": {"url": "http://engines:8000", "podLabels": {"app": "vllm"}},
    "server": {"autoscaling": {"enabled": True}},
    "trainer": {
        "model": "/models/base",
        "modelVolume": {"persistentVolumeClaim": {"claimName": "models"}},
        "queue": "gpus",
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    },
    "monitoring": {"serviceMonitor": True, "rules": True, "dashboard": True, "labels": {"release": "prometheus"}},
    "dataVolume": {"persistentVolumeClaim": {"claimName": "attune"}},
    "podAnnotations": {"note": "x"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"operator": "Exists"}],
}
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
"""Of the Prometheus operator: Kubernetes has no schema of them."""


def rendered(values: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """What Helm makes of the chart, by kind and name."""
    chart = Chart.load(CHART)
    chart.validate_schema(values)
    found = [
        manifest
        for name, text in chart.render(values, name="attune", namespace="ml").items()
        if name.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]
    made = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(made) == len(found)
    return made


def pods(made: dict[tuple[str, str], Any]) -> list[Any]:
    """The pods that workloads make."""
    templates = []
    for (kind, _), one in made.items():
        spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one.get("spec", {})
        if "template" in spec:
            templates.append(spec["template"])
    return templates


@pytest.mark.parametrize("values", [NEEDED, ALL], ids=["least", "all"])
def test_kubernetes_takes_what_the_chart_makes(values: dict[str, Any]) -> None:
    made = rendered(values)
    for (kind, _), manifest in made.items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(manifest, "1.37.0", strict=True)
    assert {kind for kind, _ in made} >= {"Deployment", "Service", "Job", "CronJob", "NetworkPolicy", "ConfigMap"}
    for pod in pods(made):
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["spec"]["volumes"]}
        program, *arguments = container["args"]
        assert program == "attune"
        command = get_command(app)
        assert isinstance(command, TyperGroup)
        command.make_context("attune", [*arguments, "--help"], resilient_parsing=True)
        assert arguments[0] in command.commands


def test_a_mistake_in_a_manifest_would_be_seen() -> None:
    manifest = rendered(NEEDED)["Deployment", "attune-server"]
    manifest["spec"]["replicass"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.37.0", strict=True)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("secret.name", "secret.name is needed"),
        ("image.repository", "image.repository is needed"),
        ("engine.url", "engine.url is needed"),
        ("trainer.model", "trainer.model is needed"),
        ("settings.ATTUNE_ADAPTER_STORE", "settings.ATTUNE_ADAPTER_STORE is needed"),
    ],
)
def test_what_is_missing_is_said(path: str, told: str) -> None:
    outer, inner = path.split(".")
    values = {**NEEDED, outer: {name: one for name, one in NEEDED[outer].items() if name != inner}}
    with pytest.raises(HelmRenderError, match=re.escape(told)):
        rendered(values)


@pytest.mark.parametrize(
    "wrong",
    [{"server": {"replica": 2}}, {"settings": {"PATH": "x"}}, {"settings": {"ATTUNE_PORT": 1}}, {"secrets": {}}],
)
def test_values_that_there_are_none_of_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(HelmValuesError):
        rendered({**NEEDED, **wrong})


def test_only_servers_and_workers_reach_engines_and_only_servers_are_reached() -> None:
    made = rendered(ALL)
    policies = {name: one["spec"] for (kind, name), one in made.items() if kind == "NetworkPolicy"}
    engine = policies["attune-engine"]
    assert engine["podSelector"]["matchLabels"] == {"app": "vllm"}
    (rule,) = engine["ingress"]
    (peer,) = rule["from"]
    who = {one["key"]: one["values"] for one in peer["podSelector"]["matchExpressions"]}
    assert who["app.kubernetes.io/component"] == ["server", "learner", "trainer"]
    assert "ingress" not in policies["attune-workers"]
    labels = made["Deployment", "attune-server"]["spec"]["template"]["metadata"]["labels"]
    for selector in (policies["attune-server"]["podSelector"], made["Service", "attune"]["spec"]):
        assert (selector.get("matchLabels") or selector["selector"]).items() <= labels.items()
    trainer = made["CronJob", "attune-trainer"]["spec"]["jobTemplate"]
    assert trainer["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert trainer["spec"]["suspend"] is True


def test_every_setting_that_is_named_exists() -> None:
    known = {f"ATTUNE_{name.upper()}" for name in Settings.model_fields} | {"ATTUNE_IMAGE", "ATTUNE_ADAPTER_CACHE_DIR"}
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.is_relative_to(DEPLOY / "image") is False:
            assert set(re.findall(r"\bATTUNE_[A-Z_]*[A-Z]\b", path.read_text())) <= known, path
    data = rendered(NEEDED)["ConfigMap", "attune"]["data"]
    own = {name.removeprefix("ATTUNE_").lower(): value for name, value in data.items() if name.startswith("ATTUNE_")}
    Settings.model_validate(own).check()
    pod = rendered(NEEDED)["Deployment", "attune-server"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == int(data["ATTUNE_DRAIN_SECONDS"]) + 25


@pytest.fixture(scope="module")
def metrics(sqlite_template: Path) -> set[str]:
    """The names of what a server measures, as Prometheus has them."""
    held = Metrics(tracing(Settings()))
    database = Database(f"sqlite:///{sqlite_template}")

    async def ready() -> str:
        return "ready"

    Gauges(held.registry, database, Registries(Engines([])), ready)
    database.close()
    names: set[str] = set()
    for family in held.registry.collect():
        more = {"histogram": ["_bucket", "_sum", "_count"], "summary": ["_sum", "_count"], "counter": ["_total"]}
        names.update(f"{family.name}{end}" for end in more.get(family.type, [""]))
    return names


def expressions() -> list[str]:
    alerts = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    told = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    return told + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_dashboard_and_alerts_ask_for_what_is_measured(metrics: set[str]) -> None:
    asked = {name for one in expressions() for name in re.findall(r"\b(?:attune|process)_\w+", one)}
    assert len(asked) > 15
    assert asked <= metrics
    assert not [one for one in expressions() if re.search(r"\buser\b", one)]


def test_each_alert_says_what_to_do() -> None:
    rules = rendered(ALL)["PrometheusRule", "attune"]["spec"]["groups"][0]["rules"]
    assert rules == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert all({"summary", "action"} <= rule["annotations"].keys() for rule in rules)
    assert json.loads(rendered(ALL)["ConfigMap", "attune-dashboard"]["data"]["attune.json"])["panels"]
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool, of Prometheus, is not installed")
def test_prometheus_takes_the_alerts() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", CHART / "files" / "alerts.yaml"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


def test_the_compose_file_is_one() -> None:
    written = (DEPLOY / "compose" / "compose.yaml").read_text()
    text = re.sub(
        r"\$\{\w+(?::-(\w+)|:\?[^}]*)\}", lambda found: found[1] or "secret", written
    )  # as Compose does first
    compose_spec.PyCompose.from_yaml(text)
    with pytest.raises(Exception, match=r"restart|string|sequence"):
        compose_spec.PyCompose.from_yaml(text.replace("restart: unless-stopped", "restart: [perhaps]"))
    services = yaml.safe_load(text)["services"]
    assert services["attune"]["read_only"] is True
    assert services["attune"]["stop_grace_period"] == "45s"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = (DEPLOY / "systemd" / "attune.service").read_text()
    program = shutil.which("true") or ""
    (tmp_path / "attune.service").write_text(unit.replace("/opt/attune/.venv/bin/attune serve", program))
    checked = subprocess.run(["systemd-analyze", "verify", tmp_path / "attune.service"], capture_output=True, text=True)
    assert "attune.service:" not in checked.stderr, checked.stderr
    (tmp_path / "attune.service").write_text(unit.replace("Restart=on-failure", "Restart=perhaps"))
    checked = subprocess.run(["systemd-analyze", "verify", tmp_path / "attune.service"], capture_output=True, text=True)
    assert "perhaps" in checked.stderr

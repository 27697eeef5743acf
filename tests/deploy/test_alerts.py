"""Alerts and the dashboard ask for what `/metrics` has, and each alert has a runbook that the doctor names, too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from handlers.table import ACTIONS, EVENTS, MADE, WEBHOOKS
from tests.conftest import LEFT_OUT
from tests.deploy.compose import ROOT, Node, mapping, read, strings, text
from worker.app import App
from worker.doctor import runbooks
from worker.doctor.diagnostics import RUNBOOKS, diagnose, with_runbook
from worker.doctor.finding import OK, PROBLEM, WARNING, Finding
from worker.lifecycle.facts import SECOND
from worker.lifecycle.views import ChangeType
from worker.web.metrics import StoreCollector

GROUPS = read("deploy/prometheus/alerts.yml")["groups"]
METRIC = re.compile(r"\btenure_[a-z_]+\b")


def rules() -> list[dict[str, Node]]:
    assert isinstance(GROUPS, list)
    found = []
    for group in GROUPS:
        inner = mapping(group)["rules"]
        assert isinstance(inner, list)
        found += [mapping(rule) for rule in inner]
    return found


RULES = {text(rule["alert"]): rule for rule in rules()}
ANNOTATIONS = {name: mapping(rule["annotations"]) for name, rule in RULES.items()}
PUBLIC_URL = "https://tenure.example.org"
every_alert = pytest.mark.parametrize("name", RULES)


@pytest.fixture
def exported(app: App) -> set[str]:
    """Names of the series that an installation has, whatever happened in it."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(app))
    types = re.findall(r"^# TYPE (\S+) (\S+)$", generate_latest(registry).decode(), re.MULTILINE)
    names = {name for name, _ in types}
    return names | {
        f"{name}{end}" for name, kind in types if kind == "histogram" for end in ("_bucket", "_sum", "_count")
    }


def expressions() -> Iterator[str]:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/tenure.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (text(rule["expr"]) for rule in RULES.values())


def test_what_is_asked_for_is_exported(exported: set[str]) -> None:
    asked = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert asked
    assert asked <= exported


def runbook_of(name: str) -> str:
    """The name of an alert's runbook, of its address."""
    return text(ANNOTATIONS[name]["runbook_url"]).removeprefix("{{ $externalLabels.tenure }}/console/runbooks/")


@every_alert
def test_every_alert_has_a_runbook_that_names_it(name: str) -> None:
    runbook = runbooks.read(runbook_of(name)) or ""
    assert f"`{name}`" in runbook
    check = text(ANNOTATIONS[name]["check"])
    assert (f"`tenure doctor`: `{check}`" if check else "`tenure doctor` does not see it") in runbook
    for part in ("**What it means.**", "**Look.**", "**Do.**", "**Over when**"):
        assert part in runbook


@every_alert
def test_every_alert_says_how_urgent_it_is(name: str) -> None:
    assert text(mapping(RULES[name]["labels"])["severity"]) in {"page", "ticket"}
    assert text(ANNOTATIONS[name]["summary"])


def test_what_is_no_webhook_does_not_count_as_one() -> None:
    """Webhooks that fall silent are told apart from all else by the names of events."""
    others = {name.partition(".")[0] for name in {*EVENTS, *MADE, *ACTIONS}}
    left_out = re.findall(r'event!~"\(([^)]*)\)\[[.]\][.]\*"', " ".join(expressions()))
    assert left_out
    assert all(set(names.split("|")) == others for names in left_out)
    assert not others & {name.partition(".")[0] for name in WEBHOOKS}


def test_every_runbook_is_an_alerts() -> None:
    assert {runbook_of(name) for name in ANNOTATIONS} == set(runbooks.names())


def test_the_doctor_names_the_runbook_of_the_alert_that_tells_the_same(app: App) -> None:
    told = {text(said["check"]): runbook_of(name) for name, said in ANNOTATIONS.items() if said["check"]}
    assert told == RUNBOOKS
    for check, name in told.items():
        assert with_runbook(Finding(check, PROBLEM, "is wrong", "mend it")).runbook == name
        assert with_runbook(Finding(check, WARNING, "is odd", "look")).runbook == name
        assert with_runbook(Finding(check, OK, "is fine", "")).runbook == ""
    # Each is of something that the doctor looks at; that of jobs is named for all of them.
    assert set(RUNBOOKS) - {"schedule"} <= {finding.check for finding in diagnose(app, diagnose=lambda _: ())}


def test_prometheus_is_told_where_the_rules_and_the_doors_are() -> None:
    config = read("deploy/prometheus/prometheus.yml")
    (rules_file,) = strings(config["rule_files"])
    mounted = dict(
        volume.removesuffix(":ro").split(":", 1)
        for volume in strings(mapping(mapping(read()["services"])["prometheus"])["volumes"])
        if volume.startswith("./")
    )
    (here, there) = next(iter(mounted.items()))
    assert (ROOT / rules_file.replace(there, here)).exists()
    # Each process by its own address, and not through the name that stands for all.
    assert _discovered(config) == {"names": ["web"], "type": "A", "port": "8480"}


def test_no_label_is_one_that_prometheus_sets(app: App) -> None:
    """Given a door's metrics, then none has a label that a scrape would rename."""
    _run_a_job(app, "inbox")
    names = {name for family in StoreCollector(app).collect() for sample in family.samples for name in sample.labels}
    assert "task" in names
    assert names.isdisjoint({"job", "instance"})


def test_a_job_that_is_not_wanted_any_more_is_not_told_of(app: App) -> None:
    """Given a job that ran while there were credentials, when there are none any more, then its alert has no series."""
    _run_a_job(app, "sweep")
    _run_a_job(app, "inbox")
    (age,) = (family for family in StoreCollector(app).collect() if family.name == "tenure_job_age_seconds")
    assert [sample.labels for sample in age.samples] == [{"task": "inbox"}]


def test_every_change_is_counted_from_zero(app: App) -> None:
    """Given an installation in which nothing was published yet, then each kind of change has a series."""
    (changes,) = (family for family in StoreCollector(app).collect() if family.name == "tenure_changes")
    assert {sample.labels["type"]: sample.value for sample in changes.samples} == dict.fromkeys(ChangeType, 0)


def _run_a_job(app: App, name: str) -> None:
    assert app.status.begin_job(name, app.status.now() // SECOND, "host:1")


DOOR = 'instance="web:8480",job="tenure"'
HAPPENINGS = {
    "a job that stands still": (
        "TenureJobStuck", "20m", {f'tenure_job_age_seconds{{{DOOR},task="due"}}': "0+15x120"}, 'task="due"', "ticket",
    ),
    "no process to ask with": (
        "TenureGitHubNotAsked", "12m",
        {f"tenure_github_asked{{{DOOR}}}": "1x60", f"tenure_github_failing{{{DOOR}}}": "0x60",
         f'tenure_processes{{{DOOR},role="asker"}}': "0x60"}, "", "page",
    ),
    "no answers": (
        "TenureGitHubNotAsked", "12m",
        {f"tenure_github_asked{{{DOOR}}}": "1x60", f"tenure_github_failing{{{DOOR}}}": "7x60",
         f'tenure_processes{{{DOOR},role="asker"}}': "2x60"}, "", "page",
    ),
    "webhooks fall silent": (
        "TenureNoWebhooks", "30h",
        {f'tenure_events_received_total{{{DOOR},event="push"}}': "7x9000",
         f'tenure_events_received_total{{{DOOR},event="login.succeeded"}}': "0+1x9000"}, None, "ticket",
    ),
    "deliveries fail": (
        "TenureDeliveriesFail", "45m", {f"tenure_deliveries_pursued{{{DOOR}}}": "3x200"}, "", "ticket",
    ),
    "a consumer stands still": (
        "TenureConsumerLags", "30m",
        {f'tenure_consumer_lag_seconds{{{DOOR},consumer="keys"}}': "0+15x200",
         f'tenure_consumer_gone{{{DOOR},consumer="keys"}}': "0x200"}, 'consumer="keys"', "ticket",
    ),
    "the first policies that are ever disabled": (
        "TenureManyDisabled", "3m",
        {f'tenure_changes_total{{{DOOR},type="policy.disabled"}}': "0x4 500x60",
         f'tenure_policies{{{DOOR},state="active"}}': "600x4 100x60"}, None, "page",
    ),
}  # fmt: skip
"""What happens → the alert, when it is looked at, the series, the labels that it has beside the door's, how urgent."""


@pytest.mark.parametrize("what", HAPPENINGS)
def test_prometheus_raises_the_alert(what: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip(f"{LEFT_OUT} no promtool on the PATH, so nobody can say what Prometheus makes of the rules")
    alert, moment, series, more, severity = HAPPENINGS[what]
    labels = {"severity": severity}
    if more is not None:
        labels |= dict(re.findall(r'(\w+)="([^"]+)"', f"{DOOR},{more}"))
    annotations = {
        name: text(value).replace("{{ $externalLabels.tenure }}", PUBLIC_URL)
        for name, value in ANNOTATIONS[alert].items()
    }
    expected = {"exp_labels": labels, "exp_annotations": annotations}
    told = {
        "rule_files": [str(ROOT / "deploy/prometheus/alerts.yml")],
        "evaluation_interval": "15s",
        "tests": [{
            "interval": "15s",
            "external_labels": {"tenure": PUBLIC_URL},
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "alert_rule_test": [{"eval_time": moment, "alertname": alert, "exp_alerts": [expected]}],
        }],
    }  # fmt: skip
    # JSON is YAML, too.
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(told), encoding="utf-8")
    came = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert came.returncode == 0, came.stdout + came.stderr


def _discovered(config: dict[str, Node]) -> Node:
    jobs = config["scrape_configs"]
    assert isinstance(jobs, list)
    found = mapping(jobs[0])["dns_sd_configs"]
    assert isinstance(found, list)
    return found[0]

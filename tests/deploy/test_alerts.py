"""Alerts and the dashboard ask for what `/metrics` has, and each alert has a runbook that the doctor names, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tests.deploy.compose import ROOT, Node, mapping, read, strings, text
from worker.app import App
from worker.checks import CHECKS, RUNBOOKS, with_runbook
from worker.finding import OK, PROBLEM, WARNING, Finding
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


@every_alert
def test_every_alert_has_a_runbook_that_names_it(name: str) -> None:
    path = text(ANNOTATIONS[name]["runbook"])
    runbook = (ROOT / path).read_text(encoding="utf-8")
    assert f"`{name}`" in runbook
    check = text(ANNOTATIONS[name]["check"])
    assert (f"`tenure doctor`: `{check}`" if check else "`tenure doctor` does not see it") in runbook
    for part in ("**What it means.**", "**Look.**", "**Do.**", "**Over when**"):
        assert part in runbook


@every_alert
def test_every_alert_says_how_urgent_it_is(name: str) -> None:
    assert text(mapping(RULES[name]["labels"])["severity"]) in {"page", "ticket"}
    assert text(ANNOTATIONS[name]["summary"])


def test_every_runbook_is_an_alerts() -> None:
    named = {text(said["runbook"]) for said in ANNOTATIONS.values()}
    assert named == {f"docs/runbooks/{path.name}" for path in (ROOT / "docs/runbooks").glob("*.md")}


def test_the_doctor_names_the_runbook_of_the_alert_that_tells_the_same() -> None:
    told = {text(said["check"]): text(said["runbook"]) for said in ANNOTATIONS.values() if said["check"]}
    assert told == {check: f"docs/runbooks/{name}.md" for check, name in RUNBOOKS.items()}
    for check, path in told.items():
        assert path in with_runbook(Finding(check, PROBLEM, "is wrong", "mend it")).advice
        assert path in with_runbook(Finding(check, WARNING, "is odd", "look")).advice
        assert with_runbook(Finding(check, OK, "is fine", "")).advice == ""
    assert len(CHECKS) > len(RUNBOOKS)


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
    assert text(next(iter(strings(_targets(config))))) == "web:8480"


def _targets(config: dict[str, Node]) -> Node:
    jobs = config["scrape_configs"]
    assert isinstance(jobs, list)
    statics = mapping(jobs[0])["static_configs"]
    assert isinstance(statics, list)
    return mapping(statics[0])["targets"]

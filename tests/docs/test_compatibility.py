"""What is said of other registries: their rules, written down once more, and ours, asked about the same tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest

from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.grants import Conditions, Grant
from tenure_reader.matching import Matching
from tenure_reader.rules import match
from tests.docs.markdown import table, text, ticked
from tests.reader.world import GRANT

COMPATIBILITY = text("docs/compatibility.md")
Claims = Mapping[str, str]
OWN = "octo/widgets/.github/workflows"
A, B, MAIN = "a" * 40, "b" * 40, "refs/heads/main"
TOKEN: dict[str, str] = {
    "repository_owner": "octo", "repository_owner_id": "41", "repository": "octo/widgets", "repository_id": "7",
    "job_workflow_ref": f"{OWN}/release.yml@{MAIN}", "job_workflow_sha": A, "workflow_ref": f"{OWN}/release.yml@{MAIN}",
    "workflow_sha": A, "ref": MAIN, "sha": A, "runner_environment": "github-hosted", "event_name": "push",
    "sub": f"repo:octo/widgets:ref:{MAIN}",
}  # fmt: skip


class Registry(NamedTuple):
    matching: Matching
    members: Conditions
    theirs: Callable[[Claims, str, str | None], bool]
    """Claims, file and environment → whether the registry lets the token publish for octo/widgets, whose owner's id is 41."""


def named(claims: Claims, *, owner: bool = False, repository: bool = False) -> bool:
    """Owner's id and names; letter case aside, but for those that are named."""
    if claims["repository_owner_id"] != "41":
        return False
    given, _, name = claims["repository"].partition("/")
    return (given if owner else given.lower()) == "octo" and (name if repository else name.lower()) == "widgets"


def nuget(claims: Claims, file: str, environment: str | None) -> bool:
    prefix = f"{OWN}/"
    ran = claims["job_workflow_ref"]
    return (
        named(claims)
        and claims["repository_id"] == "7"
        and ran.lower().startswith(prefix)
        and ran[len(prefix) :].partition("@")[0].lower() == file.lower()
        and (environment is None or claims.get("environment", "").upper() == environment.upper())
    )


def of_the_run_s_ref(claims: Claims, file: str) -> bool:
    return claims["job_workflow_ref"] in {f"{OWN}/{file}@{ref}" for ref in (claims["ref"], claims["sha"]) if ref}


def pypi(claims: Claims, file: str, environment: str | None) -> bool:
    return (
        named(claims, owner=True)
        and claims["sub"].lower().startswith("repo:octo/widgets:")
        and of_the_run_s_ref(claims, file)
        and (environment is None or claims.get("environment", "").lower() == environment.lower())
    )


def rubygems(claims: Claims, file: str, environment: str | None) -> bool:
    exactly = environment is None or claims.get("environment") == environment
    return named(claims, owner=True, repository=True) and of_the_run_s_ref(claims, file) and exactly


def crates(claims: Claims, file: str, environment: str | None) -> bool:
    began = re.search(r"([^/]+\.ya?ml)@", claims["workflow_ref"])
    return (
        named(claims)
        and claims["event_name"] not in ("pull_request_target", "workflow_run")
        and began is not None
        and began[1] == file
        and (environment is None or claims.get("environment", "").lower() == environment.lower())
    )


def npm(claims: Claims, file: str, environment: str | None) -> bool:
    return (
        named(claims, owner=True, repository=True)
        and claims["workflow_ref"].startswith(f"{claims['repository']}/.github/workflows/{file}@")
        and (environment is None or claims.get("environment") == environment)
        and claims["runner_environment"] == "github-hosted"
        and claims["event_name"] not in ("pull_request_target", "workflow_run")
    )


NONE: frozenset[str] = frozenset()
REGISTRIES: dict[str, Registry] = {
    "NuGet": Registry(Matching(forbidden_events=NONE), {}, nuget),
    "PyPI": Registry(Matching("exact", NONE), {"refs": ["refs/**"]}, pypi),
    "crates.io": Registry(Matching("exact", workflow_binds="caller"), {"called_workflow": "*"}, crates),
    "RubyGems": Registry(Matching("exact", NONE), {"refs": ["refs/**"]}, rubygems),
    "npm": Registry(
        Matching("exact", workflow_binds="caller"), {"called_workflow": "*", "runner": "github-hosted"}, npm
    ),
}


def of(name: str, path: str = OWN, ref: str = MAIN, *, called: bool = False) -> dict[str, str]:
    """A run of another file: the one that the run began with, or one that it called."""
    ran = f"{path}/{name}@{ref}"
    return {"job_workflow_ref": ran} | ({} if called else {"workflow_ref": ran})


KELVIN = "\N{KELVIN SIGN}it"
CASES: list[tuple[str, dict[str, str], str, str | None]] = [
    ("", {}, "release.yml", None),
    ("", {"environment": "prod"}, "release.yml", "prod"),
    ("", {"environment": "other"}, "release.yml", "prod"),
    ("", {}, "release.yml", "prod"),
    ("", {"environment": "prod"}, "release.yml", None),
    ("", of("Release.yml"), "release.yml", None),
    ("", of("other.yml"), "release.yml", None),
    ("", of("release.yaml"), "release.yml", None),
    ("", of("publish.yml", called=True), "publish.yml", None),
    ("", of("publish.yml", called=True), "release.yml", None),
    ("", of("publish.yml", "labs/shared/.github/workflows", "refs/tags/v3", called=True), "release.yml", None),
    ("", of("release.yml", "labs/shared/.github/workflows", "refs/tags/v3", called=True), "release.yml", None),
    ("", of("release.yml", ref="refs/heads/evil", called=True) | {"job_workflow_sha": B}, "release.yml", None),
    ("", {"ref": "refs/pull/7/merge", "event_name": "pull_request"} | of("release.yml", ref="refs/pull/7/merge"), "release.yml", None),
    ("", {"event_name": "pull_request_target"}, "release.yml", None),
    ("", {"event_name": "workflow_run"}, "release.yml", None),
    ("", {"event_name": "workflow_dispatch"}, "release.yml", None),
    ("", {"runner_environment": "self-hosted"}, "release.yml", None),
    ("", {"repository_owner_id": "42"}, "release.yml", None),
    ("names", {"repository": "octo/renamed"} | of("release.yml", "octo/renamed/.github/workflows"), "release.yml", None),
    ("reused", {"repository_id": "8"}, "release.yml", None),
    ("letters", {"repository": "Octo/widgets"} | of("release.yml", "Octo/widgets/.github/workflows"), "release.yml", None),
    ("letters", {"repository": "octo/Widgets"} | of("release.yml", "octo/Widgets/.github/workflows"), "release.yml", None),
    ("environment", {"environment": "Prod"}, "release.yml", "prod"),
    ("folding", {"environment": KELVIN}, "release.yml", "kit"),
    ("at", of("release@v2.yml"), "release@v2.yml", None),
    ("commit", of("publish.yml", called=True) | {"job_workflow_sha": B}, "publish.yml", None),
    ("commit", {"job_workflow_sha": "", "workflow_sha": ""}, "release.yml", None),
    ("deployment", {"ref": ""} | of("release.yml", ref=A), "release.yml", None),
    ("stranger", {"workflow_ref": f"labs/shared/.github/workflows/release.yml@{MAIN}"}, "release.yml", None),
    ("subject", {"sub": "repository_id:7"}, "release.yml", None),
]  # fmt: skip


def decided(registry: str, changed: Mapping[str, str], file: str, environment: str | None) -> tuple[bool, bool]:
    """What the registry decides, and what we do."""
    matching, members, theirs = REGISTRIES[registry]
    claims = {**TOKEN, **changed}
    grant: Grant = {**GRANT, **members, "repository": "widgets", "workflow_file": file, "environment": environment}
    return theirs(claims, file, environment), match(grant, GITHUB_ACTIONS.job(claims), 2, matching=matching).matched


@pytest.mark.parametrize("registry", REGISTRIES)
def test_what_differs_from_a_registry_is_named(registry: str) -> None:
    differing = {name for name, *case in CASES if len({*decided(registry, *case)}) == 2}  # type: ignore[arg-type]
    named_here = {ticked(row[0])[0] for row in table(COMPATIBILITY, "different") if registry in row[1].split(", ")}
    assert differing == named_here


def test_every_registry_has_its_rows() -> None:
    assert [row[0] for row in table(COMPATIBILITY, "registries")] == list(REGISTRIES)
    rows = table(COMPATIBILITY, "given by")
    assert [row[0] for row in rows] == list(REGISTRIES)
    for name, settings, members in rows:
        matching, conditions, _ = REGISTRIES[name]
        assert (matching.workflow_file_case == "exact") == ("TENURE_WORKFLOW_FILE_CASE=exact" in settings)
        assert (matching.workflow_binds == "caller") == ("TENURE_WORKFLOW_BINDS=caller" in settings)
        assert (not matching.forbidden_events) == ("TENURE_FORBIDDEN_EVENTS=none" in settings)
        assert set(conditions) <= {word.partition(":")[0] for word in ticked(members)}
    assert {ticked(row[0])[0] for row in table(COMPATIBILITY, "different")} == {name for name, *_ in CASES} - {""}

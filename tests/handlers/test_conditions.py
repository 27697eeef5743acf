"""What a registration may ask of a token: what is meant is kept, and what could never match, or would match more, is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.base import OPERATOR, REGISTRY, UnusableEventError
from handlers.models import MOST_ASKED, MOST_PACKAGES, PolicyRegistered
from handlers.names import LONGEST_PATTERN
from handlers.operators import LONGEST_VALUE
from handlers.registry import OF_PACKAGES, data_of, registration_of
from handlers.table import handle
from tenure_reader.globs import ref_matches
from tests.support import JSON, POLICY, incoming, registration_data, without
from worker.lifecycle import scopes
from worker.lifecycle.conditions import NOTHING, RegisteredConditions
from worker.lifecycle.registration import decode

SHARED = "labs/shared/.github/workflows/publish.yml"


def data(**asked: JSON) -> dict[str, JSON]:
    of_packages = {name: value for name, value in asked.items() if name in OF_PACKAGES}
    return {**registration_data(**without(asked, *OF_PACKAGES)), **of_packages}


def asked(**given: JSON) -> RegisteredConditions:
    (said,) = handle(incoming("policy.registered", data(**given), kind=REGISTRY)).observations
    return decode(str(said.value)).asked


def refused(**given: JSON) -> str:
    with pytest.raises(UnusableEventError) as refusal:
        asked(**given)
    return str(refusal.value)


@pytest.mark.parametrize(("given", "kept"), [
    ({}, NOTHING),
    (dict.fromkeys((*RegisteredConditions._fields,), None), NOTHING),
    ({"ref_protected": False, "runner": "any"}, NOTHING),
    ({"refs": ["refs/tags/v*", " refs/heads/main ", "refs/tags/v*"]}, RegisteredConditions(refs=("refs/tags/v*", "refs/heads/main"))),
    ({"refs": ["refs/heads/Main", "refs/**"]}, RegisteredConditions(refs=("refs/heads/Main", "refs/**"))),
    ({"refs": ["refs/tags/@acme/widgets@*", "refs/tags/v1+\u00e4"]}, RegisteredConditions(refs=("refs/tags/@acme/widgets@*", "refs/tags/v1+\u00e4"))),
    ({"ref_protected": True}, RegisteredConditions(ref_protected=True)),
    ({"workflow_binds": "caller"}, RegisteredConditions(workflow_binds="caller")),
    ({"workflow_binds": "job", "workflow_file": SHARED}, RegisteredConditions(workflow_binds="job")),
    ({"workflow_binds": "caller", "workflow_file": "octo/widgets/.github/workflows/release.yml"}, RegisteredConditions(workflow_binds="caller")),
    ({"called_workflow": "*"}, RegisteredConditions(called_workflow="*")),
    ({"called_workflow": f" {SHARED} "}, RegisteredConditions(called_workflow=SHARED)),
    ({"called_workflow": "labs\\shared\\.GitHub\\Workflows\\publish.yml@refs/tags/v*"}, RegisteredConditions(called_workflow=f"{SHARED}@refs/tags/v*")),
    ({"called_workflow": f"{SHARED}@v3", "workflow_binds": "caller"}, RegisteredConditions(workflow_binds="caller", called_workflow=f"{SHARED}@v3")),
    ({"called_workflow": "labs/shared/.github/workflows/publish@v2.yml@v3"}, RegisteredConditions(called_workflow="labs/shared/.github/workflows/publish@v2.yml@v3")),
    ({"called_workflow": "octo/shared/.github/workflows/publish.yml"}, RegisteredConditions(called_workflow="octo/shared/.github/workflows/publish.yml")),
    ({"runner": "self-hosted"}, RegisteredConditions(runner="self-hosted")),
    ({"events": ["Push", "release", "push"]}, RegisteredConditions(events=("push", "release"))),
    ({"packages": ["Acme.*", "@acme/widgets", "acme-?"]}, RegisteredConditions(packages=("Acme.*", "@acme/widgets", "acme-?"))),
    ({"actions": ["publish", "Stage"]}, RegisteredConditions(actions=("publish", "Stage"))),
])  # fmt: skip
def test_what_is_meant_is_kept(given: dict[str, JSON], kept: RegisteredConditions) -> None:
    assert asked(**given) == kept


@pytest.mark.parametrize(("field", "value", "says"), [
    *[("refs", [ref], "give the whole ref, such as refs/heads/main or refs/tags/v*") for ref in (
        "", "main", "v*", "*", "**", "heads/main", "/refs/heads/main", "refs/", "refs", "!refs/heads/x", "REFS/heads/main",
        "https://github.com/octo/widgets/tree/main",
    )],
    *[("refs", [ref], "no ref has") for ref in (
        "refs/heads/a b", "refs/heads/v?", "refs/heads/[ab]", "refs/heads/a..b", "refs//main", "refs/heads/main/", "refs/heads/a\\b",
        "refs/heads/a\x00", "refs/heads/a\nb", "refs/heads/\u202ea", "refs/heads/a\u200b", "refs/heads/x.lock", "refs/heads/a@{1}",
        "refs/heads/a^", "refs/heads/a~1", "refs/heads/a:b",
    )],
    ("refs", ["refs/" + "a" * LONGEST_PATTERN], "at most 255"),
    ("refs", [], "names none"), ("events", [], "names none"), ("packages", [], "names none"), ("actions", [], "names none"),
    ("refs", "refs/heads/main", "list of texts"), ("refs", [7], "list of texts"), ("refs", {"a": "b"}, "list of texts"),
    ("refs", [f"refs/heads/{n}" for n in range(MOST_ASKED + 1)], "more than 20"),
    ("events", ["push"] * (MOST_ASKED + 1), "more than 20"),
    ("packages", ["a"] * (MOST_PACKAGES + 1), "more than 50"),
    ("ref_protected", "true", "boolean"), ("ref_protected", 1, "boolean"),
    ("workflow_binds", "both", "'job' or 'caller'"), ("workflow_binds", "Caller", "'job' or 'caller'"),
    ("runner", "linux", "'github-hosted', 'self-hosted' or 'any'"),
    *[("called_workflow", path, "give owner/name/.github/workflows/file.yml") for path in (
        "", "**", "publish.yml", ".github/workflows/publish.yml", "shared/.github/workflows/publish.yml", "labs/shared/publish.yml",
        "https://github.com/labs/shared/blob/main/.github/workflows/publish.yml", "labs/*/.github/workflows/publish.yml",
        "labs/shared/.github/workflows/*.yml", "labs/shared/.github/workflows/sub/publish.yml", "labs/shared/.github/workflows/publish",
        "labs/../.github/workflows/publish.yml", "labs/shared/.github/workflows/a.yml,b.yml",
    )],
    ("called_workflow", f"{SHARED}@", "nothing follows the @"),
    ("called_workflow", f"{SHARED}@a b", "no ref has"), ("called_workflow", f"{SHARED}@v?", "no ref has"),
    ("called_workflow", f"{SHARED}@{'v' * 256}", "at most 255"),
    ("called_workflow", "Octo/Widgets/.github/workflows/publish.yml", "the policy's own repository"),
    ("called_workflow", "x" * 1001, "1000 characters"), ("called_workflow", 7, "valid string"),
    *[("events", [event], "name of an event") for event in ("", "push!", "*", "pull request", "\u212aush", "a" * 51)],
    *[("packages", [name], "names of packages") for name in ("", " ", "a\nb", "\u202ea", "a" * 256)],
    *[("actions", [name], "what may be done") for name in ("", "*", "a\nb", "a" * 101)],
])  # fmt: skip
def test_what_could_never_match_or_would_match_more_is_refused_by_its_field(field: str, value: JSON, says: str) -> None:
    message = refused(**{field: value})
    assert says in message
    assert f"{field}: " in message


@pytest.mark.parametrize(("given", "field", "says"), [
    ({"workflow_binds": "caller", "workflow_file": SHARED}, "workflow_binds", "a file of the policy's own repository"),
    ({"called_workflow": "*", "workflow_file": SHARED}, "called_workflow", "a file of the policy's own repository"),
    ({"called_workflow": SHARED, "workflow_binds": "job"}, "called_workflow", "leave workflow_binds out"),
])  # fmt: skip
def test_what_contradicts_itself_is_refused(given: dict[str, JSON], field: str, says: str) -> None:
    message = refused(**given)
    assert says in message
    assert f"github.{field}: " in message


FULL: dict[str, JSON] = {
    "refs": [f"refs/heads/{n:02}{'a' * 240}" for n in range(MOST_ASKED)], "ref_protected": True,
    "called_workflow": f"labs/shared/.github/workflows/{'f' * 240}.yml@refs/{'t' * 250}", "runner": "github-hosted",
    "events": [f"{'e' * 49}{chr(97 + n)}" for n in range(MOST_ASKED)],
    "packages": [f"{n:02}{chr(34) * 253}" for n in range(MOST_PACKAGES)], "actions": [f"{n:02}{'a' * 98}" for n in range(MOST_ASKED)],
}  # fmt: skip


def test_what_was_registered_is_exported_and_imported_again() -> None:
    (said,) = handle(incoming("policy.registered", data(**FULL), kind=REGISTRY)).observations
    assert len(str(said.value)) < LONGEST_VALUE
    row: list[JSON] = [
        str(said.value),
        5,
        scopes.policy(POLICY),
        "registration",
        "proof",
        "registry",
        "e-1",
        "policy.registered",
    ]
    (imported,) = handle(incoming("policy.imported", {"policy_id": POLICY, "facts": [row]}, kind=OPERATOR)).observations
    assert imported.value == said.value


@pytest.mark.parametrize("changed", [
    {"refs": ["main"]}, {"refs": []}, {"refs": ["refs/heads/a", "refs/heads/a"]}, {"events": ["Push"]}, {"workflow_binds": "both"},
    {"called_workflow": "octo/widgets/.github/workflows/publish.yml"}, {"lease": True}, {"ref_protected": "true"}, [["refs/heads/a"]],
])  # fmt: skip
def test_an_import_asks_nothing_that_could_not_be_registered(changed: JSON) -> None:
    (said,) = handle(incoming("policy.registered", data(), kind=REGISTRY)).observations
    members = json.loads(str(said.value))
    text = json.dumps([*members, changed])
    row: list[JSON] = [text, 5, scopes.policy(POLICY), "registration", "proof", "registry", "e-1", "policy.registered"]
    with pytest.raises(UnusableEventError, match=r"is no registration|asks of a token"):
        handle(incoming("policy.imported", {"policy_id": POLICY, "facts": [row]}, kind=OPERATOR))


def test_a_registration_is_written_as_the_event_that_says_it() -> None:
    told = PolicyRegistered.model_validate(data(**FULL))
    again = PolicyRegistered.model_validate(data_of(registration_of(told), POLICY))
    assert registration_of(again) == registration_of(told)


PARTS = st.sampled_from(["refs/", "heads/", "tags/", "main", "v", "*", "**", "/", "1", ".", "-", "@", " ", "\t"])


@given(st.lists(PARTS, max_size=8).map("".join), st.lists(PARTS, max_size=8).map("".join))
def test_a_pattern_never_lets_more_through_than_was_written(written: str, ref: str) -> None:
    try:
        (kept,) = asked(refs=[written]).refs
    except UnusableEventError:
        return
    if ref_matches(kept, ref):
        assert ref_matches(written.strip(), ref)

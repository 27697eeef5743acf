"""The documents' tables say what the code says."""

from __future__ import annotations

import inspect
import json
import re
from typing import cast, get_args, get_type_hints

import pytest

from handlers.activity import COUNTED
from handlers.base import EXCHANGE, GITHUB, MOST_PARTS, MOST_VALUES, OPERATOR, REGISTRY
from handlers.table import ACTIONS, EVENTS, WEBHOOKS, handle
from schedules.jobs import FEED_KEPT
from schedules.table import TABLE
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.grants import Conditions as ReadConditions
from tenure_reader.mirror import MAX_LAG
from tenure_reader.rules import DIFFERENCES, RULES
from tests.docs.markdown import DOCS, ROOT, first_column, listed, table, text, ticked
from tests.support import JSON, account, incoming, installation, person, registration_data, repository
from worker.cli import COMMANDS, loaded
from worker.cli.session import Exit
from worker.http import app as web
from worker.lifecycle import logins, scopes
from worker.lifecycle.conditions import NAMES
from worker.lifecycle.conditions import ViewConditions as WrittenConditions
from worker.lifecycle.decide import State
from worker.lifecycle.facts import DAY, HOUR, LONGEST, SECOND, THICK, Observation
from worker.lifecycle.logins import LoginOutcome
from worker.lifecycle.owners import DEFAULT
from worker.lifecycle.policy import REGISTRATIONS
from worker.lifecycle.reasons import ADVISORIES, REASONS
from worker.lifecycle.registration import Registration, encode
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import DEFINITION, ChangeType, View, change_between
from worker.settings import FILES, PREFIX, Settings
from worker.settings.issuers import Instance, webhooks_path
from worker.settling.processor import BATCH, PAGE
from worker.store.audit import Action
from worker.store.checks import LEASE as CHECK_LEASE
from worker.store.event_ledger import KEPT, KEPT_LONG, ROOM, SHELVES
from worker.store.inbox import EVENTS as EVENTS_LANE
from worker.store.inbox import (
    LARGE,
    LARGE_BODY,
    LEASE,
    MAX_DEATHS,
    MAX_FAILURES,
    REFUSAL_REMEMBERED_MS,
    SEEN_LATELY,
    SHARE,
    WAKE_MS,
)
from worker.store.policies import HISTORY, OBSERVED_MS, READ_AT_ONCE, REMEMBERED, SCRIPT_ITEMS, SCRIPT_PARTS
from worker.store.search import SCANNED_AT_ONCE
from worker.store.sessions import SESSION_SECONDS
from worker.store.topology import SOCKET_TIMEOUT
from worker.verify.checker import WINDOW
from worker.verify.losses import FEW, SECOND_LOOK
from worker.verify.owners import MOST_LOGINS
from worker.web import answers
from worker.web.bodies import BODY_SECONDS, MAX_BODY, MIB
from worker.web.events import MAX_EVENTS
from worker.web.hub import MAX_STREAMS
from worker.web.inbox_writer import PATIENCE_SECONDS
from worker.web.owners import REFUSALS, WITHIN
from worker.web.preferences import LONGEST_WAIT
from worker.web.problems import Kind

ARCHITECTURE = text("docs/architecture.md")
CONTRACT = text("docs/contract.md")
LIFECYCLE = text("docs/lifecycle.md")
INTEGRATION = text("docs/integration.md")

EVERYTHING: dict[str, JSON] = {
    "repository": repository(archived=False),
    "organization": account(),
    "account": account(),
    "installation": installation(),
    "repositories": [{"id": 7, "name": "widgets"}],
    "hook_id": 5,
    "hook": {"type": "Organization"},
    "membership": {"user": person(), "state": "active"},
    "member": person(),
    "changes": {
        "login": {"from": "former"},
        "repository": {"name": {"from": "gadgets"}},
        "owner": {"from": {"organization": account(42, "former")}},
        "permission": {"to": "read"},
    },
    "ref": "refs/heads/main",
    "commits": [{"added": [], "modified": [], "removed": [".github/workflows/release.yml"]}],
}
"""A webhook with all that any handler reads; each takes its part."""

DATA: dict[str, JSON] = {
    **registration_data(),
    "repository_id": 7,
    "repository_owner_id": 41,
    "jti": "run-1",
    "code": "workflow_file",
    "account": "maria",
}
"""The same for events."""


def observed(observations: tuple[Observation, ...]) -> set[str]:
    """Observations in the words of the tables: what is also observed of an `unbound` name is told once."""
    told = {
        (observation.scope.partition(":")[0], re.sub(r":.*", "", observation.aspect), _value(observation))
        for observation in observations
    }
    known = {(aspect, value) for kind, aspect, value in told if kind == "repository"}
    return {f"{kind} {a} = {v}" for kind, a, v in told if kind != "unbound" or (a, v) not in known}


def _value(observation: Observation) -> str:
    if observation.aspect == "visibility" or not isinstance(observation.value, str):
        return json.dumps(observation.value).strip('"')
    return "…"


@pytest.mark.parametrize("document", [CONTRACT, LIFECYCLE], ids=["contract", "lifecycle"])
def test_reasons_and_advisories_are_those_that_are_decided(document: str) -> None:
    assert first_column(document, "reasons") == list(REASONS)
    assert first_column(document, "advisories") == list(ADVISORIES)


def test_every_webhook_is_listed_with_what_is_observed() -> None:
    rows = table(LIFECYCLE, "webhooks")
    assert [ticked(row[0])[0] for row in rows] == list(WEBHOOKS)
    for name, said, check, _ in rows:
        event = ticked(name)[0]
        body = dict(EVERYTHING)
        if event.startswith("installation_repositories"):
            body[f"repositories_{event.partition('.')[2]}"] = body.pop("repositories")
        if event in ("meta.deleted", "ping"):
            del body["repository"]
        if event == "member.added":
            body["changes"] = {"permission": {"to": "write"}}
        handled = handle(incoming(event.replace("*", "anything"), body, kind=GITHUB))
        assert set(ticked(said)) == observed(handled.observations), event
        assert check == ("yes" if handled.checks else "no"), event


def test_every_event_is_listed_with_what_is_observed() -> None:
    rows = table(LIFECYCLE, "events")
    assert [ticked(row[0])[0] for row in rows] == list(EVENTS)
    assert first_column(CONTRACT, "events") == list(EVENTS)
    for name, said, check in rows:
        event = ticked(name)[0]
        body = {**DATA, "package_owner": "acme"} if event.startswith("package_owner.") else DATA
        kind = EXCHANGE if event.startswith("login.") else REGISTRY
        handled = handle(incoming(event, body, kind=kind))
        assert set(ticked(said)) == observed(handled.observations), event
        assert check == ("yes" if handled.checks else "no"), event


def test_every_operators_action_is_listed_with_what_is_observed() -> None:
    rows = table(LIFECYCLE, "actions")
    assert [ticked(row[0])[0] for row in rows] == list(ACTIONS)
    registration = encode(Registration("n", "acme", "user", "maria", None, "octo", 41, "w", None, None, "r.yml", None))
    fact: list[JSON] = [
        registration,
        5,
        "policy:pol-1",
        "registration",
        "proof",
        "registry",
        "e-1",
        "policy.registered",
    ]
    for name, said, check, command in rows:
        action = ticked(name)[0]
        handled = handle(incoming(action, {**DATA, "facts": [fact]}, kind=OPERATOR))
        assert set(ticked(said)) == observed(handled.observations), action
        assert check == ("yes" if handled.checks else "no"), action
        assert ticked(command)[0] in first_column(CONTRACT, "commands")


def test_the_schedule_is_as_told() -> None:
    told = [
        (ticked(name)[0], every, jitter, ticked(queue)[0])
        for name, every, jitter, queue, _ in table(LIFECYCLE, "schedule")
    ]
    assert told == [(entry.name, f"{entry.every} s", f"{entry.jitter} s", entry.queue) for entry in TABLE]
    for row, entry in zip(table(LIFECYCLE, "schedule"), TABLE, strict=True):
        assert row[-1].startswith(entry.what)


def test_the_claims_are_as_told() -> None:
    assert first_column(LIFECYCLE, "rules") == list(RULES)
    rows = table(LIFECYCLE, "differences")
    assert {ticked(code)[0]: told for code, _, told in rows} == DIFFERENCES
    assert {ticked(stage)[0] for _, stage, _ in rows} == set(RULES)
    assert listed(LIFECYCLE, "required") == set(GITHUB_ACTIONS.required)
    assert listed(LIFECYCLE, "optional") == GITHUB_ACTIONS.optional
    assert listed(LIFECYCLE, "unchecked") == GITHUB_ACTIONS.unchecked
    assert listed(LIFECYCLE, "unchecked prefixes") == set(GITHUB_ACTIONS.unchecked_prefixes)


def _view(state: State) -> View:
    return cast("View", {"state": state.value, "revision": 1, "updated_at": ""} | dict.fromkeys(DEFINITION, ""))


def _transitions() -> dict[tuple[State | None, State], ChangeType | None]:
    """Every step that the code knows between two different states."""
    return {
        (before, after): change_between(before and _view(before), _view(after), renewed=False, reminded=False)
        for before in (None, *State)
        for after in State
        if before is not after
    }


def test_transitions_have_the_names_of_the_contract() -> None:
    told: dict[tuple[State | None, State], ChangeType | None] = {(State.REMOVED, state): None for state in State}
    del told[State.REMOVED, State.REMOVED]
    for row in table(CONTRACT, "transitions"):
        before = None if row[0] == "nothing" else State(row[0])
        for state, cell in zip(State, row[1:], strict=True):
            if state is not before:
                told[before, state] = ChangeType(ticked(cell)[0])
    assert told == _transitions()


def test_the_diagram_shows_every_transition() -> None:
    arrows = re.findall(r"^    (\S+) --> (\w+): (\S+)$", LIFECYCLE, re.MULTILINE)
    drawn = {
        (None if before == "[*]" else State(before), State(after)): ChangeType(name) for before, after, name in arrows
    }
    assert drawn == {step: change for step, change in _transitions().items() if change is not None}


def test_the_fields_that_define_a_policy_are_those_of_the_contract() -> None:
    said = re.search(r"5\. What it is differs \((.*?)\)", CONTRACT, re.DOTALL)
    assert said is not None
    assert set(ticked(said[1])) == DEFINITION


def test_what_a_policy_may_ask_is_as_told() -> None:
    assert first_column(CONTRACT, "conditions") == list(ReadConditions.__annotations__) == list(NAMES)
    assert get_type_hints(ReadConditions) == get_type_hints(WrittenConditions)


def test_states_are_those_of_the_contract() -> None:
    states = CONTRACT.partition("## 2. States")[2].partition("### Reasons")[0]
    assert re.findall(r"^\| `(\w+)` \|", states, re.MULTILINE) == [state.value for state in State]


def test_scopes_in_the_tables_are_those_of_the_code() -> None:
    kinds = {kind for _, said, *_ in table(LIFECYCLE, "webhooks") for kind in (x.split()[0] for x in ticked(said))}
    documented = re.findall(r"^    ([\w-]+):<", inspect.getdoc(scopes) or "", re.MULTILINE)
    documented += re.findall(r"^([\w-]+):<", inspect.cleandoc(scopes.__doc__ or ""), re.MULTILINE)
    assert kinds <= set(documented)


# Settings, commands, doors


def in_first_column(document: str, name: str) -> list[str]:
    """Everything that the first column names, where a row may be about several."""
    return [found for row in table(document, name) for found in ticked(row[0])]


def test_every_setting_is_listed() -> None:
    assert in_first_column(CONTRACT, "settings") == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]


def test_what_is_set_of_an_instance_is_as_told() -> None:
    told = [name for row in table(INTEGRATION, "instances") for name in ticked(row[0])]
    assert told == list(Instance.model_fields)
    (days,) = (row[1] for row in table(INTEGRATION, "instances") if "redelivery_days" in row[0])
    assert [int(day) for day in ticked(days)] == list(get_args(Instance.model_fields["redelivery_days"].annotation))


def test_settings_have_the_defaults_that_are_told() -> None:
    for (name, in_file, default, _), (field, info) in zip(
        table(CONTRACT, "settings"), Settings.model_fields.items(), strict=True
    ):
        assert in_file == ("file" if field.upper() in FILES else ""), name
        if info.default in (None, ()):
            assert not ticked(default), name
        else:
            assert ticked(default) == [str(info.default)], name


def _commands() -> list[str]:
    found = []
    for name in COMMANDS:
        inner = getattr(loaded(name), "commands", None)
        found += [f"tenure {name}"] if inner is None else [f"tenure {name} {sub}" for sub in inner]
    return found


def test_every_command_is_listed() -> None:
    assert sorted(in_first_column(CONTRACT, "commands")) == sorted(_commands())


def test_commands_are_listed_as_their_help_begins() -> None:
    for name, entry in COMMANDS.items():
        assert (loaded(name).help or "").startswith(entry.help), name


def test_everything_that_is_audited_is_listed() -> None:
    said = [action for row in table(CONTRACT, "audited") for action in ticked(row[0])]
    # An import's single events are a part of it.
    assert sorted(said) == sorted({*get_args(Action), *ACTIONS} - {"policy.imported"})


def test_exit_codes_are_as_told() -> None:
    assert [int(row[0]) for row in table(CONTRACT, "exit codes")] == [code.value for code in Exit]


def test_every_event_to_subscribe_to_is_listed() -> None:
    events = {name.partition(".")[0] for name in WEBHOOKS}
    assert set(in_first_column(INTEGRATION, "app events")) == events


def test_kinds_of_problems_are_those_of_the_doors() -> None:
    told = set(re.findall(r"`(?:urn:tenure:problem:|…:)(\w+)`", CONTRACT))
    assert told == set(get_args(Kind))
    assert f"### `POST {webhooks_path(DEFAULT)}`" in CONTRACT
    assert f"### `POST {web.EVENTS}`" in CONTRACT


def test_refusals_of_registrations_are_those_of_the_api() -> None:
    assert first_column(CONTRACT, "refusals") == list(REFUSALS)
    assert all(f"`{field}`" in CONTRACT for field in ("repository_owner", "repository_owner_id"))
    assert f"within {WITHIN // (60 * SECOND)} minutes" in CONTRACT
    assert f"may name {MOST_LOGINS} different logins" in CONTRACT


def test_the_rooms_are_there() -> None:
    for room in first_column(ARCHITECTURE, "rooms"):
        assert (ROOT / room).is_dir()


FIGURES = {
    "events claimed at once": BATCH[EVENTS_LANE],
    "of one owner": SHARE,
    "policies settled at once for one event, first lane": PAGE[EVENTS_LANE],
    "the same, large lane": PAGE[LARGE],
    "lease, s": LEASE / SECOND,
    "silence after which a worker has ended, s": SEEN_LATELY / SECOND,
    "deaths of a worker that make a dead letter": MAX_DEATHS,
    "failures that make a dead letter": MAX_FAILURES,
    "how long a wake-up is believed to be under way, s": WAKE_MS / 1000,
    "how long a settled event is a duplicate at least, days": KEPT / DAY,
    "the same where an instance of GitHub redelivers for 7 days, days": KEPT_LONG / DAY,
    "shelves of the ledger": SHELVES,
    "entries of a shelf's newer part": ROOM,
    "the same of a login that was refused, minutes": REFUSAL_REMEMBERED_MS / 60_000,
    "how long after its time such a one is counted, minutes": logins.COUNTED[LoginOutcome.REFUSED] / (60 * SECOND),
    "the same of a login that succeeded, days": logins.COUNTED[LoginOutcome.SUCCEEDED] / DAY,
    "codes of refusal that are kept of a policy": logins.NAMES[LoginOutcome.REFUSED],
    "shapes of its logins, the same": logins.NAMES[LoginOutcome.SUCCEEDED],
    "how long observations are remembered, days": OBSERVED_MS * 1000 / DAY,
    "subjects that are remembered of an owner": REMEMBERED,
    "workflow files of one push that count": COUNTED,
    "body that goes around the scripts, KiB": LARGE_BODY / 1024,
    "objects and lists in one payload": MOST_PARTS,
    "values in one payload": MOST_VALUES,
    "observations and indexes in one run of a script": SCRIPT_PARTS,
    "records that one command reads": READ_AT_ONCE,
    "policies that one run of a script commits": SCRIPT_ITEMS,
    "entries of a policy's history": HISTORY,
    "series that is kept whole": THICK,
    "observations of an endless series that are kept": LONGEST,
    "registrations that are kept even if they repeat their neighbours": REGISTRATIONS,
    "how long the feed is kept, days": FEED_KEPT / DAY,
    "how long a mirror is trusted without an answer of the store, s": MAX_LAG,
    "how long the API waits for the store, s": PATIENCE_SECONDS,
    "how long a client waits for an answer of the store, s": SOCKET_TIMEOUT,
    "partitions": Settings().partitions,
    "window, days": Rules().window / DAY,
    "reminder, hours before": Rules().reminder / HOUR,
    "largest body, MiB": MAX_BODY / MIB,
    "longest wait for a body, s": BODY_SECONDS,
    "events in a batch": MAX_EVENTS,
    "requests that wait for their events, of one process": answers.MOST,
    "longest such wait, s": LONGEST_WAIT,
    "between two checks of an owner, at least, s": WINDOW / SECOND,
    "second look, s": SECOND_LOOK / SECOND,
    "lease of a check, s": CHECK_LEASE / SECOND,
    "owners that lose something at once and are believed, fewer than": FEW,
    "policies that one search of the console reads": SCANNED_AT_ONCE,
    "a session of the console, hours": SESSION_SECONDS / 3600,
    "readers that follow the feed live, for each API process": MAX_STREAMS,
}


def test_figures_are_those_of_the_code() -> None:
    assert {name: float(value) for name, value in table(ARCHITECTURE, "figures")} == FIGURES
    assert f"the body was not complete after {BODY_SECONDS:.0f} seconds" in CONTRACT
    assert f"takes up to {BATCH[EVENTS_LANE]} due events" in ARCHITECTURE


def headings(document: str) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    found = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_links_between_documents_lead_somewhere() -> None:
    inner = (
        *ROOT.glob("examples/*/*.md"),
        ROOT / "reader" / "README.md",
        *ROOT.glob("reader/src/**/*.md"),
        *ROOT.glob("worker/doctor/runbooks/*.md"),
    )
    for path in (*DOCS.glob("*.md"), *inner, ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        document = path.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([\w-]+))?\)", document):
            aim = path.parent / target if target else path
            assert aim.exists(), f"{path.name}: {target}"
            if anchor and aim.suffix == ".md":
                assert anchor in headings(aim.read_text(encoding="utf-8")), f"{path.name}: {target}#{anchor}"

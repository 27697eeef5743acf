"""The kit's cases, through everything that decides here, and through its own runner."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tenure_reader import Reader
from tenure_reader.conformance.__main__ import CASES, differences, main
from tenure_reader.conformance.adapter import answer, decided, matching
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.keys import PARTITIONS, conditional
from tenure_reader.matching import FIELDS, FORBIDDEN_EVENTS
from tenure_reader.rules import DIFFERENCES, RULES
from tests.conformance.unsafe import RightReader, unsafe_readers
from tests.docs.test_schemas import validator
from tests.engines import plain_client
from worker.lifecycle import scopes
from worker.lifecycle.decide import USABLE
from worker.lifecycle.views import micros, owner_of
from worker.local.valkey import EmbeddedStore
from worker.store.keys import Keyspace

KIT: list[dict[str, Any]] = json.loads(CASES.read_text(encoding="utf-8"))["cases"]
NAMES = [case["name"] for case in KIT]


def test_the_kit_is_well_formed() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for case in KIT:
        assert set(case) - {"settings", "switches", "package", "action"} == {"name", "now", "views", "claims", "expect"}
        for view in case["views"]:
            # What `usable` is, and whether the state says the same, is what some cases are about.
            validator("view.json").validate({**view, "usable": view["state"] in USABLE})
            assert view["usable"] is (view["state"] in USABLE) or not case["expect"]["allowed"]
        expect = case["expect"]
        assert expect["allowed"] == (expect["policy_id"] is not None) == (expect["stage"] is None)


def test_the_kit_has_a_case_for_every_rule() -> None:
    stages = {case["expect"]["stage"] for case in KIT} - {None}
    codes = {case["expect"]["code"] for case in KIT} - {None}
    assert stages == set(RULES)
    # Policies of another instance are never found beside a token's. Removed policies are in no hash; and one that waits for a name fails there only beside one that comes further.
    assert codes == set(DIFFERENCES) - {"removed", "repository_name", "name_contradicted", "issuer"}
    assert {str(case["claims"].get("event_name")) for case in KIT} >= FORBIDDEN_EVENTS
    for name in GITHUB_ACTIONS.required:
        assert any(name not in case["claims"] for case in KIT), name


def test_our_rules_decide_as_the_kit_says() -> None:
    wrong = {case["name"]: differences(case["expect"], answer(decided(case))) for case in KIT}
    assert {name: differs for name, differs in wrong.items() if differs} == {}


def test_the_reader_decides_as_the_kit_says(store: EmbeddedStore) -> None:
    """From views that lie in a store as the contract has it, and are found by Tenure's own indexes."""
    keyspace = Keyspace(16)
    with plain_client(store.url) as client:
        reader = Reader(client)
        for case in KIT:
            client.flushall()
            client.set(PARTITIONS, keyspace.partitions)
            for partition in keyspace.all():
                client.hset(partition.settings, mapping=dict(zip(FIELDS, matching(case).fields(), strict=True)))
                for scope, switch in case.get("switches", {}).items():
                    client.hset(partition.switches, scope, json.dumps(switch))
            for view in case["views"]:
                owner, name, policy_id = owner_of(view), view["repository"], view["policy_id"]
                partition = keyspace.of(owner)
                bound, second = view["repository_id"] is not None, conditional(view)
                by_id = partition.repository_v2 if second else partition.repository
                by_name = partition.repository_name_v2 if second else partition.repository_name
                key = by_id(owner, view["repository_id"]) if bound else by_name(owner, name)
                client.hset(key, policy_id, json.dumps(view))
                for scope in (scopes.owner(owner), *([scopes.name(owner, name)] if bound else [])):
                    client.zadd(partition.scope_index(scope), {policy_id: 0})
            now = micros(datetime.fromisoformat(case["now"]))
            found = reader.evaluate(case["claims"], package=case.get("package"), action=case.get("action"), now=now)
            assert differences(case["expect"], answer(found)) == [], case["name"]


def test_a_reader_that_was_written_from_the_documents_decides_as_the_kit_says() -> None:
    assert [case["name"] for case in KIT if differences(case["expect"], RightReader().answer(case))] == []


def test_the_kit_fails_a_reader_that_gets_one_thing_wrong() -> None:
    """By its answers alone: an exchange need not tell stages and codes."""
    wrong = {unsafe.__name__: unsafe() for unsafe in unsafe_readers()}
    assert len(wrong) > 100
    assert [
        name for name, reader in wrong.items() if all(not differences(c["expect"], reader.answer(c)) for c in KIT)
    ] == []


def test_the_runner_asks_a_program_and_tells_what_differs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([sys.executable, "-m", "tenure_reader.conformance.adapter"]) == 0
    assert capfd.readouterr().out == f"{len(KIT)} of {len(KIT)} cases passed\n"
    credulous = tmp_path / "credulous.py"
    credulous.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    views = json.loads(line)['views']\n"
        "    print(json.dumps({'allowed': True, 'policy_id': views[0]['policy_id'] if views else None}), flush=True)\n",
        encoding="utf-8",
    )
    assert main([sys.executable, str(credulous)]) == 1
    told = capfd.readouterr()
    assert "a run on a stranger's pull request: allowed is True, not False" in told.err
    assert "the right run:" not in told.err
    assert main([sys.executable, "-c", ""]) == 1
    assert "the command ended" in capfd.readouterr().err
    assert main([str(tmp_path / "missing")]) == 2
    assert "missing cannot be started: No such file" in capfd.readouterr().err


@pytest.mark.parametrize("then", ["sys.stdin.read()", "threading.Event().wait()"])
def test_a_program_that_does_not_answer_is_ended(then: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([sys.executable, "-c", f"import sys, threading; {then}"], seconds=0.5) == 1
    assert "gave no answer within 0.5 s" in capfd.readouterr().err


def test_without_a_program_our_own_rules_are_tried(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capfd.readouterr().out == f"{len(KIT)} of {len(KIT)} cases passed\n"


def test_the_cases_can_be_had_from_an_installed_kit(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--cases"]) == 0
    assert json.loads(capfd.readouterr().out)["cases"] == KIT


def test_the_kit_runs_as_it_lies_in_a_checkout_with_the_standard_library_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(CASES.parent), sys.executable, "-c", ""],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, f"0 of {len(KIT)} cases passed\n"), done.stderr

"""`python -m tenure_reader.conformance.adapter`: this package's rules behind the lines that the runner writes. A model for others."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import cast

from tenure_reader.decision import Decision, decide
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.lookup import NOTHING_NEAR, grant_of, repository_of
from tenure_reader.matching import CONTRACT, Matching, issuers_of
from tenure_reader.memory import Memory
from tenure_reader.rules import Wanted
from tenure_reader.times import micros


def decided(case: Mapping[str, object]) -> Decision:
    switches = cast("Mapping[str, object]", case.get("switches", {}))
    closed = {scope: json.dumps(switch) for scope, switch in switches.items()}
    memory = Memory(matching(case), [closed])
    for view in cast("list[Mapping[str, object]]", case["views"]):
        memory.take(grant_of(view))
    job = GITHUB_ACTIONS.job(cast("Mapping[str, object]", case["claims"]))
    repository = repository_of(job, memory.matching)
    views, nearby = ([], NOTHING_NEAR) if repository is None else memory.find(repository)
    at = micros(datetime.fromisoformat(str(case["now"])))
    wanted = Wanted(cast("str | None", case.get("package")), cast("str | None", case.get("action")))
    return decide(views, job, at, nearby, matching=memory.matching, wanted=wanted)


def matching(case: Mapping[str, object]) -> Matching:
    """The installation's settings, as far as the case names them."""
    named = cast("Mapping[str, object]", case.get("settings", {}))
    read = {name: frozenset(value) if isinstance(value, list) else value for name, value in named.items()}
    if "issuers" in named:
        read["issuers"] = issuers_of(json.dumps(named["issuers"]))
    return replace(CONTRACT, **read)  # type: ignore[arg-type]


def answer(decision: Decision) -> dict[str, object]:
    difference = decision.difference
    return {
        "allowed": decision.allowed,
        "policy_id": decision.grant["policy_id"] if decision.grant else None,
        "stage": difference.stage if difference else None,
        "code": difference.code if difference else None,
    }


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(decided(json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

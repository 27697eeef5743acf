"""`python -m conformance.adapter`: Tenure's own rules behind the runner's lines. The model for others."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from worker.lifecycle.decision import Decision, decide
from worker.lifecycle.views import micros
from worker.reader.lookup import NOTHING_NEAR, grant_of, place_of
from worker.reader.memory import Memory


def decided(case: Mapping[str, object]) -> Decision:
    memory = Memory()
    for view in cast("list[Mapping[str, object]]", case["views"]):
        memory.take(grant_of(view))
    claims = cast("Mapping[str, object]", case["claims"])
    place = place_of(claims)
    found, nearby = ([], NOTHING_NEAR) if place is None else memory.find(place)
    return decide(found, claims, micros(datetime.fromisoformat(str(case["now"]))), nearby)


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

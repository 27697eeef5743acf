"""`python -m conformance.run COMMAND …`: ask another exchange's rules every case, and compare.

The command is started once. For each case it reads a line of JSON, {"now", "views", "claims"}, and writes one,
{"allowed", "policy_id"} with "stage" and "code" if it has such. Nothing but the standard library is needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

CASES = Path(__file__).parent / "cases.json"
PARTS = ("allowed", "policy_id", "stage", "code")
OPTIONAL = ("stage", "code")


def differences(expected: Mapping[str, object], answer: object) -> list[str]:
    """What is wrong with an answer. What an exchange does not tell, of the optional parts, is not compared."""
    if not isinstance(answer, dict):
        return [f"answered {answer!r}, not an object"]
    return [
        f"{part} is {answer.get(part)!r}, not {expected[part]!r}"
        for part in PARTS
        if not (part in OPTIONAL and part not in answer) and answer.get(part) != expected[part]
    ]


def ask(process: subprocess.Popen[str], case: Mapping[str, object]) -> object:
    """
    Raises:
        ValueError: the answer is not a line of JSON.
    """
    asked: IO[str] | None = process.stdin
    answers: IO[str] | None = process.stdout
    assert asked is not None
    assert answers is not None
    asked.write(json.dumps({part: case[part] for part in ("now", "views", "claims")}) + "\n")
    asked.flush()
    line = answers.readline()
    if not line:
        raise ValueError("the command ended")
    return json.loads(line)


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        sys.stderr.write("usage: python -m conformance.run COMMAND [ARGUMENT ...]\n")
        return 2
    cases = json.loads(CASES.read_text(encoding="utf-8"))["cases"]
    failed = 0
    with subprocess.Popen(  # noqa: S603 - the command that was asked for
        list(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        for case in cases:
            try:
                wrong = differences(case["expect"], ask(process, case))
            except (OSError, ValueError) as error:
                sys.stderr.write(f"{case['name']}: {error}\n")
                failed = len(cases)
                break
            failed += bool(wrong)
            for line in wrong:
                sys.stderr.write(f"{case['name']}: {line}\n")
        if process.stdin is not None:
            process.stdin.close()
    sys.stdout.write(f"{len(cases) - failed} of {len(cases)} as they should be\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

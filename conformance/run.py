"""`python -m conformance.run COMMAND …`: ask another exchange's rules every case, and compare.

The command is started once. For each case it reads a line of JSON, {"now", "views", "claims"}, and writes one,
{"allowed", "policy_id"} with "stage" and "code" if it has such. Nothing but the standard library is needed.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

CASES = Path(__file__).parent / "cases.json"
PARTS = ("allowed", "policy_id", "stage", "code")
ANSWER_SECONDS = 30.0
"""How long an answer may take. The first one waits for the command's start."""
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


def ask(process: subprocess.Popen[str], case: Mapping[str, object], seconds: float) -> object:
    """
    Raises:
        ValueError: the answer is not a line of JSON, or does not come; then the command was ended.
    """
    asked: IO[str] | None = process.stdin
    answers: IO[str] | None = process.stdout
    assert asked is not None
    assert answers is not None
    asked.write(json.dumps({part: case[part] for part in ("now", "views", "claims")}) + "\n")
    asked.flush()
    late = threading.Timer(seconds, process.kill)
    late.start()
    try:
        line = answers.readline()
    finally:
        late.cancel()
    if not line:
        raise ValueError(f"the command ended, or gave no answer within {seconds:g} s")
    return json.loads(line)


def end(process: subprocess.Popen[str], seconds: float) -> None:
    """No further cases: the command should end by itself, and is ended if it does not."""
    late = threading.Timer(seconds, process.kill)
    late.start()
    try:
        # What was not taken any more cannot be written either.
        with contextlib.suppress(OSError), process:
            pass
    finally:
        late.cancel()


def failures(process: subprocess.Popen[str], cases: Sequence[Mapping[str, Any]], seconds: float) -> int:
    """How many cases are not as they should be; all, if the command stops answering. Tells of each on stderr."""
    failed = 0
    for case in cases:
        try:
            wrong = differences(case["expect"], ask(process, case, seconds))
        except (OSError, ValueError, RecursionError) as error:
            sys.stderr.write(f"{case['name']}: {error}\n")
            process.kill()
            return len(cases)
        failed += bool(wrong)
        for line in wrong:
            sys.stderr.write(f"{case['name']}: {line}\n")
    return failed


def main(arguments: Sequence[str], seconds: float = ANSWER_SECONDS) -> int:
    if not arguments:
        sys.stderr.write("usage: python -m conformance.run COMMAND [ARGUMENT ...]\n")
        return 2
    cases = json.loads(CASES.read_text(encoding="utf-8"))["cases"]
    try:
        process = subprocess.Popen(  # noqa: S603 - the command that was asked for
            list(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
    except OSError as error:
        sys.stderr.write(f"{arguments[0]} cannot be started: {error.strerror}\n")
        return 2
    try:
        failed = failures(process, cases, seconds)
    finally:
        end(process, seconds)
    sys.stdout.write(f"{len(cases) - failed} of {len(cases)} as they should be\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

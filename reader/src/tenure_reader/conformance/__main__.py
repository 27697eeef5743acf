"""Asks a token exchange's rules every case of the kit, and compares.

    python3 -m tenure_reader.conformance COMMAND [ARGUMENT ...]   # your exchange, in any language
    python3 -m tenure_reader.conformance                          # this package's own rules
    python3 -m tenure_reader.conformance --cases                  # the cases themselves, as JSON

The command is started once. For each case it reads a line of JSON, {"now", "views", "claims"} with "settings", "switches", "package"
and "action" where the case has them, and writes one, {"allowed", "policy_id"} with "stage" and "code" if it has them.

To ask another command, nothing but the standard library is needed, so this folder can be run as it lies in a checkout:
`python3 reader/src/tenure_reader/conformance COMMAND`.
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
OWN_RULES = (sys.executable, "-m", "tenure_reader.conformance.adapter")
PARTS = ("allowed", "policy_id", "stage", "code")
OPTIONAL = ("stage", "code")
QUESTION = ("now", "views", "claims", "settings", "switches", "package", "action")
"""What is asked of a case. Of the last four, what it does not have is not sent."""
ANSWER_SECONDS = 30.0
"""How long an answer may take. The first one waits for the command's start."""


def differences(expected: Mapping[str, object], answer: object) -> list[str]:
    """What is wrong with an answer. An optional part that the exchange leaves out is not compared."""
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
        ValueError: the answer is no line of JSON, or does not come; then the command was ended.
    """
    questions: IO[str] | None = process.stdin
    answers: IO[str] | None = process.stdout
    assert questions is not None
    assert answers is not None
    questions.write(json.dumps({part: case[part] for part in QUESTION if part in case}) + "\n")
    questions.flush()
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
        # What the command no longer reads cannot be written either.
        with contextlib.suppress(OSError), process:
            pass
    finally:
        late.cancel()


def failures(process: subprocess.Popen[str], cases: Sequence[Mapping[str, Any]], seconds: float) -> int:
    """How many cases fail, each reported on stderr; all of them if the command stops answering."""
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
    """The exit code: 0 if every case passes, 1 if one fails, 2 if the command cannot be started."""
    if list(arguments) in (["-h"], ["--help"]):
        sys.stdout.write(f"{__doc__}")
        return 0
    written = CASES.read_text(encoding="utf-8")
    if list(arguments) == ["--cases"]:
        sys.stdout.write(written)
        return 0
    command = list(arguments) or list(OWN_RULES)
    cases = json.loads(written)["cases"]
    try:
        process = subprocess.Popen(  # noqa: S603 - the command that was asked for
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        return 2
    try:
        failed = failures(process, cases, seconds)
    finally:
        end(process, seconds)
    sys.stdout.write(f"{len(cases) - failed} of {len(cases)} cases passed\n")
    return 1 if failed else 0


def command_line() -> None:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    command_line()

"""What a workflow file tells of the tokens that its jobs may get; and what cannot be told is not claimed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.github.workflow import LONGEST, asks_for_id_token

JOB = "jobs:\n  publish:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make publish\n"
ASKING = "    permissions:\n      contents: read\n      id-token: write\n"

ASKS = {
    "for the whole file": f"on: push\npermissions:\n  id-token: write\n{JOB}",
    "for a job": f"on: push\n{JOB}{ASKING}",
    "in one line": f"on: push\npermissions: {{ contents: read, id-token: write }}\n{JOB}",
    "for all there is": f"on: push\npermissions: write-all\n{JOB}",
    "in quotes, with comments": f"---\n\"on\": push\n'permissions': # who\n  \"id-token\": 'write' # to publish\n{JOB}",
    "with line ends of Windows": f"on: push\npermissions:\n  id-token: write\n{JOB}".replace("\n", "\r\n"),
    "of a job that calls another file": "on: push\njobs:\n  publish:\n    uses: ./.github/workflows/publish.yml\n"
    + ASKING,
    "a job beside one that asks for less": f"on: push\n{JOB}{ASKING}  test:\n    permissions: {{}}\n    runs-on: x\n",
    "indented by four": "on: push\njobs:\n    publish:\n        permissions:\n            id-token: write\n        runs-on: x\n",
    "triggers at the margin": f"on:\n- push\n- release\npermissions:\n  id-token: write\n{JOB}",
}
DOES_NOT = {
    "nowhere": f"on: push\n{JOB}",
    "for reading": f"on: push\npermissions: read-all\n{JOB}",
    "nothing at all": f"on: push\npermissions: {{}}\n{JOB}",
    "something else": f"on: push\npermissions:\n  contents: write\n{JOB}",
    "said to be none": f"on: push\npermissions:\n  id-token: none\n{JOB}",
    "a comment": f"on: push\n# permissions:\n#   id-token: write\n{JOB}",
    "a script that writes of it": f"on: push\n{JOB}      - run: |\n          permissions:\n            id-token: write\n",
    "a step's input": f"on: push\n{JOB}      - uses: some/action@v1\n        with:\n          permissions: write-all\n",
    "every job asks for less than the file": (
        f"on: push\npermissions:\n  id-token: write\n{JOB}    permissions:\n      contents: read\n"
    ),
    "others may call it, and it allows itself nothing": f"on: workflow_call\npermissions:\n  contents: read\n{JOB}",
}
UNCLEAR = {
    "what its caller gives": f"on:\n  workflow_call:\n    inputs: {{}}\n{JOB}",
    "what its caller gives, in a list": f"on: [push, workflow_call]\n{JOB}",
    "an alias": f"on: push\nx: &p\n  id-token: write\npermissions: *p\n{JOB}",
    "an anchor": f"on: push\npermissions: &p\n  contents: read\n{JOB}",
    "merged in": f"on: push\n{JOB}    <<: *other\n",
    "JSON": '{"on": "push", "jobs": {}}',
    "jobs in one line": "on: push\njobs: {publish: {runs-on: x}}\n",
    "a job that is an alias": f"on: push\n{JOB}  other: *publish\n",
    "twice": f"on: push\npermissions: read-all\npermissions: write-all\n{JOB}",
    "no jobs": "on: push\n",
    "nothing": "",
    "two documents": f"on: push\n{JOB}---\npermissions: write-all\n",
    "an expression": f"on: push\npermissions:\n  id-token: ${{{{ inputs.level }}}}\n{JOB}",
    "several lines": f"on: push\npermissions: {{\n  id-token: write }}\n{JOB}",
    "tabs": "on: push\njobs:\n\tpublish:\n\t\truns-on: x\n",
    "line ends that not everybody knows": f"on: push\u2028permissions: write-all\n{JOB}",
    "no trigger": JOB,
}


@pytest.mark.parametrize("text", ASKS.values(), ids=ASKS)
def test_it_asks(text: str) -> None:
    assert asks_for_id_token(text) is True


@pytest.mark.parametrize("text", DOES_NOT.values(), ids=DOES_NOT)
def test_it_does_not_ask(text: str) -> None:
    assert asks_for_id_token(text) is False


@pytest.mark.parametrize("text", UNCLEAR.values(), ids=UNCLEAR)
def test_nothing_is_said_of_what_cannot_be_told(text: str) -> None:
    assert asks_for_id_token(text) is None


@given(st.text(st.sampled_from("on: jobspermi\n\t-#{}&*'\"\u202e\ufeff\r")))
def test_every_text_has_an_answer(text: str) -> None:
    assert asks_for_id_token(text) in (True, False, None)
    asks_for_id_token(f"on: push\n{text}\n{JOB}")


@pytest.mark.parametrize(
    "part",
    [
        "a",
        " ",
        "\n",
        "a:\n",
        " a: b\n",
        "- ",
        "{",
        "a: &a [*a,",
        ": ",
        "#",
        "'",
        "\u202e",
        "permissions:\n",
        "a: {a: b, ",
    ],
)
def test_whatever_is_repeated_costs_no_more_than_its_length(part: str) -> None:
    text = f"on: push\n{JOB}permissions: " + part * (LONGEST // len(part))
    begun = time.process_time()
    asks_for_id_token(text[:LONGEST])
    assert time.process_time() - begun < 2

"""How a login is counted: under the name of all, and under what tells it from others."""

from __future__ import annotations

import json

from worker.lifecycle.facts import DAY, HOUR
from worker.lifecycle.logins import COUNTED, EVERY, NAMES, CountedLogin, LoginOutcome, refused, succeeded
from worker.lifecycle.shapes import Shape


def test_a_refusal_is_named_by_its_code_and_the_last_one_says_it() -> None:
    said = {"id": "é-1", "run_id": 2**63 - 1}
    found = refused("pol-1", 7, "environment", said)
    assert found == CountedLogin("pol-1", LoginOutcome.REFUSED, 7, found.names)
    assert list(found.names) == [EVERY, "environment"]
    assert found.names[EVERY] == '{"code":"environment","id":"é-1","run_id":9223372036854775807}'
    assert json.loads(found.names["environment"]) == {}


def test_a_login_that_succeeded_is_named_by_its_shape() -> None:
    shape = Shape(ref="refs/heads/main")
    found = succeeded("pol-1", 7, {"id": "l-1"}, shape)
    assert found == CountedLogin("pol-1", LoginOutcome.SUCCEEDED, 7, found.names)
    assert found.names == {EVERY: '{"id":"l-1"}', shape.name: shape.written}


def test_no_name_of_a_login_is_the_name_of_all() -> None:
    assert not EVERY.isalnum()
    assert Shape().name.isalnum()
    assert (NAMES, COUNTED) == (
        {LoginOutcome.SUCCEEDED: 64, LoginOutcome.REFUSED: 16},
        {LoginOutcome.SUCCEEDED: 3 * DAY, LoginOutcome.REFUSED: HOUR},
    )

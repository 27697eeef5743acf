"""A key that another GitHub's token was exchanged for: whose it is, and what revokes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import cast

from examples.exchange.reporting import login
from examples.exchange.tokens import WorkflowToken
from examples.exchange.vault import read_record, record_of
from tenure_reader import Grant, RepositoryRef
from tests.reader.world import GRANT

HERE: Grant = {**GRANT}
THERE: Grant = {**GRANT, "issuer": "ghes"}
CLAIMS: dict[str, object] = {"repository_id": "7", "repository_owner_id": "41", "jti": "j"}


def test_a_key_keeps_whose_it_is() -> None:
    record = read_record(json.dumps(asdict(record_of(THERE, 7, 1, 2))).encode())
    assert record is not None
    assert record.place == RepositoryRef(41, 7, "Widgets", "ghes")
    assert {"issuer:ghes", "owner:ghes/41", "repository:ghes/41:7"} <= set(record.scopes)
    assert record.still_is(THERE)
    assert not record.still_is(HERE)


def test_a_key_of_the_default_instance_is_as_it_was() -> None:
    record = record_of(HERE, 7, 1, 2)
    assert record.place == RepositoryRef(41, 7, "Widgets")
    assert {"issuer:github", "owner:41", "repository:41:7"} <= set(record.scopes)
    assert not record.still_is(THERE)


def test_a_login_says_whose_token_it_was() -> None:
    token = WorkflowToken(CLAIMS, "use", 0)
    there, here = (json.loads(login(token, grant, 1))["data"] for grant in (THERE, HERE))
    assert there["issuer"] == "ghes"
    assert cast("dict[str, object]", here).get("issuer") is None

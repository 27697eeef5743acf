"""How a registration is written down, and which workflow it names."""

from __future__ import annotations

import pytest

from tests.support import MAX_ID
from worker.lifecycle.registration import Called, Registration, called, decode, encode

FULL = Registration(
    name="Veröffentlichen",
    package_owner="acme",
    package_owner_kind="organization",
    creator="maria",
    creator_github_id=MAX_ID,
    repository_owner="octo",
    repository_owner_id=41,
    repository="widgets",
    repository_id=None,
    visibility=None,
    workflow_file="release.yml",
    environment="Production",
)


def test_it_is_written_shortly_and_read_back_in_all_its_digits() -> None:
    text = encode(FULL)
    assert text == (
        '["Veröffentlichen","acme","organization","maria",9223372036854775807,"octo",41,"widgets",null,null,'
        '"release.yml","Production"]'
    )
    assert decode(text) == FULL


@pytest.mark.parametrize(("workflow_file", "named"), [
    ("release.yml", None),
    ("a/release.yml", None),
    ("labs/shared/.github/workflows/publish.yml", Called("labs", "shared", "publish.yml")),
    ("labs/a/b/.github/workflows/.github/workflows/x.yml", Called("labs", "a/b/.github/workflows", "x.yml")),
])  # fmt: skip
def test_a_reusable_workflow_is_named_with_its_repository(workflow_file: str, named: Called | None) -> None:
    assert called(FULL._replace(workflow_file=workflow_file)) == named

"""How a registration is written down, and which workflow it names."""

from __future__ import annotations

import pytest

from tests.support import MAX_ID
from worker.lifecycle.conditions import RegisteredConditions
from worker.lifecycle.registration import Called, Registration, called, decode, encode, own_file

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
    ("labs/shared/.github/workflows/publish.yml", Called("labs", "shared", "publish.yml", None)),
    ("labs/shared/.github/workflows/publish@v2.yml", Called("labs", "shared", "publish@v2.yml", None)),
    ("labs/a/b/.github/workflows/.github/workflows/x.yml", Called("labs", "a/b/.github/workflows", "x.yml", None)),
])  # fmt: skip
def test_a_reusable_workflow_is_named_with_its_repository(workflow_file: str, named: Called | None) -> None:
    assert called(FULL._replace(workflow_file=workflow_file)) == named


@pytest.mark.parametrize(("workflow", "named"), [
    ("*", None),
    ("labs/shared/.github/workflows/publish.yml", Called("labs", "shared", "publish.yml", None)),
    ("labs/shared/.github/workflows/publish.yml@refs/tags/v*", Called("labs", "shared", "publish.yml", "refs/tags/v*")),
    ("labs/shared/.github/workflows/publish@v2.YAML@v3", Called("labs", "shared", "publish@v2.YAML", "v3")),
    ("labs/shared/.github/workflows/publish.yml@x/.github/workflows/y.yml", Called("labs", "shared", "publish.yml", "x/.github/workflows/y.yml")),
    ("labs/shared/.github/workflows/", None),
])  # fmt: skip
def test_a_workflow_that_may_be_called_is_named_with_its_repository(workflow: str, named: Called | None) -> None:
    assert called(FULL._replace(asked=RegisteredConditions(called_workflow=workflow))) == named


def test_only_a_file_of_the_own_repository_is_its_own() -> None:
    assert own_file(FULL) == "release.yml"
    assert own_file(FULL._replace(workflow_file="labs/shared/.github/workflows/publish.yml")) is None


ASKING = RegisteredConditions(refs=("refs/tags/v*",), ref_protected=True, packages=("Acme.*",))


def test_what_is_asked_is_written_only_where_it_is() -> None:
    """So that what nobody asks is as it was, and a worker of the version before reads it."""
    text = encode(FULL._replace(asked=ASKING))
    assert text == encode(FULL)[:-1] + ',{"refs":["refs/tags/v*"],"ref_protected":true,"packages":["Acme.*"]}]'
    assert decode(text) == FULL._replace(asked=ASKING)
    full = RegisteredConditions(("a",), True, "caller", "*", "self-hosted", ("push",), ("p",), ("publish",))
    assert decode(encode(FULL._replace(asked=full))).asked == full


def test_a_condition_of_a_later_version_is_not_left_out() -> None:
    with pytest.raises(TypeError, match="lease"):
        decode(encode(FULL)[:-1] + ',{"refs":["a"],"lease":true}]')

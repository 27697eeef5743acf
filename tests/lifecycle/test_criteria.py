"""Looking for policies: by owner, repository, package owner, state and reason, in any spelling."""

from __future__ import annotations

import pytest

from tests.support import OWNER, PACKAGE_OWNER, REPOSITORY, Life, hint, registered, repository_scope
from worker.lifecycle.criteria import PolicyCriteria, identifier
from worker.lifecycle.views import View


@pytest.fixture
def view() -> View:
    life = Life()
    life.hears(0, registered(0, "Widgets", REPOSITORY), hint(0, repository_scope(), "archived", True))
    return life.view


@pytest.mark.parametrize("wanted", [
    PolicyCriteria(),
    PolicyCriteria(owner="OCTO"),
    PolicyCriteria(owner=str(OWNER)),
    PolicyCriteria(repository="widgetS"),
    PolicyCriteria(repository="Octo/WIDGETS"),
    PolicyCriteria(repository=str(REPOSITORY)),
    PolicyCriteria(package_owner=PACKAGE_OWNER),
    PolicyCriteria(state="disabled"),
    PolicyCriteria(reason="repository_archived"),
    PolicyCriteria("octo", "widgets", PACKAGE_OWNER, "disabled", "repository_archived"),
])  # fmt: skip
def test_a_policy_is_found_by_whatever_is_true_of_it(view: View, wanted: PolicyCriteria) -> None:
    assert wanted.admits(view)


@pytest.mark.parametrize("wanted", [
    PolicyCriteria(owner="labs"),
    PolicyCriteria(owner=str(OWNER + 1)),
    PolicyCriteria(repository="gadgets"),
    PolicyCriteria(repository="labs/widgets"),
    PolicyCriteria(repository=str(REPOSITORY + 1)),
    PolicyCriteria(package_owner=PACKAGE_OWNER.upper()),
    PolicyCriteria(state="active"),
    PolicyCriteria(reason="repository_deleted"),
    PolicyCriteria("octo", "widgets", PACKAGE_OWNER, "disabled", "repository_deleted"),
])  # fmt: skip
def test_one_thing_that_is_not_true_of_it_keeps_it_out(view: View, wanted: PolicyCriteria) -> None:
    assert not wanted.admits(view)


@pytest.mark.parametrize(("given", "found"), [
    (None, None),
    ("", None),
    ("octo", None),
    ("-1", None),
    ("4 1", None),
    ("\N{ARABIC-INDIC DIGIT FOUR}", None),
    ("41", 41),
    (str(2**63 - 1), 2**63 - 1),
    ("9" * 19, int("9" * 19)),
    ("9" * 20, None),
])  # fmt: skip
def test_an_id_is_digits_and_not_too_many(given: str | None, found: int | None) -> None:
    assert identifier(given) == found
    assert (PolicyCriteria(owner=given).owner_id, PolicyCriteria(repository=given).repository_id) == (found, found)

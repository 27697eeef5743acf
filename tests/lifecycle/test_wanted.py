"""Looking for policies: by owner, repository, package owner, state and reason, in any spelling."""

from __future__ import annotations

import pytest

from tests.support import OWNER, PACKAGE_OWNER, REPOSITORY, Life, hint, registered, repository_scope
from worker.lifecycle.views import View
from worker.lifecycle.wanted import Wanted, identifier


@pytest.fixture
def view() -> View:
    life = Life()
    life.hears(0, registered(0, "Widgets", REPOSITORY), hint(0, repository_scope(), "archived", True))
    return life.view


@pytest.mark.parametrize("wanted", [
    Wanted(),
    Wanted(owner="OCTO"),
    Wanted(owner=str(OWNER)),
    Wanted(repository="widgetS"),
    Wanted(repository="Octo/WIDGETS"),
    Wanted(repository=str(REPOSITORY)),
    Wanted(package_owner=PACKAGE_OWNER),
    Wanted(state="disabled"),
    Wanted(reason="repository_archived"),
    Wanted("octo", "widgets", PACKAGE_OWNER, "disabled", "repository_archived"),
])  # fmt: skip
def test_a_policy_is_found_by_whatever_is_true_of_it(view: View, wanted: Wanted) -> None:
    assert wanted.admits(view)


@pytest.mark.parametrize("wanted", [
    Wanted(owner="labs"),
    Wanted(owner=str(OWNER + 1)),
    Wanted(repository="gadgets"),
    Wanted(repository="labs/widgets"),
    Wanted(repository=str(REPOSITORY + 1)),
    Wanted(package_owner=PACKAGE_OWNER.upper()),
    Wanted(state="active"),
    Wanted(reason="repository_deleted"),
    Wanted("octo", "widgets", PACKAGE_OWNER, "disabled", "repository_deleted"),
])  # fmt: skip
def test_one_thing_that_is_not_true_of_it_keeps_it_out(view: View, wanted: Wanted) -> None:
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
    assert (Wanted(owner=given).owner_id, Wanted(repository=given).repository_id) == (found, found)

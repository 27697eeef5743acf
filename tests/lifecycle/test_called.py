"""A reusable workflow of another repository of the same owner is followed: renames, its repository's end, its file."""

from __future__ import annotations

from itertools import permutations

import pytest

from tests.support import LAGGING, NAME, OWNER, POLICY, REPOSITORY, RULES, WITH_PROOF, hint, proof, registered
from worker.lifecycle import scopes
from worker.lifecycle.decide import Standing, decide
from worker.lifecycle.facts import Micros, Observation
from worker.lifecycle.policy import Policy, concerns, learn
from worker.lifecycle.reach import within_reach
from worker.lifecycle.registration import decode, encode
from worker.lifecycle.rules import Rules

SHARED = scopes.unbound(OWNER, "shared")
FILE = scopes.workflow(SHARED, "publish.yml")


def naming(at: Micros = 0, workflow_file: str = "octo/shared/.github/workflows/publish.yml") -> Observation:
    said = registered(at, NAME, REPOSITORY, visibility="public")
    registration = decode(str(said.value))._replace(workflow_file=workflow_file)
    return said._replace(value=encode(registration))


def standing(told: list[Observation], rules: Rules = RULES) -> Standing:
    policy = learn(Policy(POLICY, {}), told, rules)
    found = decide(policy.facts, POLICY, 9, rules)
    assert found is not None
    return found


def always(*told: Observation, rules: Rules = RULES) -> Standing:
    """The same in whatever order it is heard."""
    (one, *others) = {standing(list(order), rules) for order in permutations(told)}
    assert others == []
    assert {o.scope for o in told} <= within_reach(told, POLICY)
    return one


@pytest.mark.parametrize("rules", [RULES, WITH_PROOF])
def test_its_owner_and_its_repository_are_followed(rules: Rules) -> None:
    owner = hint(3, scopes.owner(OWNER), "owner_login", "octo-new")
    assert always(naming(), owner, rules=rules).workflow_file == "octo-new/shared/.github/workflows/publish.yml"
    renamed = hint(4, SHARED, "renamed_to", "common")
    assert always(naming(), renamed, rules=rules).workflow_file == "octo/common/.github/workflows/publish.yml"
    again = hint(6, scopes.unbound(OWNER, "common"), "renamed_to", "base")
    assert always(naming(), again, renamed).workflow_file == "octo/base/.github/workflows/publish.yml"
    assert always(naming(), again, renamed, naming(8)).workflow_file == "octo/shared/.github/workflows/publish.yml"


def test_a_file_that_is_removed_is_told_of() -> None:
    missing, back = hint(3, FILE, "missing", True), hint(5, FILE, "missing", False)
    assert always(naming(), missing).advisories == ("workflow_missing",)
    assert always(naming(), missing, back).advisories == ()
    later = hint(6, scopes.workflow(scopes.unbound(OWNER, "common"), "publish.yml"), "missing", True)
    assert always(naming(), hint(4, SHARED, "renamed_to", "common"), later).advisories == ("workflow_missing",)


@pytest.mark.parametrize("aspect", ["deleted", "transferred"])
def test_a_repository_that_was_made_anew_is_another_until_the_owner_confirms(aspect: str) -> None:
    gone, anew = hint(3, SHARED, aspect, True), hint(4, SHARED, aspect, False)
    assert always(naming(), gone).advisories == ("workflow_missing",)
    assert always(naming(), gone, anew).advisories == ("workflow_missing",)
    assert always(naming(), gone, anew, naming(6)).advisories == ()


# Of another owner

LABS = "labs/shared/.github/workflows/publish.yml"
THEIRS = scopes.called("labs", "shared")
LABS_OWNER = scopes.called_owner("labs")


def moved(at: Micros, scope: str, identity: int, to: str) -> Observation:
    return hint(at, scope, "renamed_to", f"{identity}:{to}")


@pytest.mark.parametrize("rules", [RULES, WITH_PROOF])
def test_a_workflow_of_another_owner_is_followed_by_its_address(rules: Rules) -> None:
    them = naming(workflow_file=LABS)
    assert always(them, rules=rules).workflow_file == LABS
    owner = moved(3, LABS_OWNER, 40, "labs-new")
    assert always(them, owner, rules=rules).workflow_file == "labs-new/shared/.github/workflows/publish.yml"
    repository = moved(4, scopes.called("labs-new", "shared"), 70, "common")
    assert always(them, owner, repository).workflow_file == "labs-new/common/.github/workflows/publish.yml"
    # What has the old login, or the old name, since then is somebody else's.
    squatter = moved(5, THEIRS, 71, "evil"), hint(6, LABS_OWNER, "deleted", True), hint(6, THEIRS, "deleted", True)
    assert always(them, owner, repository, *squatter) == always(them, owner, repository)
    # Our own owner's renames are not theirs.
    ours = hint(3, scopes.owner(OWNER), "owner_login", "octo-new")
    assert always(them, ours).workflow_file == LABS


def met(at: Micros, scope: str, owner_id: int, repository_id: int) -> Observation:
    return proof(at, scope, "identity", f"{owner_id}:{repository_id}")


def test_what_github_first_answers_at_an_address_is_the_repository_that_is_meant() -> None:
    them, bound = naming(workflow_file=LABS), met(2, THEIRS, 40, 70)
    assert always(them, bound, met(4, THEIRS, 40, 70), rules=WITH_PROOF).advisories == ()
    another = met(4, THEIRS, 40, 71)
    assert always(them, bound, another, rules=WITH_PROOF).advisories == ("workflow_missing",)
    # Whoever gives up the address later under another id is not ours either.
    squatter = moved(5, LABS_OWNER, 41, "evil")
    assert always(them, bound, squatter).advisories == ("workflow_missing",)
    assert always(them, bound, squatter).workflow_file == LABS
    # What it was before the registration tells nothing, and the owner confirms with a new one.
    assert always(them, bound, another, naming(6, LABS), met(8, THEIRS, 40, 71)).advisories == ()
    # Who has the former address after a rename is nobody's concern.
    followed = always(them, bound, moved(4, LABS_OWNER, 40, "labs-new"), met(5, THEIRS, 41, 71), rules=WITH_PROOF)
    assert (followed.workflow_file, followed.advisories) == ("labs-new/shared/.github/workflows/publish.yml", ())


def test_only_an_answer_by_its_id_takes_back_that_it_ended() -> None:
    them, end = naming(workflow_file=LABS), hint(3, THEIRS, "deleted", True)
    anew, seen = hint(4, THEIRS, "deleted", False), proof(5, THEIRS, "deleted", False)
    assert always(them, end, anew).advisories == ("workflow_missing",)
    assert always(them, end, anew, seen).advisories == ()
    assert always(them, seen, hint(6, THEIRS, "deleted", True)).advisories == ("workflow_missing",)


def test_an_address_that_another_id_gives_up_was_lost_unheard() -> None:
    them, owner = naming(workflow_file=LABS), moved(3, LABS_OWNER, 40, "labs-new")
    later = moved(5, scopes.called_owner("labs-new"), 41, "evil")
    assert always(them, owner, later).advisories == ("workflow_missing",)
    assert always(them, owner, later).workflow_file == "labs-new/shared/.github/workflows/publish.yml"
    assert always(them, owner, moved(5, scopes.called_owner("labs-new"), 40, "lab")).advisories == ()


@pytest.mark.parametrize(
    "end",
    [hint(3, THEIRS, "deleted", True), hint(3, THEIRS, "transferred", True), hint(3, LABS_OWNER, "deleted", True)],
)
def test_the_end_of_another_owner_s_repository_is_told_of_until_the_owner_confirms(end: Observation) -> None:
    assert always(naming(workflow_file=LABS), end).advisories == ("workflow_missing",)
    assert always(naming(workflow_file=LABS), end, naming(6, LABS)).advisories == ()


def test_a_file_that_another_owner_removes_is_told_of() -> None:
    file = scopes.workflow(THEIRS, "publish.yml")
    missing, back = hint(3, file, "missing", True), hint(5, file, "missing", False)
    assert always(naming(workflow_file=LABS), missing).advisories == ("workflow_missing",)
    assert always(naming(workflow_file=LABS), missing, back).advisories == ()


def test_what_is_said_of_it_concerns_the_policy() -> None:
    from worker.lifecycle.policy import advance

    step = advance(learn(Policy(POLICY, {}), [naming()], RULES), 1, RULES, learnt=True)
    assert step is not None
    for observation in (hint(2, SHARED, "deleted", True), hint(2, FILE, "missing", True)):
        assert concerns(step.policy, observation)
        assert scopes.index_of(observation.scope) == SHARED
    assert step.policy.view is not None
    assert step.policy.view["workflow_file"] == "octo/shared/.github/workflows/publish.yml"


# At the edges of when it was there


def test_of_its_owner_s_and_its_own_renames_the_earlier_is_followed_first() -> None:
    them = naming(workflow_file=LABS)
    repository, owner = moved(3, THEIRS, 70, "common"), moved(5, LABS_OWNER, 40, "labs-new")
    assert always(them, repository, owner).workflow_file == "labs-new/common/.github/workflows/publish.yml"
    # Of the same instant, its own is.
    same = moved(3, LABS_OWNER, 40, "labs-new"), moved(3, scopes.called("labs-new", "shared"), 70, "other")
    assert always(them, *same).workflow_file == "labs-new/shared/.github/workflows/publish.yml"


def test_what_was_said_at_the_instant_of_the_registration_is_no_later() -> None:
    them = naming(3, LABS)
    assert always(them, moved(3, LABS_OWNER, 40, "labs-new")).workflow_file == LABS
    assert always(them, met(3, THEIRS, 40, 70), met(4, THEIRS, 40, 71)).advisories == ()


def test_an_answer_of_the_instant_of_a_rename_was_about_the_former_address() -> None:
    them, rename = naming(workflow_file=LABS), moved(3, LABS_OWNER, 40, "labs-new")
    there = met(5, scopes.called("labs-new", "shared"), 40, 71)
    assert always(them, met(3, THEIRS, 40, 70), rename, there).advisories == ("workflow_missing",)
    assert always(them, met(4, THEIRS, 40, 70), rename, there).advisories == ()


def test_the_ids_that_are_told_are_kept_and_any_other_is_somebody_else_s() -> None:
    them, bound = naming(workflow_file=LABS), met(2, THEIRS, 40, 70)
    there = always(them, bound).tenure.called
    assert there is not None
    assert (there.owner_id, there.repository_id) == (40, 70)
    assert always(them, bound, moved(3, THEIRS, 71, "evil")).advisories == ("workflow_missing",)
    followed = always(them, moved(3, THEIRS, 70, "common")).tenure.called
    assert followed is not None
    assert (followed.owner_id, followed.repository_id, followed.lost) == (None, 70, False)


@pytest.mark.parametrize(("at", "ended"), [(2, False), (3, True), (4, True), (5, False), (6, False)])
def test_it_ends_from_its_registration_until_its_address_is_given_up(at: int, *, ended: bool) -> None:
    them, rename = naming(3, LABS), moved(5, LABS_OWNER, 40, "labs-new")
    assert always(them, rename, hint(at, THEIRS, "deleted", True)).advisories == (
        ("workflow_missing",) if ended else ()
    )


def test_what_has_its_former_address_takes_back_nothing() -> None:
    them, rename = naming(workflow_file=LABS), moved(5, LABS_OWNER, 40, "labs-new")
    end, seen = hint(3, THEIRS, "deleted", True), proof(7, THEIRS, "deleted", False)
    assert always(them, end, rename, seen).advisories == ("workflow_missing",)
    assert always(them, end, rename, seen._replace(at=4)).advisories == ()


@pytest.mark.parametrize("at", [3, 5])
def test_of_a_deletion_that_is_heard_of_just_after_an_answer_the_deletion_counts(at: int) -> None:
    """Given replicas that may lag by 3, then an answer at 5 does not take back what was heard from 3 on."""
    end, seen = hint(at, THEIRS, "deleted", True), proof(5, THEIRS, "deleted", False)
    assert always(naming(workflow_file=LABS), end, seen, rules=LAGGING).advisories == ("workflow_missing",)
    early = end._replace(at=2)
    assert always(naming(workflow_file=LABS), early, seen, rules=LAGGING).advisories == ()

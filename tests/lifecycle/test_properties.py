"""What holds of every policy, whatever was heard of it and in whatever order."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product
from random import Random

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.lifecycle import worlds
from tests.lifecycle.model import verdict
from tests.support import (
    OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    WINDOW,
    WITH_PROOF,
    Life,
    hint,
    knowing,
    login,
    registered,
    removed,
    renewed,
    repository_scope,
)
from worker.lifecycle import facts as facts_of
from worker.lifecycle import scopes
from worker.lifecycle.decide import USABLE, Standing, State, decide
from worker.lifecycle.facts import LONGEST, THICK, Basis, Micros, Observation, effective, merge, shifted, thin
from worker.lifecycle.policy import Policy, advance, learn
from worker.lifecycle.reasons import ADVISORIES, REASONS
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import ChangeType, rfc3339

any_rules = st.sampled_from([RULES, WITH_PROOF])
END = worlds.LATEST + 2 * WINDOW
moments = st.integers(0, END)


def standing(policy: Policy, now: Micros, rules: Rules) -> Standing:
    found = decide(policy.facts, POLICY, now, rules)
    assert found is not None
    return found


@given(worlds.told(worlds.nobody_renames), moments, any_rules)
def test_the_slow_way_comes_to_the_same_standing(told: list[Observation], now: Micros, rules: Rules) -> None:
    found = standing(knowing(told, rules), now, rules)
    expected = verdict(told, now, rules)
    assert expected is not None
    assert (found.state.value, frozenset(found.reasons)) == (expected.state, expected.reasons)
    assert found.usable_until == expected.usable_until
    assert found.tenure.repository_id == expected.repository_id
    assert found.window == expected.window


@given(worlds.whatever, st.data(), any_rules)
def test_any_order_any_repetition_and_any_portions_come_to_the_same(
    told: list[Observation], data: st.DataObject, rules: Rules
) -> None:
    repeated = told + data.draw(st.lists(st.sampled_from(told), max_size=4), label="again")
    shuffled = data.draw(st.permutations(repeated), label="order")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4), label="cuts"))
    # A worker that was paused may look with an older clock than the one before.
    looks = data.draw(st.lists(moments, min_size=len(cuts) + 1, max_size=len(cuts) + 1), label="looks")

    life = Life(rules)
    for (start, end), now in zip(pairwise([0, *cuts, len(shuffled)]), looks, strict=True):
        life.hears(now, *shuffled[start:end])
    life.hears(END)

    at_once = Life(rules)
    at_once.hears(END, *told)
    assert standing(life.policy, END, rules) == standing(at_once.policy, END, rules)
    assert life.view["state"] == at_once.view["state"]
    if life.view["state"] != State.REMOVED:
        # What a reader sees; how often it changed on the way is another matter.
        apart: dict[str, object] = {**life.view, "revision": 0, "updated_at": ""}
        together: dict[str, object] = {**at_once.view, "revision": 0, "updated_at": ""}
        assert apart == together


@given(worlds.told(), st.data(), moments, any_rules)
def test_an_older_observation_never_overrides_a_newer_one(
    told: list[Observation], data: st.DataObject, now: Micros, rules: Rules
) -> None:
    policy = knowing(told, rules)
    # That GitHub was asked, of a workflow file, too, or that a name was held, counts by its date; the rest is either so or
    # not so.
    yes_or_no = [o for o in told if o.basis is Basis.HINT and isinstance(o.value, bool) and "held_by" not in o.aspect]
    assume(yes_or_no)
    about = data.draw(st.sampled_from(yes_or_no), label="about")
    newer = effective(
        policy.facts, about.scope, about.aspect, proof_required=rules.proof_required, lag=rules.replica_lag
    )
    assume(newer is not None and newer.at > 0)
    assert newer is not None
    basis = data.draw(st.just(Basis.HINT) if about.scope.startswith("workflow:") else worlds.bases, label="basis")
    value = data.draw(st.booleans(), label="value")
    late = worlds.either(data.draw(st.integers(0, newer.at - 1)), about.scope, about.aspect, value, basis)
    assert standing(learn(policy, [late], rules), now, rules) == standing(policy, now, rules)


@given(worlds.whatever, moments, any_rules)
def test_what_is_usable_has_no_reasons_and_the_precedence_holds(
    told: list[Observation], now: Micros, rules: Rules
) -> None:
    found = standing(knowing(told, rules), now, rules)
    is_removed = any(o.aspect == "removed" for o in told)
    is_over = found.window is not None and found.window[1] <= now
    if is_removed:
        assert found.state is State.REMOVED
    elif is_over:
        assert found.state is State.EXPIRED
    elif found.reasons:
        assert found.state is State.DISABLED
    else:
        assert found.state in USABLE
    assert (found.usable_until is not None) <= (found.state in USABLE)
    if found.state in USABLE:
        assert found.reasons == ()
        assert found.usable_until is None or found.usable_until > now


@given(worlds.whatever, moments, any_rules)
def test_an_end_to_usability_hides_no_reason(told: list[Observation], now: Micros, rules: Rules) -> None:
    """Whether removed, expired or neither: the reasons are the same, but for the clock's own."""
    ended = knowing([*told, removed(0)], rules)
    alive = knowing([o for o in told if o.aspect != "removed"], rules)
    assert standing(ended, now, rules).reasons == standing(alive, now, rules).reasons
    listed = standing(ended, now, rules).reasons
    assert list(listed) == [reason for reason in REASONS if reason in listed]


@given(worlds.whatever, moments, moments, any_rules)
def test_a_reader_who_honours_usable_until_lets_nothing_through_that_is_closed(
    told: list[Observation], written: Micros, read: Micros, rules: Rules
) -> None:
    assume(written <= read)
    life = Life(rules)
    life.hears(written, *told)
    view = life.view
    until = view["usable_until"]
    if view["usable"] and (until is None or rfc3339(read) < until):
        assert standing(life.policy, read, rules).state in USABLE


@given(worlds.whatever, moments, st.integers(0, 3 * WINDOW), any_rules)
def test_nothing_changes_before_the_due_time(told: list[Observation], now: Micros, later: Micros, rules: Rules) -> None:
    life = Life(rules)
    life.hears(now, *told)
    assert life.step is not None
    before = life.step.standing
    assume(before.state is not State.REMOVED)
    if life.due is None or now + later < life.due:
        assert standing(life.policy, now + later, rules) == before
        assert advance(life.policy, now + later, rules, learnt=False) is None
    if before.due is not None:
        assert before.due > now
        assert standing(life.policy, before.due - 1, rules) == before
        assert standing(life.policy, before.due, rules) != before


@given(worlds.whatever, st.data(), any_rules)
def test_revisions_rise_by_one_and_nothing_new_is_nothing_to_write(
    told: list[Observation], data: st.DataObject, rules: Rules
) -> None:
    life = Life(rules)
    now = 0
    for observation in data.draw(st.permutations(told), label="order"):
        now += data.draw(st.integers(0, 6), label="waited")
        revision, stamp = life.policy.revision, (life.policy.revision, life.policy.edition)
        published = life.hears(now, observation)
        assert life.policy.revision == revision + (published is not None)
        if published is not None:
            assert life.view["revision"] == life.policy.revision
            assert life.view["updated_at"] == rfc3339(now)
        elif life.policy.facts and (life.policy.revision, life.policy.edition) == stamp:
            assert life.hears(now, observation) is None
        # A reminder that fell due with another change is the one thing that may follow at the same instant.
        again = life.hears(now, observation)
        assert again in (None, ChangeType.EXPIRING)
        assert life.hears(now, observation) is None
        assert life.step is None or life.due is None or life.due > now


@given(worlds.crowded, moments, any_rules)
def test_thinning_never_changes_the_standing(told: list[Observation], now: Micros, rules: Rules) -> None:
    facts = merge({}, told)
    thinned = facts
    for scope, aspect in product({o.scope for o in told}, ["login", "visibility"]):
        thinned = thin(thinned, scope, aspect, rules.window)
    assert set(thinned) < set(facts)
    assert decide(thinned, POLICY, now, rules) == decide(facts, POLICY, now, rules)
    assert knowing(told, rules).facts == thinned


APART = [login(100 + 2 * WINDOW * n) for n in range(THICK)]
"""So many, and so far apart, that none of them is redundant."""


@pytest.mark.parametrize(("last", "kept"), [(WINDOW, 2), (WINDOW + 1, 3)])
def test_of_three_logins_the_middle_one_is_kept_if_a_window_may_hold_it_alone(last: Micros, kept: int) -> None:
    facts = merge({}, [login(0), login(5), login(last), *APART])
    assert len(thin(facts, scopes.policy(POLICY), "login", WINDOW)) == kept + len(APART)
    alone = knowing([login(0), login(5), login(WINDOW + 1), *APART, registered(1)])
    assert standing(alone, 2 * WINDOW, RULES).state is State.ACTIVE


@pytest.mark.parametrize(("others", "kept"), [(THICK - 3, 3), (THICK - 2, 2)])
def test_a_short_series_is_kept_whole(others: int, kept: int) -> None:
    facts = merge({}, [login(0), login(1), login(2), *APART[:others]])
    assert len(thin(facts, scopes.policy(POLICY), "login", WINDOW)) == kept + others


@pytest.mark.parametrize("told", [
    [login(9), registered(10), login(12), registered(15, repository_id=worlds.OTHER_REPOSITORY), login(19)],
    [
        registered(0),
        hint(4, repository_scope(), "visibility", "public"),
        registered(5, repository_id=REPOSITORY, visibility="private"),
        hint(6, repository_scope(), "visibility", "public"),
        hint(14, repository_scope(), "visibility", "public"),
    ],
], ids=["login", "visibility"])  # fmt: skip
def test_a_window_that_another_registration_cuts_short_still_finds_the_one_it_holds(told: list[Observation]) -> None:
    for now in range(9, END):
        assert standing(knowing(told), now, RULES) == decide(merge({}, told), POLICY, now, RULES)


def test_a_policy_in_daily_use_keeps_few_logins() -> None:
    many = [login(at) for at in range(1000)]
    policy = knowing([registered(0, repository_id=REPOSITORY), *many])
    assert len(policy.facts) < 1 + 3 * 1000 / WINDOW


# Ways back


def opens_again(observation: Observation, ended: Standing) -> bool:
    """Whether an observation may make an expired policy usable again (contract, sections 1 and 2).

    A renewal; a login inside a window, which may be the window that a registration dated back in time adds; a
    registration. And, since the order of arrival does not matter, the news that the repository was public when the
    window was still open.
    """
    if observation.aspect in ("renewal", "login", "registration"):
        return True
    assert ended.window is not None
    return observation.aspect == "visibility" and observation.at < ended.window[1]


@given(worlds.told(), st.lists(worlds.anything, max_size=4), moments, st.integers(0, WINDOW), any_rules)
def test_an_expired_policy_stays_closed(
    told: list[Observation], late: list[Observation], now: Micros, later: Micros, rules: Rules
) -> None:
    policy = knowing(told, rules)
    ended = standing(policy, now, rules)
    assume(ended.state is State.EXPIRED)
    useless = [o for o in late if not opens_again(o, ended)]
    found = standing(learn(policy, useless, rules), now + later, rules)
    assert found.state in (State.EXPIRED, State.REMOVED)


@given(worlds.told(), moments, worlds.logins, any_rules)
def test_a_late_login_opens_only_if_it_was_inside_a_window(
    told: list[Observation], now: Micros, late: Observation, rules: Rules
) -> None:
    policy = knowing(told, rules)
    ended = standing(policy, now, rules)
    assume(ended.state is State.EXPIRED and worlds.clear_cut([*told, late]))
    windows = ended.tenure.windows
    found = standing(learn(policy, [late], rules), now, rules)
    if found.state in USABLE and found.tenure.since == ended.tenure.since:
        repository_id, owner = (int(part) for part in str(late.value).split(":"))
        assert any(start <= late.at < end for start, end in windows)
        assert owner == ended.tenure.owner_id
        assert ended.tenure.repository_id in (None, repository_id)


@given(worlds.told(), moments, moments, worlds.registrations, any_rules)
def test_an_update_opens_an_expired_policy_only_with_another_repository_or_from_inside_the_window(
    told: list[Observation], now: Micros, at: Micros, update: Observation, rules: Rules
) -> None:
    policy = knowing(told, rules)
    ended = standing(policy, now, rules)
    update = update._replace(at=at, source=update.source._replace(id=f"late-{at}"))
    assume(ended.state is State.EXPIRED and worlds.clear_cut([*told, update]))
    assert ended.window is not None
    found = standing(learn(policy, [update], rules), now, rules)
    if found.state in USABLE and found.tenure.since == ended.tenure.since:
        assert at < ended.window[1]


@given(worlds.told(), st.lists(worlds.anything, max_size=6), moments, any_rules)
def test_a_removed_policy_stays_removed(
    told: list[Observation], late: list[Observation], now: Micros, rules: Rules
) -> None:
    life = Life(rules)
    life.hears(now, *told, removed(0))
    assert (life.changes, life.view["state"], life.view["usable"]) == ([ChangeType.REMOVED], "removed", False)
    assert life.hears(now + 1, *late) is None
    assert life.hears(END, renewed(END), login(END), registered(END, "another")) is None
    assert life.due is None


@given(worlds.told(), st.lists(worlds.clearing_hints, max_size=4), moments)
def test_where_github_can_be_asked_a_hint_alone_gives_nothing_back(
    told: list[Observation], cleared: list[Observation], now: Micros
) -> None:
    policy = knowing(told, WITH_PROOF)
    before = standing(policy, now, WITH_PROOF)
    assume(before.state not in USABLE)
    after = standing(learn(policy, cleared, WITH_PROOF), now, WITH_PROOF)
    assert after.state not in USABLE
    assert set(before.reasons) <= set(after.reasons)


@given(worlds.whatever, moments)
def test_the_rules_may_be_changed_without_anything_being_learnt_again(told: list[Observation], now: Micros) -> None:
    """GitHub credentials added or withdrawn: what was learnt under one rule is enough for the other."""
    asked, unasked = knowing(told, WITH_PROOF), knowing(told, RULES)
    assert asked.facts == unasked.facts
    without_hints = [o for o in told if o.basis is Basis.PROOF]
    assume(not any(o.aspect == "verified" for o in told))
    fresh = replace(WITH_PROOF, proof_max_age=10 * END)
    proven = standing(knowing(without_hints, fresh), now, fresh)
    assert standing(knowing(without_hints, RULES), now, RULES).reasons == proven.reasons


@given(worlds.told(), moments, any_rules)
@example([registered(0, visibility="private", repository_id=REPOSITORY)], 5, RULES)
def test_advisories_never_block(told: list[Observation], now: Micros, rules: Rules) -> None:
    policy = knowing(told, rules)
    before = standing(policy, now, rules)
    where = scopes.workflow(before.tenure.places[-1].scope, before.tenure.registration.workflow_file)
    after = standing(learn(policy, [hint(END, where, "missing", True)], rules), now, rules)
    assert "workflow_missing" in after.advisories
    assert set(after.advisories) <= set(ADVISORIES)
    assert (after.state, after.reasons, after.usable_until) == (before.state, before.reasons, before.usable_until)


@pytest.mark.parametrize("rules", [RULES, WITH_PROOF])
def test_nothing_is_decided_of_a_policy_that_nobody_registered(rules: Rules) -> None:
    stranger = knowing([login(3), renewed(4), hint(2, repository_scope(), "archived", True)], rules)
    assert decide(stranger.facts, POLICY, 5, rules) is None
    assert advance(stranger, 5, rules, learnt=True) is None


# What anybody with a repository can repeat without an end

endless = st.one_of(
    st.builds(hint, st.integers(0, 30), st.just(scopes.name(OWNER, "widgets")), st.sampled_from(["held_by:1", "held_by:2", "held_by:3"]), st.booleans()),
    st.builds(hint, st.integers(0, 30), st.just(repository_scope()), st.just("name"), st.sampled_from(["a", "b", "c"])),
    st.builds(hint, st.integers(0, 30), st.just(scopes.unbound(OWNER, "widgets")), st.just("renamed_to"), st.sampled_from(["a", "b"])),
)  # fmt: skip


@given(st.lists(endless, max_size=30), st.randoms(use_true_random=False), st.integers(1, 7))
def test_what_is_left_of_an_endless_series_does_not_depend_on_the_order(
    told: list[Observation], chance: Random, portion: int
) -> None:
    """Given series that are shortened early, when they are told in any order and portions, then the same is left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts_of, "LONGEST", 4)
        whole = knowing([registered(0, repository_id=REPOSITORY), *told])
        shuffled = [registered(0, repository_id=REPOSITORY), *told]
        chance.shuffle(shuffled)
        policy = Policy(POLICY, {})
        for start in range(0, len(shuffled), portion):
            policy = learn(policy, shuffled[start : start + portion], RULES)
    assert policy.facts == whole.facts
    assert sum(fact.aspect == "name" for fact in whole.facts.values()) <= 4


def test_a_repository_that_is_renamed_and_taken_a_thousand_times_is_a_policy_of_bounded_size() -> None:
    """Given a thousand renames, and others that take the name in between, when all is heard, then the last of it counts."""
    life = Life()
    life.hears(1, registered(1, repository_id=REPOSITORY))
    for n in range(1_000):
        at = 2 + 3 * n
        name, new = scopes.name(OWNER, "widgets"), scopes.name(OWNER, f"w-{n}")
        life.hears(2, hint(at, repository_scope(), "name", f"w-{n}"), hint(at, name, f"held_by:{1000 + n}", True))
        life.hears(2, hint(at, new, f"held_by:{REPOSITORY}", True), hint(at + 1, name, f"held_by:{1000 + n}", False))
    assert len(life.policy.facts) < 3 * LONGEST + 10
    assert life.view["repository"] == "w-999"
    assert life.view["reasons"] == []
    life.hears(2, hint(4_000, scopes.name(OWNER, "w-999"), "held_by:5", True))
    assert life.view["reasons"] == ["repository_replaced"]


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(50, 300), st.integers(0, 200))
def test_dates_that_are_shifted_keep_their_order(dates: list[int], by: int, limit: int) -> None:
    told = [hint(at, repository_scope(), f"aspect-{n}", True) for n, at in enumerate(dates)]
    after = [o.at for o in shifted(told, by, limit)]
    for (at, moved), (other, also) in product(zip(dates, after, strict=True), repeat=2):
        assert (at < other) == (moved < also)
    assert all(moved == at if at <= limit else moved <= at for at, moved in zip(dates, after, strict=True))

"""The same truth, the same standing: whichever looks were made on the way, how often, and whatever was heard in between."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.github.receiver import SECRET, receiving
from tests.store.making import about_member, about_repository, registration, webhook
from tests.support import OWNER, REPOSITORY, USER
from tests.verify.scene import Scene
from tests.verify.test_truth import OLGA, REPOSITORIES, Verb, made_scene
from worker.demo.fakegithub.records import NotPossibleError, NotThereError
from worker.lifecycle import scopes
from worker.lifecycle.facts import SECOND
from worker.local.valkey import EmbeddedStore
from worker.store.inbox import Envelope
from worker.verify.verifier import VerificationRequest

PAUL = 72
CREATORS = {1001: USER, 1002: USER, 1003: OLGA, 1004: OLGA}
"""maria was seen to be a member; olga works from outside, and may write to 1004 at first."""


def looks(scene: Scene, *about: str) -> None:
    """Ask about these scopes, with all second looks; about everything if none is named."""
    if about:
        scene.app.checks.ask(about, scene.now())
        scene.checks()
    else:
        scene.sweeps()


def test_who_was_removed_without_a_word_and_may_still_write_stays_out(scene: Scene) -> None:
    """However often is looked: that she once was a member is not forgotten."""
    scene.registers()
    scene.fake.world.add_collaborator(REPOSITORY, USER)
    scene.fake.world.remove_member(OWNER, USER)
    for _ in range(3):
        looks(scene)
        looks(scene, scopes.repository(OWNER, REPOSITORY))
        assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.fake.world.add_member(OWNER, USER)
    looks(scene)
    assert scene.stands() == ("provisional", [])


def test_what_is_known_of_a_creator_counts_for_a_policy_that_is_registered_later(scene: Scene) -> None:
    """Also if nothing is remembered any more of what was observed, and only the new policy's repository is asked about."""
    world = scene.fake.world
    scene.registers()
    world.add_repository(OWNER, "gadgets", repository_id=50)
    world.add_collaborator(50, USER)
    world.remove_member(OWNER, USER)
    looks(scene)
    forgotten = list(scene.app.client.redis.scan_iter("tenure:*observed*"))
    assert forgotten
    scene.app.client.redis.delete(*forgotten)
    scene.registers("pol-2", repository_id=50, name="gadgets")
    assert scene.stands("pol-2") == ("disabled", ["creator_left_organization"])
    looks(scene)
    assert scene.stands("pol-2") == ("disabled", ["creator_left_organization"])


def test_a_look_at_one_repository_takes_nothing_from_another(scene: Scene) -> None:
    world = scene.fake.world
    world.add_user("paul", account_id=PAUL)
    world.add_repository(OWNER, "gadgets", repository_id=50)
    world.add_collaborator(REPOSITORY, PAUL)
    scene.registers("pol-1", user=PAUL)
    scene.registers("pol-2", user=PAUL, repository_id=50, name="gadgets")
    assert scene.stands("pol-1") == ("provisional", [])
    assert scene.stands("pol-2") == ("disabled", ["creator_lost_repository_access"])
    looks(scene, scopes.repository(OWNER, 50))
    assert scene.stands("pol-1") == ("provisional", [])
    world.add_collaborator(50, PAUL)
    looks(scene, scopes.repository(OWNER, 50))
    assert scene.stands("pol-2") == ("provisional", [])


def test_a_stranger_is_out_until_he_may_write_and_of_his_own_repository_only(scene: Scene) -> None:
    world = scene.fake.world
    world.add_user("paul", account_id=PAUL)
    world.add_repository(OWNER, "gadgets", repository_id=50)
    scene.registers("pol-1", user=PAUL)
    scene.registers("pol-2", user=PAUL, repository_id=50, name="gadgets")
    looks(scene)
    assert scene.stands("pol-1") == scene.stands("pol-2") == ("disabled", ["creator_left_organization"])
    world.add_collaborator(50, PAUL)
    looks(scene, scopes.repository(OWNER, 50))
    assert scene.stands("pol-2") == ("provisional", [])
    assert not scene.view("pol-1")["usable"]


@pytest.mark.parametrize("true", [True, False])
def test_what_is_heard_during_a_sweep_counts_until_github_is_asked_again(scene: Scene, *, true: bool) -> None:
    """Given replicas that lag, so that the sweep, and the check that the webhook asks for, still find a member."""
    scene.registers()
    heard: list[Envelope] = []

    def hear() -> None:
        if not heard:
            heard.append(about_member(scene.app, "member_removed", "h-1"))
            scene.hears(*heard)

    scene.asking.verifier.verify(VerificationRequest(OWNER, None, 0, urgent=False, event="sweep"), hear)
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.asks()
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    if true:
        scene.fake.world.remove_member(OWNER, USER)
    scene.checks()
    assert scene.stands() == (("disabled", ["creator_left_organization"]) if true else ("provisional", []))


def test_a_repository_that_was_only_said_to_be_private_is_proven_public_a_little_later(scene: Scene) -> None:
    """Given a webhook that says private, and GitHub, asked at once, public: that proves a policy, but not at once."""
    scene.fake.world.set_visibility(REPOSITORY, "public")
    scene.hears(about_repository(scene.app, "privatized", "h-1"))
    scene.hears(registration(scene.app, "pol-1"))
    scene.asks()
    assert scene.stands() == ("provisional", [])
    scene.checks()
    assert scene.stands() == ("active", [])


def _member(action: str) -> Verb:
    return lambda world, tell: getattr(world, f"{action}_member")(OWNER, USER, tell=tell)


def _collaborator(action: str, repository_id: int, user_id: int) -> Verb:
    return lambda world, tell: getattr(world, f"{action}_collaborator")(repository_id, user_id, tell=tell)


Step: TypeAlias = tuple[Verb, bool, list[tuple[str, ...]]]
"""What happens, whether it is told, and about what is asked afterwards: of nothing, of parts, of everything, again."""

verbs: st.SearchStrategy[Verb] = st.one_of(
    st.builds(_member, st.sampled_from(["add", "remove"])),
    st.builds(_collaborator, st.sampled_from(["add", "remove"]), st.sampled_from([1001, 1002]), st.just(USER)),
    st.builds(_collaborator, st.sampled_from(["add", "remove"]), st.sampled_from([1003, 1004]), st.just(OLGA)),
)
parts = st.one_of(
    st.builds(lambda r: (scopes.repository(OWNER, r),), st.sampled_from(REPOSITORIES)),
    st.builds(lambda user: (scopes.member(OWNER, user),), st.sampled_from([USER, OLGA])),
    st.just(()),
)
steps: st.SearchStrategy[Step] = st.tuples(verbs, st.booleans(), st.lists(parts, max_size=2))


@given(st.lists(steps, min_size=1, max_size=5))
@example([(_collaborator("add", 1001, USER), False, []), (_member("remove"), False, [(), ()])])
@example(
    [
        (_collaborator("remove", 1004, OLGA), False, [(scopes.repository(OWNER, 1003),)]),
        (_collaborator("add", 1003, OLGA), False, []),
    ]
)
@settings(
    max_examples=max(4, settings().max_examples // 25),
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_in_the_end_no_look_on_the_way_made_a_difference(
    store: EmbeddedStore, tmp_path: Path, happened: list[Step]
) -> None:
    with made_scene(store, tmp_path) as scene, receiving() as receiver:
        world = scene.fake.world
        scene.fake.webhook_target(receiver.url, SECRET)
        for r, creator in CREATORS.items():
            scene.registers(f"pol-{r}", repository_id=r, name=f"repo-{r}", user=creator)
        for verb, tell, asked in happened:
            try:
                verb(world, tell)
            except (NotPossibleError, NotThereError):
                continue
            heard, receiver.letters[:] = list(receiver.letters), []
            scene.hears(*(webhook(scene.app, h.name, h.payload, h.guid, owner=OWNER) for h in heard))
            for about in asked:
                looks(scene, *about)
            scene.wait(SECOND)
        scene.wait(600 * SECOND)
        scene.checks()
        looks(scene)
        member = any(account.id == USER for account in world.members(OWNER))
        truth = {
            r: member if creator == USER else world.access(world.repository(r), OLGA).permission in ("write", "admin")
            for r, creator in CREATORS.items()
        }
        standing = {r: scene.stands(f"pol-{r}") for r in CREATORS}
        assert {r: scene.view(f"pol-{r}")["usable"] for r in CREATORS} == truth, standing
        looks(scene)
        assert {r: scene.stands(f"pol-{r}") for r in CREATORS} == standing

"""Which of the refs that a policy names are protected on GitHub: advice, by its rulesets and its branches."""

from __future__ import annotations

import pytest

from tests.support import REPOSITORY
from tests.verify.scene import INSTALLATION, Scene
from tests.verify.test_advice import registers
from worker.demo.fakegithub import Fault
from worker.github.answers import RulesetAnswer
from worker.verify.advice import FRESH
from worker.verify.protection import MOST_RULESETS, covered, examples

RULESETS = "GET /repositories/{id}/rulesets"
BRANCH = "GET /repositories/{id}/branches/{branch}"
BRANCHES = "GET /repositories/{id}/branches"


@pytest.fixture
def looking(scene: Scene) -> Scene:
    """The App may look at branches; the repository has a protected one and one that is not."""
    world = scene.fake.world
    world.permit(INSTALLATION, "contents")
    world.permit(INSTALLATION, "actions")
    world.put_workflow(REPOSITORY, "release.yml", "permissions:\n  id-token: write\njobs:\n")
    world.put_branch(REPOSITORY, "main", protected=True)
    world.put_branch(REPOSITORY, "try/this")
    return scene


def told(scene: Scene, *refs: str, **github: object) -> bool:
    """Whether a policy with these refs is told that they are not protected; nothing else is."""
    advisories = registers(scene, **{"environment": None, "refs": list(refs), **github})
    assert set(advisories) <= {"refs_unprotected"}
    return bool(advisories)


@pytest.mark.parametrize(
    ("ref", "unprotected"),
    [
        ("refs/heads/main", False),
        ("refs/heads/try/this", True),
        ("refs/heads/try/*", True),
        ("refs/heads/**", True),
        ("refs/heads/m*", False),
        ("refs/heads/release/*", True),
        ("refs/tags/v*", True),
        ("refs/pull/*/merge", True),
        ("refs/**", True),
    ],
)
def test_without_rulesets_branches_tell(looking: Scene, ref: str, *, unprotected: bool) -> None:
    """Given a protected main and an unprotected try/this, then it is told what those that may push can make or move."""
    assert told(looking, ref) == unprotected


def test_a_branch_that_is_not_there_may_be_made_by_whoever_pushes(looking: Scene) -> None:
    assert told(looking, "refs/heads/releases")
    looking.fake.world.put_branch(REPOSITORY, "releases", protected=True)
    assert not told(looking, "refs/heads/releases")


@pytest.mark.parametrize(
    ("include", "exclude", "unprotected"),
    [
        (["~ALL"], [], False),
        (["refs/tags/v*"], [], False),
        (["refs/tags/*"], [], False),
        (["refs/tags/**/*"], [], False),
        (["refs/tags/v1*"], [], True),
        (["refs/tags/V*"], [], True),
        (["~ALL"], ["refs/tags/v0"], True),
        (["~ALL"], ["refs/tags/beta-*"], False),
        ([], [], True),
    ],
)
def test_a_ruleset_of_tags_protects_those_that_it_includes(
    looking: Scene, include: list[str], exclude: list[str], *, unprotected: bool
) -> None:
    looking.fake.world.put_ruleset(REPOSITORY, "tag", include=include, exclude=exclude)
    assert told(looking, "refs/tags/v*") == unprotected


@pytest.mark.parametrize("what", [{"enforcement": "evaluate"}, {"enforcement": "disabled"}, {"rules": []}])
def test_a_ruleset_that_does_nothing_protects_nothing(looking: Scene, what: dict[str, object]) -> None:
    looking.fake.world.put_ruleset(REPOSITORY, "tag", include=["~ALL"], **what)  # type: ignore[arg-type]
    assert told(looking, "refs/tags/v*")


def test_a_ruleset_of_branches_protects_no_tags_and_one_of_tags_no_branches(looking: Scene) -> None:
    looking.fake.world.put_ruleset(REPOSITORY, "branch", include=["~ALL"])
    assert told(looking, "refs/tags/v*")
    assert not told(looking, "refs/heads/release/*")
    assert told(looking, "refs/heads/release/*", "refs/tags/v*"), "each of them has to be"


def test_where_the_tokens_own_word_or_an_environment_protects_nobody_is_told(looking: Scene) -> None:
    assert not told(looking, "refs/tags/v*", ref_protected=True)
    looking.fake.world.put_environment(REPOSITORY, "release", admits=["v*"])
    assert not told(looking, "refs/tags/v*", environment="release")
    looking.fake.world.put_environment(REPOSITORY, "release", reviewers=[7])
    assert told(looking, "refs/tags/v*", environment="release"), "it admits all, though somebody approves"


def test_protection_that_is_made_is_seen_within_a_week_and_told_as_a_change(looking: Scene) -> None:
    looking.fake.world.set_visibility(REPOSITORY, "public")
    assert told(looking, "refs/tags/v*", visibility="public")
    looking.fake.world.put_ruleset(REPOSITORY, "tag", include=["refs/tags/v*"])
    before = len(looking.changes())
    looking.wait(FRESH)
    looking.sweeps()
    assert looking.view()["advisories"] == []
    assert [change["type"] for change in looking.changes()[before:]] == ["policy.refreshed"]


def test_without_the_permission_branches_are_not_asked_about_and_tags_are(scene: Scene) -> None:
    scene.fake.world.put_branch(REPOSITORY, "try")
    assert not told(scene, "refs/heads/try")
    assert scene.fake.calls[BRANCH] == 0
    assert told(scene, "refs/tags/v*"), "that takes what every App may see"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_where_rulesets_cannot_be_seen_nothing_is_said_of_tags(looking: Scene, status: int) -> None:
    """A plan without them answers 403, an old server 404."""
    looking.fake.faults.add(Fault(kind="status", status=status, route=RULESETS))
    assert not told(looking, "refs/tags/v*")
    assert not told(looking, "refs/heads/release/*")


def test_what_was_answered_with_no_is_asked_again_after_a_week_only(looking: Scene) -> None:
    looking.fake.faults.add(Fault(kind="status", status=403, route=RULESETS))
    told(looking, "refs/tags/v*")
    looking.fake.forget_calls()
    looking.sweeps()
    assert looking.fake.calls[RULESETS] == 0


def test_rulesets_are_read_once_for_all_refs_of_a_repository(looking: Scene) -> None:
    for name in ("v*", "w*"):
        looking.fake.world.put_ruleset(REPOSITORY, "tag", include=[f"refs/tags/{name}"])
    assert not told(looking, "refs/tags/v*", "refs/tags/v1.*", "refs/tags/w*")
    assert looking.fake.calls[RULESETS] == 1
    assert looking.fake.calls[f"{RULESETS}/{{ruleset}}"] == 2


def test_of_too_many_rulesets_nothing_is_said(looking: Scene) -> None:
    for _ in range(MOST_RULESETS + 1):
        looking.fake.world.put_ruleset(REPOSITORY, "tag", include=["refs/tags/x"])
    assert not told(looking, "refs/tags/v*")
    assert looking.fake.calls[f"{RULESETS}/{{ruleset}}"] == 0


def test_names_of_branches_are_quoted(looking: Scene) -> None:
    looking.fake.world.put_branch(REPOSITORY, "früh&spät/100%/x", protected=True)
    assert not told(looking, "refs/heads/früh&spät/100%/x")


# What a pattern admits, and a ruleset covers


def ruleset(*include: str, exclude: tuple[str, ...] = (), target: str = "tag") -> RulesetAnswer:
    return RulesetAnswer(target, include, exclude, protects=True)


def test_examples_are_refs_that_the_pattern_admits() -> None:
    assert examples("refs/tags/v1") == ["refs/tags/v1"]
    assert "refs/tags/v0" in examples("refs/tags/v*")
    assert not [ref for ref in examples("refs/heads/*") if ref.endswith("/") or "//" in ref]
    assert any(ref.count("/") > 2 for ref in examples("refs/heads/**"))


@pytest.mark.parametrize("pattern", ["refs/tags/v[0-9]*", "refs/tags/v?", "refs/tags/{v,w}*", "refs/tags/v\\*"])
def test_what_is_written_in_a_way_that_is_not_read_counts_as_covered(pattern: str) -> None:
    """So nobody is told of what may be protected."""
    assert covered("refs/tags/v1", [ruleset(pattern)])
    assert covered("refs/tags/v1", [ruleset("~ALL", exclude=(pattern,))])


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert not covered("refs/tags/" + "a" * 240, [ruleset("refs/tags/" + "*a" * 120 + "b")] * 50)

"""Whatever happens at GitHub, whoever tells of it or does not, and whatever goes wrong: in the end policies are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import settings_of
from tests.github.receiver import SECRET, receiving
from tests.store.making import webhook
from tests.support import OWNER, USER
from tests.verify.scene import INSTALLATION, Scene
from worker.app import build
from worker.demo.fakegithub import FakeGitHub, Fault, World
from worker.demo.fakegithub.records import NotPossibleError, NotThereError
from worker.lifecycle.facts import SECOND
from worker.local.valkey import EmbeddedStore
from worker.settings import load
from worker.verify.build import build_verification

REPOSITORIES = (1001, 1002, 1003, 1004)
"""The first three have policies of maria, a member; the last of olga, who works from outside."""
STRANGERS, OLGA = 70, 71

Verb: TypeAlias = Callable[[World, bool], object]
"""Something that happens; whether GitHub tells of it."""

repositories = st.sampled_from(REPOSITORIES)
verbs: st.SearchStrategy[Verb] = st.one_of(
    st.builds(lambda r, on: lambda w, tell: w.archive(r, archived=on, tell=tell), repositories, st.booleans()),
    st.builds(lambda r: lambda w, tell: w.delete_repository(r, tell=tell), repositories),
    st.builds(lambda r: lambda w, tell: w.recreate(r, tell=tell), repositories),
    st.builds(lambda r, to: lambda w, tell: w.transfer(r, to, tell=tell), repositories, st.sampled_from([STRANGERS, OWNER])),
    st.builds(lambda r, n: lambda w, tell: w.rename_repository(r, f"name-{n}", tell=tell), repositories, st.integers(0, 3)),
    st.builds(
        lambda r, v: lambda w, tell: w.set_visibility(r, v, tell=tell), repositories, st.sampled_from(["public", "private"])
    ),
    st.builds(lambda r: lambda w, tell: w.take_repository_away(INSTALLATION, r, tell=tell), repositories),
    st.builds(lambda r: lambda w, tell: w.give_repository(INSTALLATION, r, tell=tell), repositories),
    st.just(lambda w, tell: w.remove_member(OWNER, USER, tell=tell)),
    st.just(lambda w, tell: w.add_member(OWNER, USER, tell=tell)),
    st.builds(lambda r: lambda w, tell: w.add_collaborator(r, USER, tell=tell), repositories),
    st.builds(lambda r: lambda w, tell: w.remove_collaborator(r, USER, tell=tell), repositories),
    st.just(lambda w, tell: w.remove_collaborator(1004, OLGA, tell=tell)),
    st.just(lambda w, tell: w.add_collaborator(1004, OLGA, tell=tell)),
    st.just(lambda w, tell: w.rename_account(OWNER, "octo-labs", tell=tell)),
)  # fmt: skip
faults = st.sampled_from([
    None, None, Fault(kind="status", status=502), Fault(kind="status", status=404, times=1), Fault(kind="reset"), Fault(kind="truncated"), Fault(kind="status", status=401, times=1),
])  # fmt: skip
happenings = st.tuples(verbs, st.booleans(), faults, st.booleans())
"""What happens, whether it is told, what goes wrong from then on, and whether GitHub is asked right after."""


def truth(world: World, repository_id: int, creator: int) -> bool:
    """Whether a policy may be used: its repository is in its owner's hands, in sight and not archived, and its creator
    is a member, or one who never was and may write.
    """
    repository = world.repository(repository_id)
    here = not repository.deleted and repository.owner_id == OWNER and not repository.archived
    if not here or not world.sees(world.installation(INSTALLATION), repository):
        return False
    if creator == USER:
        return any(account.id == USER for account in world.members(OWNER))
    return world.access(repository, OLGA).permission in ("write", "maintain", "admin")


@contextmanager
def made_scene(store: EmbeddedStore, folder: Path) -> Iterator[Scene]:
    with FakeGitHub() as fake:
        world = fake.world
        world.add_org("octo", account_id=OWNER)
        world.add_org("strangers", account_id=STRANGERS)
        world.add_user("maria", account_id=USER)
        world.add_user("olga", account_id=OLGA)
        world.add_member(OWNER, USER)
        for repository_id in REPOSITORIES:
            world.add_repository(OWNER, f"repo-{repository_id}", repository_id=repository_id)
        world.add_collaborator(1004, OLGA)
        world.install(OWNER, installation_id=INSTALLATION, repositories=list(REPOSITORIES))
        world.install(STRANGERS)
        key = folder / "app.pem"
        key.write_text(fake.private_key_pem)
        app = build(load({
            **settings_of(store), "TENURE_GITHUB_APP_ID": str(fake.app_id), "TENURE_GITHUB_API_URL": fake.url,
            "TENURE_GITHUB_PRIVATE_KEY_FILE": str(key),
        }))  # fmt: skip
        app.client.redis.flushall()
        app.client.redis.set("tenure:partitions", app.keyspace.partitions)
        scene = Scene(app, fake)
        scene.asking = build_verification(app, scene.now)
        try:
            yield scene
        finally:
            scene.asking.close()
            app.broker.close()
            app.client.redis.close()


@given(st.lists(happenings, max_size=8))
@settings(
    max_examples=max(12, settings().max_examples // 10),
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_in_the_end_policies_are_right(
    store: EmbeddedStore, tmp_path: Path, happened: list[tuple[Verb, bool, Fault | None, bool]]
) -> None:
    """Given any history, of which some is told and some is not, when GitHub is well again and was swept, then every
    policy stands as it should.
    """
    with made_scene(store, tmp_path) as scene, receiving() as receiver:
        scene.fake.webhook_target(receiver.url, SECRET)
        creators = {r: OLGA if r == 1004 else USER for r in REPOSITORIES}
        for r, creator in creators.items():
            scene.registers(f"pol-{r}", repository_id=r, name=f"repo-{r}", user=creator)
        for verb, tell, fault, ask in happened:
            try:
                verb(scene.fake.world, tell)
            except (NotPossibleError, NotThereError):
                continue
            if fault is not None:
                scene.fake.faults.add(fault)
            heard, receiver.letters[:] = list(receiver.letters), []
            scene.hears(*(webhook(scene.app, h.name, h.payload, h.guid, owner=OWNER) for h in heard))
            if ask:
                scene.checks()
            scene.wait(SECOND)
        scene.fake.faults.heal()
        scene.wait(600 * SECOND)
        scene.checks()
        scene.sweeps()
        scene.sweeps()
        found = {r: scene.view(f"pol-{r}")["usable"] for r in REPOSITORIES}
        assert found == {r: truth(scene.fake.world, r, creators[r]) for r in REPOSITORIES}, {
            r: scene.stands(f"pol-{r}") for r in REPOSITORIES
        }

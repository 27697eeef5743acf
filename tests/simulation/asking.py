"""A world with GitHub's API: things happen at GitHub, of which some is told, and the product asks for the rest.

Two organisations have policies. A third is hostile: it takes logins that become free, names its repositories like theirs, has
their people for members, installs the App, and is given repositories and gives them back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

from handlers.base import EXCHANGE, GITHUB, REGISTRY
from tests.simulation import promises
from tests.simulation.github import URL, Mailbox, Replicas
from tests.simulation.operators import Operated
from tests.simulation.product import Breaks, Given, Tick
from tests.simulation.promises import BrokenPromiseError, Cause, LetIn
from tests.support import JSON
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.demo.fakegithub.records import NotPossibleError, NotThereError, Visibility
from worker.lifecycle import scopes
from worker.lifecycle.facts import HOUR, SECOND, Micros
from worker.queue.wakeups import ASKING
from worker.settings import Settings, load
from worker.store.inbox import Envelope, identity
from worker.verify.build import VerificationParts, build_verification
from worker.verify.lanes import Lane, Lanes
from worker.web.webhooks import envelope_of

OCTO, ACME, EVIL = 41, 42, 66
LOGINS = {OCTO: ("octo", "octo-labs"), ACME: ("acme", "acme-inc"), EVIL: ("evil", "worse")}
MARIA, OLGA = 5, 6
"""Maria is a member where she registers. Olga never is: she may write to a repository."""
REPOSITORIES = {100: OCTO, 101: OCTO, 102: ACME}
"""Repository → the owner under which its policies are registered."""
PUBLIC = (101,)
"""Those that anybody can see, at first."""
POLICIES = {
    "pol-0": (100, MARIA), "pol-1": (100, OLGA), "pol-2": (101, MARIA), "pol-3": (101, OLGA), "pol-4": (102, MARIA), "pol-5": (102, OLGA),
}  # fmt: skip
"""Policy → its repository and its creator."""
CREATOR = "its creator may write"
OWNED = "its repository is its owner's"
INSTALLED = "the App is installed"
ASKABLE = "GitHub lets us ask of its creator"
"""Where one of these is not so, policies end with their last proof, and not before."""
OFTEN = {
    "leaves": 4, "joins": 4, "comes from outside": 2, "may do less": 2, "may do something": 3, "archived": 2, "unarchived": 3,
    "given away": 2, "given back": 3, "deleted": 1, "renamed": 4, "made public": 1, "made private": 1, "owner renamed": 4,
    "squatted": 3, "same name elsewhere": 1, "member elsewhere": 1, "uninstalled": 2, "installed": 2, "suspended": 1,
    "unsuspended": 2, "taken from the App": 1, "given to the App": 2,
}  # fmt: skip
"""What happens, and how often beside all else."""
ASKERS = ("a:0", "a:1")
FAULTS = (
    Fault(kind="status", status=502, times=1), Fault(kind="status", status=404, times=1), Fault(kind="reset", times=1),
    Fault(kind="status", status=401, times=1), Fault(kind="truncated", times=2), Fault(kind="secondary_limit", times=1, retry_after=60),
    Fault(kind="wrong_shape", times=1),
)  # fmt: skip
LOOKS = 4
"""So many looks for webhooks that did not arrive, five hours apart, are enough to have them sent again."""
PURSUED = 36 * 3600
"""Those that were sent in so many last seconds: GitHub can send them again all the while."""
SWEEPS = 8
"""So many rounds of sweeps, half a day apart, are enough to find whatever happened."""


@cache
def _settings(pem: str) -> Settings:
    with NamedTemporaryFile("w", suffix=".pem") as key:
        key.write(pem)
        key.flush()
        return load({
            "TENURE_GITHUB_APP_ID": "4711", "TENURE_GITHUB_API_URL": URL, "TENURE_GITHUB_PRIVATE_KEY_FILE": key.name,
            "TENURE_PROVISIONAL_DAYS": "60",
        })  # fmt: skip


class OneByOne(Lanes):
    """Checks that wait for whoever is to make them."""

    def __init__(self) -> None:
        super().__init__()
        self._given_here: list[tuple[Callable[[], None], Callable[[], None]]] = []

    def busy(self, lane: Lane) -> int:  # noqa: ARG002 - as its base has it
        return len(self._given_here)

    def give(self, lane: Lane, work: Callable[[], None], then: Callable[[], None]) -> None:  # noqa: ARG002 - as its base has it
        self._given_here.append((work, then))

    def make(self) -> None:
        while self._given_here:
            work, then = self._given_here.pop(0)
            work()
            then()


class Named(NamedTuple):
    """What has a name: the field of a view that shows it, and the id of the owner or the repository."""

    field: str
    number: int


class Renamed(NamedTuple):
    subject: Named
    time: int
    name: str


@dataclass(slots=True)
class Asker:
    """A process that asks."""

    asking: VerificationParts
    lanes: OneByOne


class AskingWorld(Operated):
    """Things happen at GitHub, some are told, and whoever asks meets faults and replicas that are behind."""

    def __init__(self, seed: int, broken: Breaks | None = None) -> None:
        self._github = FakeGitHub(clock=lambda: self._store.now / SECOND)
        settings = _settings(self._github.private_key_pem)
        places = [(owner, repository) for owner in LOGINS for repository in REPOSITORIES]
        super().__init__(seed, Given(settings, settings.rules, POLICIES, places, broken))
        self._mail = self._github.world.hooks = Mailbox(lambda: self._store.now / SECOND, self._github.world.lock)
        self._replicas = Replicas(self._github, self._fate, self._random, lambda: self._store.now)
        self._askers: dict[str, Asker] = {}
        self._registered: set[str] = set()
        self._broken: dict[Cause, int] = {}
        self._broken_since: dict[Cause, Micros] = {}
        self._times = 0
        """How many times something has ended on which a policy depends."""
        self._tells: dict[str, dict[Cause, int]] = {}
        """Webhook → of which ends it tells."""
        self._pauses, self._longest_pause = self._random.choice(((0.06, 7), (0.02, 9), (0.04, 11)))
        self._often = {verb: self._random.choice((0, 1, 1, 4)) * usual for verb, usual in OFTEN.items()}
        self._named: dict[Named, int] = {}
        """Whose name it is → which time it was given one."""
        self._renames: dict[str, Renamed] = {}
        """Webhook → of which rename it tells."""
        self._begin()

    def _begin(self) -> None:
        world = self._github.world
        for owner, (login, _) in LOGINS.items():
            world.add_org(login, account_id=owner)
        world.add_user("maria", account_id=MARIA)
        world.add_user("olga", account_id=OLGA)
        for owner in (OCTO, ACME):
            world.add_member(owner, MARIA)
        for repository, owner in REPOSITORIES.items():
            visibility: Visibility = "public" if repository in PUBLIC else "private"
            world.add_repository(owner, f"widgets-{repository}", repository_id=repository, visibility=visibility)
            world.add_collaborator(repository, OLGA)
        for owner in LOGINS:
            world.install(owner)

    # What happens

    def _act(self, number: int) -> tuple[str, Callable[[], object]]:
        if self._random.random() < self._operated:
            return self._an_operator(number)
        drawn = self._random.random()
        if drawn < 0.2:
            self._something_happens()
        if drawn < 0.3:
            event = self._next_event(number)
            name = f"door {number}"
            self.history.append(f"{name}: takes {event.name} ({event.delivery})")
            return name, lambda: self._take(event)
        if drawn < 0.55:
            return self._a_worker(number)
        if drawn < 0.8:
            return self._an_asker(number)
        if drawn < 0.85:
            return f"clock {number}", lambda: self._app.settler.settle_due(100)
        return self._a_scheduler(number)

    def _something_happens(self) -> None:
        verb, told = self._verb(), self._random.random() < 0.7
        name, *args = verb
        self._replicas.remember()
        before = self._mail.sent[:]
        with suppress(NotPossibleError, NotThereError):
            self._do(str(name), args, told=told)
            self.history.append(f"at GitHub: {name} {args}, {'told' if told else 'untold'}")
        if self._random.random() < 0.2:
            fault = self._random.choice(FAULTS)
            self.history.append(f"GitHub's next answers: {fault.kind} {fault.status}")
            self._github.faults.add(fault)
        ended, sent = self._what_ended(), self._mail.sent[len(before) :]
        renamed = self._what_was_renamed(str(name), *args)
        if renamed is not None:
            self._renames |= {delivery.guid: renamed for delivery in sent}
        for delivery in sent:
            self._tells[delivery.guid] = {cause: time for cause, time in ended.items() if self._tells_of(cause)}

    def _what_was_renamed(self, verb: str, whose: object = None, *_: object) -> Renamed | None:
        """Note that an owner with policies, or one of its repositories, may have another name now."""
        world = self._github.world
        if verb == "rename_account" and whose in (OCTO, ACME):
            subject, name = Named("repository_owner", int(str(whose))), world.account(int(str(whose))).login
        elif verb == "rename_repository" and isinstance(whose, int):
            repository = world.repository(whose)
            subject, name = Named("repository", whose), repository.name
            if repository.owner_id != REPOSITORIES[whose]:
                # Of that, another owner is told.
                self._named.pop(subject, None)
                return None
        else:
            return None
        self._times += 1
        self._named[subject] = self._times
        return Renamed(subject, self._times, name)

    def _tells_of(self, cause: Cause) -> bool:
        """Whether a webhook of what ended is about the policy's owner: of a repository that another has, that one's tells."""
        return cause.what == OWNED or (
            cause.what not in (INSTALLED, ASKABLE) and Cause(cause.policy, OWNED) not in self._broken
        )

    def _do(self, name: str, args: Sequence[Any], *, told: bool) -> None:
        world = self._github.world
        match name:
            case "unarchive":
                world.archive(*args, archived=False, tell=told)
            case "unsuspend":
                world.suspend(*args, suspended=False, tell=told)
            case _:
                getattr(world, name)(*args, tell=told)

    def _verb(self) -> tuple[object, ...]:
        """Something that happens, and to whom. Some of it happens often in one world, and never in another: what takes three
        rare things at once is found in the world where these are not rare.
        """
        roll = self._random
        repository = roll.choice(list(REPOSITORIES))
        home, owner = REPOSITORIES[repository], roll.choice((OCTO, ACME))
        installed = self._github.world.installation_of(owner)
        through = 0 if installed is None else installed.id
        free = [
            name for logins in LOGINS.values() for name in logins if self._github.world.account_called(name) is None
        ]
        verbs: dict[str, tuple[object, ...]] = {
            "leaves": ("remove_member", owner, MARIA),
            "joins": ("add_member", owner, MARIA),
            "comes from outside": ("add_collaborator", repository, MARIA, "write"),
            "may do less": ("remove_collaborator", repository, OLGA),
            "may do something": ("add_collaborator", repository, OLGA, roll.choice(["write", "write", "read"])),
            "archived": ("archive", repository),
            "unarchived": ("unarchive", repository),
            "given away": ("transfer", repository, EVIL),
            "given back": ("transfer", repository, home),
            "deleted": ("delete_repository", repository),
            "renamed": ("rename_repository", repository, f"widgets-{repository}{roll.choice(('', '-2'))}"),
            "made public": ("set_visibility", repository, "public"),
            "made private": ("set_visibility", repository, "private"),
            "owner renamed": ("rename_account", owner, roll.choice(LOGINS[owner])),
            "squatted": ("rename_account", EVIL, free[0]),
            "same name elsewhere": ("add_repository", EVIL, f"widgets-{repository}"),
            "member elsewhere": ("add_member", EVIL, roll.choice((MARIA, OLGA))),
            "uninstalled": ("uninstall", through),
            "installed": ("install", owner),
            "suspended": ("suspend", through),
            "unsuspended": ("unsuspend", through),
            "taken from the App": ("take_repository_away", through, repository),
            "given to the App": ("give_repository", through, repository),
        }
        return verbs[roll.choices(list(verbs), [self._often[name] for name in verbs])[0]]

    def _next_event(self, number: int) -> Envelope:
        waiting = self._mail.sent
        if waiting and self._random.random() < 0.6:
            # Late, doubled, in any order; or never, when the world ends.
            delivery = self._random.choice(waiting[-4:])
            if self._random.random() < 0.8:
                waiting.remove(delivery)
            heard = envelope_of(delivery.event, delivery.guid, delivery.body, self._keyspace)
            if heard is not None:
                return heard
            self._mail.arrived(delivery.guid)
        return self._said(f"e-{number}")

    def _answered(self, event: Envelope) -> None:
        if event.kind == GITHUB:
            self._mail.arrived(event.delivery)

    def _said(self, label: str) -> Envelope:
        """What the registry says, or the exchange."""
        policy = self._random.choice(list(POLICIES))
        repository, creator = POLICIES[policy]
        owner, world = REPOSITORIES[repository], self._github.world
        data: dict[str, JSON] = {"policy_id": policy}
        if policy not in self._registered or self._random.random() < 0.2:
            name, kind = "policy.registered", REGISTRY
            self._registered.add(policy)
            data |= {
                "name": "publish", "package_owner": {"account": "pack", "kind": "organization"},
                "created_by": {"account": f"account-{creator}", "github_user_id": creator},
                "github": {
                    "repository_owner": world.account(owner).login, "repository_owner_id": owner,
                    "repository": world.repository(repository).name, "repository_id": repository,
                    "visibility": world.repository(repository).visibility, "workflow_file": "release.yml", "environment": None,
                },
            }  # fmt: skip
        else:
            name, kind = "login.succeeded", EXCHANGE
            data |= {"repository_id": repository, "repository_owner_id": owner, "jti": label}
        body, event_id = json.dumps(data).encode(), identity(kind, label)
        return Envelope(
            self._keyspace.of(event_id), event_id, kind, name, label, body, owner=owner,
            said=bytes.fromhex(identity(name, body)),
        )  # fmt: skip

    def _an_asker(self, number: int) -> tuple[str, Callable[[], object]]:
        who = self._random.choice(ASKERS)
        name = f"{who} ({number})"
        if any(running.startswith(f"{who} (") for running in self._running):
            return f"scheduler {number}", self._wake_for_what_is_due
        ticks = [tick for tick in self._bell.ticks if tick.queue in ASKING]
        if ticks and self._random.random() < 0.5:
            tick = self._random.choice(ticks)
            self._bell.ticks.remove(tick)
            self.history.append(f"{name}: runs {tick.job}")
            return name, lambda: self._asks(who, tick=tick)
        sweeps = self._random.random() < 0.3
        self.history.append(f"{name}: {'sweeps' if sweeps else 'checks'}")
        return name, lambda: self._asks(who, sweeps=sweeps)

    def _asks(self, who: str, *, sweeps: bool = False, tick: Tick | None = None) -> None:
        # Until it is done, it counts as ended: if it is killed, another process comes in its place.
        asker = self._askers.pop(who, None) or self._asker()
        self._app.status.beat("asker", who)
        if tick is not None:
            self._run_job(who, tick, asker.asking)
        elif sweeps:
            asker.asking.sweeper.run(who, 60.0)
        else:
            asker.asking.checker.begin()
        asker.lanes.make()
        self._askers[who] = asker
        self._look_now = True

    def _asker(self) -> Asker:
        lanes = OneByOne()
        asking = build_verification(
            self._app, clock=lambda: self._store.now / SECOND, transport=self._replicas, lanes=lanes
        )
        return Asker(asking, lanes)

    def _scope_of(self, policy: str) -> str:
        number, _ = POLICIES[policy]
        return scopes.repository(REPOSITORIES[number], number)

    def _note_import(self, event: Envelope, policy: str, *, value: bool, at: Micros) -> None:
        """Nothing: what GitHub has counts, and it is asked."""

    # What is so

    def _holds(self, policy: str) -> dict[Cause, bool]:
        """Each thing that a policy's use depends on, as GitHub has it."""
        number, creator = POLICIES[policy]
        owner, world = REPOSITORIES[number], self._github.world
        repository, installed = world.repository(number), world.installation_of(owner)
        given = installed is None or installed.selection is None or number in installed.selection
        seen = given or repository.visibility == "public"
        if creator == MARIA:
            there = any(member.id == MARIA for member in world.members(owner))
        else:
            there = world.access(repository, OLGA).permission in ("write", "maintain", "admin")
        return {
            Cause(policy, OWNED): not repository.deleted and repository.owner_id == owner,
            Cause(policy, "its repository is not archived"): not repository.archived,
            Cause(policy, "the App sees its repository"): seen,
            Cause(policy, ASKABLE): given or creator == MARIA,
            Cause(policy, INSTALLED): installed is not None and not installed.suspended,
            Cause(policy, CREATOR): there,
        }

    def _what_ended(self) -> dict[Cause, int]:
        """Note what is so now, and tell what ended just now."""
        ended: dict[Cause, int] = {}
        for policy in POLICIES:
            for cause, holds in self._holds(policy).items():
                if holds or (cause.what == CREATOR and self._nobody_knows(policy)):
                    self._broken_since.pop(cause, None)
                else:
                    self._broken_since.setdefault(cause, self._latest)
                if holds:
                    self._broken.pop(cause, None)
                elif cause not in self._broken:
                    self._times += 1
                    ended[cause] = self._broken[cause] = self._times
        return ended

    # What must hold

    def _look(self) -> None:
        seen = self._published()
        promises.revisions_have_no_gap(seen)
        promises.views_are_the_newest_events(seen)
        promises.names_are_as_heard(seen, self._names_heard())
        self._what_is_not_so_is_believed(
            self._admitted(self._app.reader), lambda event: not self._waits(event), self._clocks()
        )
        behind = promises.BEHIND
        for admitted in self._mirrored():
            self._what_is_not_so_is_believed(
                admitted, lambda event: self._settled_before(event, behind), self._slowest_clocks(behind)
            )

    def _what_is_not_so_is_believed(
        self, let_in: Collection[LetIn], was_settled: Callable[[Envelope], bool], now: Mapping[str, Micros]
    ) -> None:
        heard: dict[Cause, list[int]] = {}
        for event, _ in self._taken.values():
            for cause, time in self._tells.get(event.delivery, {}).items():
                if was_settled(event):
                    heard.setdefault(cause, []).append(time)
        admitted = {policy for policy, _ in let_in}
        promises.what_was_heard_is_believed(admitted - self._registering(was_settled), heard, self._broken)
        times = {policy: now[f"{REPOSITORIES[number]}/{number}"] for policy, (number, _) in POLICIES.items()}
        promises.what_is_not_heard_ends(admitted, self._unproven_since(was_settled), times)

    def _registering(self, was_settled: Callable[[Envelope], bool]) -> set[str]:
        """Policies whose registration waits: one may have been written by a worker that has not read yet what was heard before."""
        return {
            str(json.loads(event.body)["policy_id"])
            for event, _ in self._taken.values()
            if event.name == "policy.registered" and not was_settled(event)
        }

    def _unproven_since(self, was_settled: Callable[[Envelope], bool]) -> dict[Cause, Micros]:
        """Since when something is not so, or since the policy was first registered: so long it has until it is verified."""
        settled: dict[str, Micros] = {}
        waiting: dict[str, Micros] = {}
        for event, at in self._taken.values():
            if event.name == "policy.registered":
                policy = str(json.loads(event.body)["policy_id"])
                if was_settled(event):
                    settled.setdefault(policy, at)
                else:
                    # A later one may be known by now, and this one not yet.
                    waiting[policy] = at
        registered = waiting | settled
        return {cause: max(since, registered.get(cause.policy, since)) for cause, since in self._broken_since.items()}

    def _names_heard(self) -> dict[str, dict[str, str]]:
        """Policy → field → the name of which the last webhook told, where that still is so and no registration came since."""
        last: dict[Named, tuple[Renamed, Micros, bool]] = {}
        registered = dict(self._registrations())
        registering = self._registering(lambda event: not self._waits(event))
        for event, at in self._taken.values():
            renamed = self._renames.get(event.delivery)
            if renamed is not None:
                last[renamed.subject] = renamed, at, not self._waits(event)
        heard: dict[str, dict[str, str]] = {}
        for (field, number), (renamed, at, settled) in last.items():
            for policy, (repository, _) in POLICIES.items():
                concerned = number == (repository if field == "repository" else REPOSITORIES[repository])
                current = self._named.get(renamed.subject) == renamed.time
                if (
                    concerned
                    and settled
                    and current
                    and policy not in registering
                    and registered.get(policy, at + 1) < at
                ):
                    heard.setdefault(policy, {})[field] = renamed.name
        return heard

    def _runs(self) -> list[tuple[int, int, str]]:
        """Of whatever names their repositories have now."""
        world = self._github.world
        return [
            (owner, number, f"{world.account(owner).login}/{world.repository(number).name}")
            for number, owner in REPOSITORIES.items()
        ]

    def _come_to_rest(self) -> None:
        self._github.faults.heal()
        self._replicas.lagging = False
        self._nothing_stays_missed()
        self._settle_everything(lambda _: False)
        for _ in range(SWEEPS):
            self._pass(13 * HOUR)
            self._asks(ASKERS[0], sweeps=True)
            for _ in range(2):
                self._pass(70 * SECOND)
                self._asks(ASKERS[0], sweeps=False)
            self._settle_all()
        self._settle_what_is_due()
        self._every_mirror_agrees()
        self._look()
        promises.counters_agree_with_the_feed(self._published())
        known = {policy for policy, _ in self._registrations() if not self._nobody_knows(policy)}
        may = [policy for policy in known if all(self._holds(policy).values())]
        admitted = {policy for policy, _ in self._admitted(self._app.reader)}
        promises.usable_is_true(known & admitted, may)

    def _nothing_stays_missed(self) -> None:
        """What GitHub could not deliver in the last days is asked for, and arrives."""
        asker, oldest = self._asker(), self._latest / SECOND - PURSUED
        for _ in range(LOOKS):
            self._pass(5 * HOUR)
            asker.asking.redeliverer.run()
            for delivery in self._mail.sent:
                heard = envelope_of(delivery.event, delivery.guid, delivery.body, self._keyspace)
                if heard is None:
                    self._mail.arrived(delivery.guid)
                else:
                    self._take(heard)
            self._mail.sent.clear()
        missed = self._mail.missed(oldest)
        if missed:
            raise BrokenPromiseError(f"{', '.join(sorted(missed))} never arrived, and nobody asked for it")

    def _nobody_knows(self, policy: str) -> bool:
        """Maria left, and may write from outside: whether she was ever seen to be a member depends on who looked when."""
        number, creator = POLICIES[policy]
        world, owner = self._github.world, REPOSITORIES[number]
        left = creator == MARIA and all(member.id != MARIA for member in world.members(owner))
        return left and world.access(world.repository(number), MARIA).permission in ("write", "maintain", "admin")

    def _registrations(self) -> Iterator[tuple[str, Micros]]:
        """Every registration that was taken in: of which policy, and when."""
        for event, at in self._taken.values():
            if event.name == "policy.registered":
                yield str(json.loads(event.body)["policy_id"]), at

"""A world without GitHub's API: webhooks, a registry, an exchange and operators say what they like, in any order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from handlers.base import EXCHANGE, GITHUB, OPERATOR, REGISTRY
from tests.simulation import promises
from tests.simulation.failover import Replica, Replicated
from tests.simulation.product import Breaks, Given
from tests.simulation.promises import Span, Taken
from tests.support import JSON, account, person, registration_data, repository
from worker.lifecycle import scopes
from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros
from worker.lifecycle.logins import EVERY, LoginOutcome
from worker.lifecycle.rules import Rules
from worker.settings import load
from worker.store.inbox import Envelope, identity

OWNERS = (41, 42)
POLICIES = {f"pol-{n}": (OWNERS[n % 2], 100 + n % 4 // 2) for n in range(6)}
"""Policy → its owner and repository: some share one."""
PLACES = sorted({(owner, number) for owner in OWNERS for _, number in POLICIES.values()})
WATCHED = {
    policy: {
        f"{owner}/{number}": (f"{owner}/{number}", f"maria of {owner}", "maria", f"an import of {policy}")
        for owner in OWNERS
    }
    for policy, (_, number) in POLICIES.items()
}
"""What the truth of each policy is about, beside itself: at each owner's repository that it may be registered for."""
REDELIVERED: Micros = 3 * DAY
"""For so long GitHub redelivers what was sent."""


class Delivery(NamedTuple):
    """What somebody sends: an event, and what the truth makes of it; None: it cannot be handled."""

    envelope: Envelope
    about: str | None
    place: str = ""
    """Of a registration or a login: the repository that it names."""
    says: tuple[str, Micros] | None = None
    """What it tells and when that was, where it is not its own name and date."""


class World(Replicated):
    """Webhooks, the registry, an exchange and operators, without credentials to ask GitHub with."""

    def __init__(self, seed: int, broken: Breaks | None = None) -> None:
        rules = Rules(window=promises.WINDOW, reminder=HOUR)
        super().__init__(seed, Given(load({}), rules, POLICIES, PLACES, broken))
        self._deliveries: dict[str, Delivery] = {}
        self._sent: list[tuple[Micros, Delivery]] = []
        self._talked_of = list(POLICIES)[: self._random.choice((2, 6, 6))]
        """In some worlds, all meet at few policies."""
        self._moves = self._random.choice((0.0, 0.0, 0.1, 0.5))
        """How many registrations are for another owner's repository than the policy's first: then it moves there."""

    # What they do

    def _act(self, number: int) -> tuple[str, Callable[[], object]]:
        if self._random.random() < self._operated:
            return self._an_operator(number)
        if self._replica is not Replica.NONE and self._random.random() < 0.08:
            return self._a_witness(number)
        drawn = self._random.random()
        if drawn < 0.5:
            delivery = self._next_delivery(number)
            name = f"door {number}"
            self.history.append(
                f"{name}: takes {delivery.envelope.name} of {delivery.about} ({delivery.envelope.delivery})"
            )
            self._deliveries[delivery.envelope.event_id] = delivery
            return name, lambda: self._take(delivery.envelope)
        if drawn < 0.86:
            return self._a_worker(number)
        if drawn < 0.94:
            return f"clock {number}", lambda: self._app.settler.settle_due(100)
        return self._a_scheduler(number)

    def _scope_of(self, policy: str) -> str:
        return scopes.repository(*POLICIES[policy])

    def _imports(self, name: str) -> None:
        # What an exported line says of a policy that has moved since, no model of a few lines tells.
        if not self._moves:
            super()._imports(name)

    def _note_import(self, event: Envelope, policy: str, *, value: bool, at: Micros) -> None:
        # What gives access counts for the line's own policy, what takes it for all that watch the same.
        owner, number = POLICIES[policy]
        about = f"{owner}/{number}" if value else f"an import of {policy}"
        name = f"repository.{'archived' if value else 'unarchived'}"
        self._deliveries[event.event_id] = Delivery(event, about, says=(name, at))

    def _next_delivery(self, number: int) -> Delivery:
        lately = [delivery for sent, delivery in self._sent if sent > self._store.now - REDELIVERED]
        if lately and self._random.random() < 0.15:
            return self._random.choice(lately)
        delivery = self._delivery(f"d-{number}")
        self._sent.append((self._store.now, delivery))
        return delivery

    def _delivery(self, label: str) -> Delivery:
        policy = self._random.choice(self._talked_of)
        owner, repository_id = POLICIES[policy]
        if self._random.random() < self._moves:
            owner = next(other for other in OWNERS if other != owner)
        where = repository(repository_id, f"widgets-{repository_id}", owner=account(owner))
        member: dict[str, JSON] = {"organization": account(owner), "membership": {"user": person()}}
        old, new = self._random.sample([str(where["name"]), f"{where['name']}-2", f"{where['name']}-3"], 2)
        renamed: JSON = {**where, "name": new}
        former: JSON = {"repository": {"name": {"from": old}}}
        login: dict[str, JSON] = {
            "policy_id": policy, "repository_id": repository_id, "repository_owner_id": owner, "jti": label,
        }  # fmt: skip
        register: dict[str, JSON] = {
            **registration_data(
                repository_owner_id=owner, repository_id=repository_id, repository=f"widgets-{repository_id}"
            ),
            "policy_id": policy,
        }
        about: dict[str, JSON] = {"policy_id": policy}
        kinds: list[tuple[int, str, str, dict[str, JSON], str | None]] = [
            (8, REGISTRY, "policy.registered", register, policy),
            (6, EXCHANGE, "login.succeeded", login, policy),
            (3, EXCHANGE, "login.refused", {"policy_id": policy, "code": "environment"}, policy),
            (3, REGISTRY, "policy.renewed", about, policy),
            (1, REGISTRY, "policy.removed", about, policy),
            (2, OPERATOR, "policy.held", about, policy),
            (2, OPERATOR, "policy.released", about, policy),
            (5, GITHUB, "repository.archived", {"repository": where}, f"{owner}/{repository_id}"),
            (5, GITHUB, "repository.unarchived", {"repository": where}, f"{owner}/{repository_id}"),
            (1, GITHUB, "repository.deleted", {"repository": where}, f"{owner}/{repository_id}"),
            (1, GITHUB, "repository.created", {"repository": where}, f"{owner}/{repository_id}"),
            (3, GITHUB, "repository.renamed", {"repository": renamed, "changes": former}, "a name"),
            (3, GITHUB, "organization.member_removed", member, f"maria of {owner}"),
            (3, GITHUB, "organization.member_added", member, f"maria of {owner}"),
            (2, REGISTRY, "account.locked", {"account": "maria"}, "maria"),
            (2, REGISTRY, "account.unlocked", {"account": "maria"}, "maria"),
            (2, GITHUB, "repository.archived", {"repository": 7}, None),
        ]
        _, kind, name, data, whom = self._random.choices(kinds, [weight for weight, *_ in kinds])[0]
        if kind == GITHUB:
            data = {"action": name.partition(".")[2], **data}
        seems = None if whom == "maria" else owner
        body = json.dumps(data).encode()
        event_id = identity(kind, label)
        home = self._keyspace.of(event_id if kind in (REGISTRY, EXCHANGE) else owner)
        first = name in ("repository.archived", "repository.deleted", "organization.member_removed")
        said = None if kind == GITHUB else bytes.fromhex(identity(name, body))
        envelope = Envelope(home, event_id, kind, name, label, body, owner=seems, first=first, said=said)
        if name == "login.refused":
            # It counts for an hour after its date, however late it comes, or comes again.
            envelope = envelope._replace(owner=None, policy=policy, occurred_at=self._store.now)
        return Delivery(envelope, whom, f"{owner}/{repository_id}" if data in (login, register) else "")

    # The end

    def _come_to_rest(self) -> None:
        self._everything_is_accepted()
        self._settle_everything(lambda event: self._deliveries[event.event_id].about is None)
        self._compare_with_the_truth()
        # Every window ends, and nobody says a word. Or somebody sets the clock, and then a while goes by.
        if self._random.random() < 0.5:
            self._pass(2 * promises.WINDOW)
        else:
            for node in self._nodes:
                self._turn(self._store.clock(node) + 2 * promises.WINDOW, node)
            self._pass(2 * SECOND)
        self._mirrors_catch_up()
        self._look()
        self._compare_with_the_truth()

    def _compare_with_the_truth(self) -> None:
        self._settle_what_is_due()
        # What the clock brings about from here on, it does when it is looked at again.
        settled_at = min(self._app.status.now(), *self._clocks().values())
        self._every_mirror_agrees()
        self._look()
        seen = self._published()
        promises.nothing_is_on_its_way(seen)
        promises.counters_agree_with_the_feed(seen)
        promises.the_ledger_names_what_was_published(seen, self._named_by_the_ledger())
        now = self._span(settled_at)
        promises.states_are_true(seen, WATCHED, self._told(), now)
        promises.nobody_is_locked_out(self._admitted(self._app.reader), WATCHED, self._told(), now)

    def _span(self, settled_at: Micros) -> Span:
        """What time it may be, when the clock has last settled what was due at `settled_at`: it is later where a clock shows more,
        or has shown more before it was set back.
        """
        marks = [self._store.look("GET", partition.clock) for partition in self._keyspace.all()]
        noted = [int(mark.split()[0]) for mark in marks if isinstance(mark, bytes)]
        return Span(settled_at, max([settled_at, *self._clocks().values(), *noted]))

    def _counted(self) -> dict[tuple[str, str], int]:
        """How many logins a policy is said to have had: by event and policy."""
        counted: dict[tuple[str, str], int] = {}
        for outcome in LoginOutcome:
            for policy in POLICIES:
                written = self._store.look("HGET", self._keyspace.directory(policy).logins(outcome, policy), EVERY)
                counted[f"login.{outcome.value}", policy] = int(written.split()[0]) if isinstance(written, bytes) else 0
        return counted

    def _told(self) -> list[Taken]:
        return [told for told, _ in self._told_with_events()]

    def _told_with_events(self) -> Iterator[tuple[Taken, Envelope]]:
        """What the truth is made of, in the order in which it was taken in."""
        for order, (event, at) in enumerate(self._taken.values()):
            _, about, place, says = self._deliveries[event.event_id]
            if about is not None:
                name, dated = says or (event.name, at)
                yield Taken(dated, order, name, about, place), event

    # What must hold

    def _look(self) -> None:
        self._nobody_passes_what_is_closed()
        seen = self._published()
        promises.revisions_have_no_gap(seen)
        promises.views_are_the_newest_events(seen)
        promises.logins_are_counted_once(self._counted(), self._told())
        told = [(t, self._waits(event)) for t, event in self._told_with_events()]
        settled, waiting = [t for t, waits in told if not waits], [t for t, waits in told if waits]
        admitted = self._admitted(self._app.reader)
        promises.usable_in_one_place(admitted)
        promises.nobody_gets_in(admitted, WATCHED, settled, waiting, self._clocks())
        long_ago = [self._settled_before(event, promises.BEHIND) for _, event in self._told_with_events()]
        heard = [t for (t, _), long in zip(told, long_ago, strict=True) if long]
        lately = [t for (t, _), long in zip(told, long_ago, strict=True) if not long]
        if self._lately_failed_over(promises.BEHIND):
            # A mirror may not know yet that what it has heard of is lost.
            return
        for admitted in self._mirrored():
            promises.nobody_gets_in(admitted, WATCHED, heard, lately, self._slowest_clocks(promises.BEHIND))

    def _runs(self) -> list[tuple[int, int, str]]:
        return [(owner, number, f"octo/widgets-{number}") for owner, number in PLACES]

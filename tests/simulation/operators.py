"""What operators do: replays of dead letters, which they stop and go on with, drops, exports and imports."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable

from tests.simulation.mirrors import Never
from tests.simulation.product import Given, Product
from tests.simulation.promises import BrokenPromiseError
from worker import dead_letters
from worker.cli.import_lines import BadLineError, Importer, read
from worker.cli.transfer import _every
from worker.dead_letters.replay import INTERRUPTED
from worker.lifecycle.facts import SECOND, Basis, Micros, Observation, ObservationSource
from worker.operators.submit import envelope_of
from worker.store.codec import row
from worker.store.inbox import Envelope
from worker.store.replays import ENDED, STOPPED


class Operated(Product):
    """A world with operators, who know no more than the store tells them."""

    def __init__(self, seed: int, given: Given) -> None:
        super().__init__(seed, given)
        self._exported: list[str] = []
        """Lines that somebody has exported."""
        self._operated = self._random.choice((0.02, 0.02, 0.15))
        """How many acts are operators'."""

    def _an_operator(self, number: int) -> tuple[str, Callable[[], object]]:
        name = f"operator-{number}"
        acts = (self._replays, self._goes_on, self._stops, self._drops, self._exports, *3 * (self._imports,))
        act = self._random.choice(acts)
        self.history.append(f"{name} {act.__name__.strip('_').replace('_', ' ')}")
        return name, lambda: act(name)

    def _wait(self, seconds: float) -> None:
        """Whoever waits is not always woken at once."""
        self._pass(1 + int(seconds * SECOND * self._random.choice((1, 10, 100))))

    def _replays(self, name: str) -> None:
        letters, _ = dead_letters.select(self._app)
        if letters:
            rate = self._random.choice((None, 10.0))
            dead_letters.replay(
                self._app, letters, reason="again", by=name, rate=rate, batch=name, stop=Never(self._wait)
            )

    def _goes_on(self, name: str) -> None:
        for found in dead_letters.replays(self._app):
            if found.state in (INTERRUPTED, STOPPED):
                dead_letters.resume(self._app, found.replay.batch, by=name, stop=Never(self._wait))

    def _stops(self, name: str) -> None:
        for found in dead_letters.replays(self._app):
            dead_letters.stop_replay(self._app, found.replay.batch, by=name)

    def _drops(self, name: str) -> None:
        """One that cannot be handled: nothing of it counts."""
        letters = [x for x in dead_letters.find(self._app) if x.error == "UnusableEventError"]
        for letter in letters[:1]:
            self._dropped.add(letter.event_id)
            dead_letters.drop(self._app, [letter], reason="nothing of it counts", by=name)

    def _exports(self, _: str) -> None:
        for policy in _every(self._app, []):
            facts = [row(fact) for fact in policy.facts.values()]
            self._exported.append(json.dumps({"policy_id": policy.policy_id, "facts": facts}))

    def _imports(self, name: str) -> None:
        """A line that was exported before, to which somebody has added that the repository is archived, or is not."""
        if not self._exported:
            self._exports(name)
        if not self._exported:
            return
        now = self._app.status.now()
        line = json.loads(self._random.choice(self._exported))
        at, value = now - self._random.randrange(1, 100 * SECOND), self._random.random() < 0.5
        scope = self._scope_of(line["policy_id"])
        said = Observation(
            scope, "archived", value, at, Basis.HINT, ObservationSource("github", name, "repository.archived")
        )
        line["facts"].append(row(said))
        importer = Importer(self._app.settings.rules, self._app.settings.instances, self._app.policies.remembered)
        try:
            good = read(json.dumps(line).encode(), now, self._app.settings.rules)
            importer.recall([good])
            known = self._app.policies.load([good.policy_id])[good.policy_id].read(good.policy_id)
            asked = importer.submission(good, known, now)
        except BadLineError:
            # The clock was set back since it was exported, or the policy was removed.
            return
        if asked is not None:
            event = envelope_of(self._app, asked, by=name)
            self._note_import(event, good.policy_id, value=value, at=at)
            self._take(event)

    @abstractmethod
    def _scope_of(self, policy: str) -> str:
        """The scope of its repository."""

    @abstractmethod
    def _note_import(self, event: Envelope, policy: str, *, value: bool, at: Micros) -> None:
        """What the truth makes of it."""

    def _replay(self) -> None:
        """Whatever was interrupted is gone on with; then everything that is left is replayed: some died with their workers."""
        self._pass(60 * SECOND)
        self._goes_on("the last operator")
        self._replays("the last replay")
        for found in dead_letters.replays(self._app):
            if found.state != ENDED or found.left:
                raise BrokenPromiseError(
                    f"the replay {found.replay.batch} is {found.state}, with {found.left} letters left"
                )

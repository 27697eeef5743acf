"""How far the App's installations let Tenure see: whether an owner can be heard at all, and which repositories.

Sight belongs to an installation, and an owner may have several: of a former App and of its successor, or of one App that
was taken away and installed again. What is said of one says nothing of another. The scope of the owner holds, for the
installation with the id 7,

    blind:7          true: it is suspended; false: it was installed, or is suspended no longer
    blind:7:deleted  true: it was deleted, which is final
    narrowed:7       true: it sees selected repositories; false: it sees all

and the scope of a repository

    unreachable:7    true: it was taken from the installation; false: the installation lists it

An organisation's own webhook is kept in the same way, as the installation `hook-7`. Facts without an installation's id,
`blind` and `unreachable`, are those of an unknown one.
"""

from __future__ import annotations

from functools import cached_property

from worker.lifecycle import scopes
from worker.lifecycle.facts import (
    Facts,
    Micros,
    Observation,
    effective,
    happened,
    newest,
    newest_hint,
    outweighs,
    series,
)

INSTALLATIONS = 64
"""Installations of one owner of which anything is kept: the newest, which have the highest ids."""
KINDS = ("blind:", "narrowed:", "unreachable:")


def blind(installation: str) -> str:
    """The aspect that says whether an installation is suspended."""
    return f"blind:{installation}"


def deleted(installation: str) -> str:
    """The aspect that says that an installation is gone for good."""
    return f"blind:{installation}:deleted"


def narrowed(installation: str) -> str:
    """The aspect that says whether an installation sees selected repositories only."""
    return f"narrowed:{installation}"


def unreachable(installation: str) -> str:
    """The aspect that says whether a repository was taken from an installation."""
    return f"unreachable:{installation}"


def installation_of(aspect: str) -> str | None:
    """The installation that an aspect is about, None if it is about none."""
    return aspect.split(":")[1] if aspect.startswith(KINDS) else None


def without_oldest(facts: Facts) -> Facts:
    """The facts of the newest `INSTALLATIONS`, and all that are about none; the very same object if nothing goes.

    An id that is dropped stays dropped, whatever arrives in whatever order, since those that are kept are higher.
    """
    ids = {installation for fact in facts.values() if (installation := installation_of(fact.aspect)) is not None}
    if len(ids) <= INSTALLATIONS:
        return facts
    kept = {None, *sorted(ids, key=_age)[-INSTALLATIONS:]}
    return {key: fact for key, fact in facts.items() if installation_of(fact.aspect) in kept}


def _age(installation: str) -> tuple[int, str]:
    number = installation.removeprefix("hook-")
    return int(number) if number.isascii() and number.isdigit() else -1, installation


def _owner_scope(scope: str) -> str | None:
    owner = scopes.owner_id_of(scope)
    return None if owner is None else scopes.owner(owner)


class Sight:
    """What one owner's facts tell of its installations."""

    def __init__(self, facts: Facts, owner_scope: str, *, proof_required: bool, lag: Micros) -> None:
        self._facts = facts
        self._owner = owner_scope
        self._proof_required = proof_required
        self._lag = lag
        # Those of an owner that the policy had before let nobody hear of this one, even where they have the same ids.
        self._installations = {
            fact.aspect.split(":")[1]
            for fact in facts.values()
            if fact.aspect.startswith(KINDS) and _owner_scope(fact.scope) == owner_scope
        }

    def _hint(self, scope: str, aspect: str) -> Observation | None:
        channels = (self._facts.get(f"{scope} {aspect} {channel}") for channel in ("-", "+"))
        return newest_hint(channels)

    def _ended(self, installation: str) -> Micros | None:
        """Since when an installation lets us hear nothing; None if it does."""
        suspended = self._hint(self._owner, blind(installation))
        gone = self._facts.get(f"{self._owner} {deleted(installation)} -")
        ends = [happened(hint) for hint in (suspended, gone) if hint is not None and hint.value is True]
        return min(ends, default=None)

    @cached_property
    def _living(self) -> dict[str, Observation | None]:
        """Installations that let us hear, and what was last said of how much they see."""
        return {
            installation: self._hint(self._owner, narrowed(installation))
            for installation in self._installations
            if self._ended(installation) is None
        }

    @cached_property
    def blind_since(self) -> Micros | None:
        """When GitHub could first no longer be heard of the owner; hearing of that again does not begin it anew."""
        since = None
        for fact in series(self._facts, self._owner, "blind"):
            if fact.value is not True:
                since = None
            elif since is None:
                since = fact.at
        if not self._installations:
            return since
        if self._living:
            return None
        ends = [end for installation in self._installations if (end := self._ended(installation)) is not None]
        return max(ends if since is None else [*ends, since])

    def of(self, scope: str, until: Micros | None) -> Observation | None:
        """What counts as known of whether a repository is out of reach: what says so, or says otherwise, or None.

        From `until` on, nothing gives it back.
        """
        if not self._installations:
            # Nothing was heard of any yet, as of most owners while nothing happens to the App.
            return effective(
                self._facts, scope, "unreachable", proof_required=self._proof_required, lag=self._lag, until=until
            )
        proof = self._facts.get(f"{scope} unreachable =")
        if proof is not None and until is not None and proof.value is not True and proof.at >= until:
            proof = None
        taken = {
            installation: observation
            for installation in ("", *self._installations)
            if (observation := self._facts.get(f"{scope} {_aspect(installation)} -")) is not None
        }
        hint = newest(taken.values()) if self._proof_required else self._by_hints(scope, taken, until)
        if proof is None or hint is None:
            return hint if proof is None else proof
        return hint if outweighs(hint, proof, self._lag) else proof

    def _by_hints(self, scope: str, taken: dict[str, Observation], until: Micros | None) -> Observation | None:
        """What the hints alone come to: out of reach if an installation lost it, and no other sees it."""
        hints: dict[str, Observation] = {}
        for installation in ("", *self._installations):
            listed = self._facts.get(f"{scope} {_aspect(installation)} +")
            selection = self._hint(self._owner, narrowed(installation))
            everything = selection if selection is not None and selection.value is False else None
            last = newest_hint(hint for hint in (listed, everything) if hint is not None and _before(hint, until))
            if last is not None:
                hints[installation] = last
        lost = [hint for installation, hint in taken.items() if not self._gives_back(installation, hint, hints)]
        return newest(lost) or newest(hints.values())

    def _gives_back(self, installation: str, taken: Observation, hints: dict[str, Observation]) -> bool:
        """Whether the installation that lost a repository has it again, or another one that lets us hear has it.

        What an unknown installation lost, any may have given back since; and what it sees is not known to be seen now.
        """
        if installation in hints and newest_hint((taken, hints[installation])) is not taken:
            return True
        others = (hint for other, hint in hints.items() if other != installation and other in self._living)
        return any(installation != "" or happened(hint) > happened(taken) for hint in others)


def _aspect(installation: str) -> str:
    return unreachable(installation) if installation else "unreachable"


def _before(hint: Observation, until: Micros | None) -> bool:
    return until is None or hint.at < until

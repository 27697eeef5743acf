"""What a policy's logins had in common, and the narrowest constraint that all of them would have passed.

A shape is what the exchange told of a login beside its ids. Versions differ from release to release, so the numbers in a tag
are written as `#`: a policy that publishes from a hundred tags has one shape.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from worker.lifecycle.facts import DAY, Micros
from worker.lifecycle.registration import Registration, own_file

LOOKED_AT: Micros = 90 * DAY
"""How far back logins are looked at."""
LONGEST_PART = 300
"""Characters of a part of a shape. What is longer counts as not told: GitHub's refs have at most 255 bytes."""
MOST_REFS = 10
"""Patterns that are proposed. A policy that publishes from more has no refs in common that are worth a name."""
SAME = "="
"""In place of the called workflow: the very one that the run began with."""
RUNNERS = frozenset({"github-hosted", "self-hosted"})

_FOLDER = "/.github/workflows/"
_NUMBER = re.compile(r"[0-9]+")


class Shape(NamedTuple):
    """None: not told."""

    ref: str | None = None
    """The branch or tag of the run."""
    environment: str | None = None
    caller: str | None = None
    """The workflow that the run began with: `owner/name/.github/workflows/file.yml@ref`."""
    called: str | None = None
    """The one that the job ran, likewise; `=` if that is the same."""
    runner: str | None = None

    @property
    def name(self) -> str:
        """What stands for it among others."""
        return hashlib.blake2b(self.written.encode(), digest_size=8).hexdigest()

    @property
    def written(self) -> str:
        """As JSON, without what is not told."""
        told = {name: part for name, part in self._asdict().items() if part is not None}
        return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def shape_of(
    *, ref: str | None, environment: str | None, caller: str | None, called: str | None, runner: str | None
) -> Shape:
    """The shape of a login, of the parts as its token has them."""
    ref, environment, caller, called, runner = (
        part if part is not None and len(part) <= LONGEST_PART else None
        for part in (ref, environment, caller, called, runner)
    )
    same = called is not None and called == caller
    return Shape(
        None if ref is None else _unnumbered(ref), environment, _at(caller), SAME if same else _at(called), runner
    )


def read(written: Mapping[str, object]) -> Shape:
    """The reverse of `Shape.written`. What has another form counts as not told."""
    return Shape(**{name: part for name in Shape._fields if isinstance(part := written.get(name), str)})


def _unnumbered(ref: str) -> str:
    """A branch is one for a long time; a tag, or what a pull request has, is another each time."""
    return ref if ref.startswith("refs/heads/") else _NUMBER.sub("#", ref)


def _at(workflow: str | None) -> str | None:
    if workflow is None:
        return None
    path, ref = _parts(workflow)
    return f"{path}@{_unnumbered(ref)}" if ref.startswith("refs/") else workflow


def _parts(workflow: str) -> tuple[str, str]:
    """Path and ref. A file's name may hold an `@`, and so may a ref."""
    path, at, ref = workflow.partition("@refs/")
    if at:
        return path, f"refs/{ref}"
    path, _, ref = workflow.rpartition("@")
    return path, ref


def _pattern(ref: str) -> str:
    """The pattern of the refs that look like this one: in each segment, whatever follows the first number is free."""
    if ref.startswith("refs/heads/"):
        return ref
    return "/".join(f"{part.partition('#')[0]}*" if "#" in part else part for part in ref.split("/"))


# What to propose


class Proposal(NamedTuple):
    """A registration that asks for more, and that all logins would have passed; the same one, if nothing can be asked for."""

    registration: Registration
    untold: tuple[str, ...]
    """Parts that the exchange did not tell of every login, so that nothing could be proposed of them."""


def propose(registration: Registration, shapes: Sequence[Shape]) -> Proposal:
    """The narrowest constraint that a registration does not have yet, and that these logins, all there were, passed."""
    untold = tuple(
        name for name in ("ref", "caller", "called", "runner") if any(getattr(s, name) is None for s in shapes)
    )
    narrower = _bound(registration, shapes)
    refs, environment, runner = _refs(shapes), _shared(s.environment for s in shapes), _shared(s.runner for s in shapes)
    asked = narrower.asked
    if not asked.refs and refs is not None:
        asked = asked._replace(refs=refs)
    if asked.runner is None and runner in RUNNERS:
        asked = asked._replace(runner=runner)
    return Proposal(narrower._replace(environment=registration.environment or environment, asked=asked), untold)


def _shared(parts: Iterable[str | None]) -> str | None:
    """What is the same of all; None if anything differs, or is not told."""
    found = set(parts)
    return found.pop() if len(found) == 1 else None


def _refs(shapes: Sequence[Shape]) -> tuple[str, ...] | None:
    """Refs bind the workflow's commit to the run's, too; so it has to be known that a file of its own was of that."""
    refs: set[str] = set()
    for shape in shapes:
        if shape.ref is None or not shape.ref.startswith("refs/") or not _of_its_commit(shape):
            return None
        refs.add(_pattern(shape.ref))
    return tuple(sorted(refs)) if 0 < len(refs) <= MOST_REFS else None


def _of_its_commit(shape: Shape) -> bool:
    """Whether the job's workflow was the run's own, or is another repository's."""
    if shape.caller is None or shape.called is None:
        return False
    return shape.called == SAME or _home(shape.called) != _home(shape.caller)


def _bound(registration: Registration, shapes: Sequence[Shape]) -> Registration:
    """Asking for the workflow that a run began with, where that was always the same file."""
    asked = registration.asked
    told = [(s.caller, s.called) for s in shapes if s.caller is not None and s.called is not None]
    began = _shared(_file(caller) for caller, _ in told)
    if (
        asked.workflow_binds is not None
        or asked.called_workflow is not None
        or len(told) < len(shapes)
        or began is None
    ):
        return registration
    if own_file(registration) is not None:
        own = began == registration.workflow_file and all(ran == SAME for _, ran in told)
        return registration._replace(asked=asked._replace(workflow_binds="caller")) if own else registration
    # The policy names another repository's workflow: it may be asked who calls that.
    path = _shared(_parts(ran)[0] for _, ran in told)
    if path is None or not all(ran != SAME and _home(ran) != _home(caller) for caller, ran in told):
        return registration
    ref = _shared(_pattern(_parts(ran)[1]) for _, ran in told)
    called_workflow = path if ref is None else f"{path}@{ref}"
    return registration._replace(workflow_file=began, asked=asked._replace(called_workflow=called_workflow))


def _home(workflow: str) -> str:
    """The repository of a workflow. Letter case is none of a name's."""
    return workflow.partition(_FOLDER)[0].lower()


def _file(workflow: str) -> str:
    return _parts(workflow)[0].partition(_FOLDER)[2]

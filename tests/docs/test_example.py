"""The worked example of docs/lifecycle.md, played."""

from __future__ import annotations

from handlers.base import EXCHANGE, GITHUB, REGISTRY
from handlers.table import handle
from tests.docs.markdown import table, text, ticked
from tests.support import JSON, Life, account, incoming, person, registration_data, repository
from worker.lifecycle.facts import DAY, Micros, Observation
from worker.lifecycle.rules import Rules

MARCH: Micros = 1_772_366_400_000_000
"""1 March 2026, 12:00 UTC."""

RENAMED: JSON = {"repository": {"name": {"from": "loom"}}}
LOGIN: dict[str, JSON] = {"policy_id": "pol-1", "repository_id": 7, "repository_owner_id": 41, "jti": "run-1"}


def on(day: int) -> Micros:
    return MARCH + (day - 1) * DAY


def said(day: int, name: str, body: dict[str, JSON], kind: str = GITHUB) -> tuple[Observation, ...]:
    return handle(incoming(name, body, kind=kind, at=on(day))).observations


def registered(day: int, name: str) -> tuple[Observation, ...]:
    return said(day, "policy.registered", registration_data(repository=name, repository_id=None), REGISTRY)


def about_repository(day: int, action: str, **fields: JSON) -> tuple[Observation, ...]:
    return said(day, f"repository.{action}", {"repository": repository(7, "power-loom"), **fields})


def about_creator(day: int, action: str) -> tuple[Observation, ...]:
    return said(day, f"organization.{action}", {"organization": account(), "membership": {"user": person()}})


STORY: list[tuple[int, tuple[Observation, ...]]] = [
    (1, registered(1, "loom")),
    (3, about_repository(3, "renamed", changes=RENAMED)),
    (4, about_creator(4, "member_removed")),
    (5, about_repository(5, "archived")),
    (6, about_creator(6, "member_added")),
    (8, ()),
    (9, about_repository(9, "unarchived")),
    (10, said(3, "login.succeeded", LOGIN, EXCHANGE)),
    (11, said(3, "login.succeeded", LOGIN, EXCHANGE)),
    (12, registered(12, "power-loom")),
]


def test_the_worked_example_goes_as_told() -> None:
    life = Life(Rules())
    for (day, observations), row in zip(STORY, table(text("docs/lifecycle.md"), "example"), strict=True):
        change = life.hears(on(day), *observations)
        view = life.view
        date, _, revision, change_told, state, reasons, advisories = row
        assert date.split()[0] == str(day)
        assert ticked(change_told) == ([change.value] if change else []), date
        assert (str(view["revision"]), view["state"]) == (revision, state), date
        assert (view["reasons"], view["advisories"]) == (ticked(reasons), ticked(advisories)), date

"""The table of rights knows every key and every command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import get_type_hints

import pytest

from tenure_reader.keys import PARTITIONS, PartitionKeys
from tests.docs.markdown import ROOT, text
from worker.lifecycle.logins import LoginOutcome
from worker.local.valkey import EmbeddedStore
from worker.queue.broker import NAMESPACE
from worker.store import keys, upgrade
from worker.store.client import connect
from worker.store.keys import GitHubKeys, Partition
from worker.store.rights import COMMANDS, KEYS, Refusal, User, access_list, pattern_of, rules

GIVEN: dict[object, object] = {str: "x", int: 7, LoginOutcome: LoginOutcome.SUCCEEDED}


def called(function: object) -> Iterator[str]:
    """The keys that a function makes, with something for each of its arguments."""
    hints = get_type_hints(function)
    hints.pop("return")
    made = function(**{name: GIVEN.get(hint, 7) for name, hint in hints.items()})  # type: ignore[operator]
    yield from [made] if isinstance(made, str) else made


def members(of: object, kind: type) -> Iterator[str]:
    """The keys that the properties and methods of an object make."""
    for parent in kind.__mro__:
        for name, member in vars(parent).items():
            if name.startswith("_") or parent.__module__ == "builtins" or name in {"prefix", "number", "issuer"}:
                continue
            if isinstance(member, property):
                yield getattr(of, name)
            elif inspect.isfunction(member):
                yield from called(getattr(of, name))


def every_key() -> list[str]:
    constants = [key for key in vars(keys).values() if isinstance(key, str) and key.startswith("tenure:{")]
    functions = [
        member
        for name, member in vars(keys).items()
        if inspect.isfunction(member) and member.__module__ == keys.__name__ and not name.startswith("_")
    ]
    return [
        PARTITIONS, upgrade.LAYOUT_KEY, f"{NAMESPACE}:events", *(key for key in constants if key != keys.ANSWERED),
        *(key for function in functions for key in called(function)),
        *members(Partition(7), Partition), *members(GitHubKeys("github"), GitHubKeys), *members(GitHubKeys("corp"), GitHubKeys),
    ]  # fmt: skip


def test_every_key_is_in_the_table() -> None:
    """Whoever adds a key adds a row, or says in one who may do what with it."""
    made = every_key()
    assert len(made) > 80
    assert [key for key in made if pattern_of(key) is None] == []


def test_every_row_is_some_key_s() -> None:
    former = {"tenure:clock", "tenure:ledger:since", "tenure:published", "tenure:{all}:alive:web"}
    made = {pattern_of(key) for key in every_key()}
    assert {row.pattern for row in KEYS} - made == former


def test_an_exchange_reads_what_the_contract_names_and_no_more() -> None:
    contract = {pattern_of(key) for key in (PARTITIONS, *members(PartitionKeys(7), PartitionKeys))}
    assert {row.pattern for row in KEYS if row.exchange} == contract
    assert {row.exchange for row in KEYS} == {"", "r"}


def used() -> set[str]:
    """The commands that are named in sources, beside other words."""
    found: set[str] = set()
    scripts = [
        *files("worker.store").joinpath("lua").iterdir(),
        files("dramatiq.brokers").joinpath("redis", "dispatch.lua"),
    ]
    for script in scripts:
        found |= {word.lower() for word in re.findall(r"""['"]([A-Z]{3,}|[a-z]{3,})['"]""", script.read_text())}
    for path in (ROOT / "worker").rglob("*.py"):
        found |= {word.lower() for word in re.findall(r'"([A-Z]{3,})"', path.read_text())}
    return found


def test_every_command_is_granted(store: EmbeddedStore) -> None:
    """Whoever uses a command of the server that nothing used before grants it to whom it concerns."""
    granted = {rule for names in COMMANDS.values() for rule in names}
    names = {rule.partition("|")[0] for rule in granted}
    client = connect(store.url).redis()
    known = {str(name).lower() for name in client.command()}
    connection = {name for name in known if "@connection" in client.command()[name]["acl_categories"]}
    # A maintenance of dramatiq's that is switched off; what only Sentinels are asked; what is known to have no key, and not used.
    unused = {"keys", "sentinel", "dbsize", "memory", "object"}
    assert sorted((used() & known) - names - connection - unused) == []


def test_the_file_is_the_table() -> None:
    assert text("deploy/acl/users.acl") == access_list()


@pytest.mark.parametrize("user", list(User))
def test_nobody_has_a_password_of_ours(user: User) -> None:
    assert f"user {user} on #SHA256-OF-{user} " in access_list()
    assert "nopass" not in " ".join(rules(user))


def test_what_was_refused_says_what_to_grant() -> None:
    assert Refusal("worker", "command", "config|get", 1).rule == "+config|get"
    assert not Refusal("worker", "command", "config|get", 1).due
    assert Refusal("worker", "key", "tenure:{p07}:policy:a", 1).rule == "~tenure:{p*}:policy:*"
    assert Refusal("worker", "key", "tenure:{p07}:policy:a", 1).due
    assert not Refusal("exchange", "key", "tenure:{p07}:policy:a", 1).due
    assert Refusal("somebody", "key", "other", 1).rule == "~other"
    assert not Refusal("somebody", "key", "other", 1).due
    assert Refusal("web", "channel", "tenure:{all}:answered", 1).due


def test_the_table_of_the_document_is_this_one(tmp_path: Path) -> None:
    assert "<!-- table: rights -->" in text("docs/security.md")

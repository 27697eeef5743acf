"""Whether the jobs of a workflow file may get an OIDC token, as far as the file tells.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#permissions

No YAML is parsed here: whoever may push writes the file, and all that matters is written at three depths of indentation. Each
line is looked at once. What is written in any other way than nearly everybody writes it is left open, and nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

LONGEST = 128 * 1024
"""Bytes of a file that are read. Workflow files have a few thousand."""
_BREAKS = ("\r", "\x85", "\u2028", "\u2029")
"""What else may end a line, for some who read YAML and not for others."""
_NOTHING = frozenset({"read", "none"})


class _Line(NamedTuple):
    indent: int
    text: str


class _Entry(NamedTuple):
    """Of a mapping: the value on the key's own line, and the lines below it that belong to it."""

    value: str
    below: list[_Line]


class _UnclearError(Exception):
    """It is not written as nearly everybody writes it."""


def asks_for_id_token(text: str) -> bool | None:
    """Whether some job asks for `id-token: write`, by itself or for the whole file; None: that cannot be told.

    A job that asks for nothing has what the file asks for; where that asks for nothing, either, GitHub's default, which is no
    OIDC token. A file that others may call has what they give it.
    """
    try:
        return _asks(_lines(text))
    except _UnclearError:
        return None


def _asks(lines: list[_Line]) -> bool | None:
    file = _mapping(lines)
    default = _granted(file["permissions"]) if "permissions" in file else False
    given: set[bool | None] = set()
    for job in _mapping(_children(file, "jobs")).values():
        if job.value:
            raise _UnclearError
        members = _mapping(job.below)
        if "permissions" in members:
            given.add(_granted(members["permissions"]))
        else:
            given.add(None if "permissions" not in file and _is_called(file) else default)
    return True if True in given else None if None in given else False


def _lines(text: str) -> list[_Line]:
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if any(each in text for each in _BREAKS):
        raise _UnclearError
    found = []
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        if bare and not bare.startswith("#"):
            found.append(_Line(len(line) - len(bare), bare.rstrip(" ")))
    if found and found[0].text == "---":
        del found[0]
    return [line for line in found if line.text]


def _mapping(lines: Sequence[_Line]) -> dict[str, _Entry]:
    """A mapping whose keys stand below each other."""
    entries: dict[str, _Entry] = {}
    below: list[_Line] | None = None
    for line in lines:
        if line.indent > lines[0].indent or (line.indent == lines[0].indent and line.text.startswith("- ")):
            if below is None:
                raise _UnclearError
            below.append(line)
            continue
        key, value = _pair(line.text)
        if line.indent < lines[0].indent or key in entries:
            raise _UnclearError
        entries[key] = _Entry(value, below := [])
    if not entries:
        raise _UnclearError
    return entries


def _pair(text: str) -> tuple[str, str]:
    """A key and its value. A key that holds a colon, is an alias or merges others in is left open."""
    head, colon, rest = text.partition(":")
    key = _bare(head.rstrip(" "))
    if not colon or (rest and not rest.startswith(" ")) or not key.replace("-", "").replace("_", "").isalnum():
        raise _UnclearError
    return key, _uncommented(rest)


def _uncommented(value: str) -> str:
    value = value.strip(" ")
    return "" if value.startswith("#") else value.partition(" #")[0].rstrip(" ")


def _bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _children(file: dict[str, _Entry], key: str) -> list[_Line]:
    if key not in file or file[key].value:
        raise _UnclearError
    return file[key].below


def _granted(permissions: _Entry) -> bool | None:
    """Whether `permissions:` holds `id-token: write`; None: that cannot be told."""
    value, below = permissions
    try:
        if below:
            return None if value else _writes({key: entry.value for key, entry in _mapping(below).items()})
        if value.startswith("{") and value.endswith("}"):
            return _writes(dict(_pair(part.strip(" ")) for part in value[1:-1].split(",") if part.strip(" ")))
    except _UnclearError:
        return None
    return {"write-all": True, "read-all": False}.get(_bare(value))


def _writes(given: dict[str, str]) -> bool | None:
    level = _bare(given.get("id-token", "none"))
    return True if level == "write" else False if level in _NOTHING else None


def _is_called(file: dict[str, _Entry]) -> bool:
    """Whether another workflow may call it, as far as its triggers name that anywhere."""
    triggers = file.get("on", file.get("true"))
    return triggers is None or any(
        "workflow_call" in text for text in (triggers.value, *(t for _, t in triggers.below))
    )

"""Reads compose.yaml and the rules of the alerts, without a dependency for it: as much of YAML as these files use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeAlias, cast

Node: TypeAlias = "str | list[Node] | dict[str, Node]"

ROOT = Path(__file__).resolve().parents[2]

_ENTRY = re.compile(r"(?P<key>[\w.<-]+):(?: (?P<value>.*))?$")
_FLOW = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,\[\]]+')


class _Reader:
    def __init__(self, text: str) -> None:
        self._lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        self._at = 0
        self._anchors: dict[str, Node] = {}

    def _indent(self) -> int:
        line = self._lines[self._at] if self._at < len(self._lines) else ""
        return len(line) - len(line.lstrip()) if line else -1

    def block(self, indent: int) -> Node:
        """The mapping or list whose lines begin at `indent`."""
        if self._lines[self._at].lstrip().startswith("- "):
            return self._list(indent)
        found: dict[str, Node] = {}
        own: set[str] = set()
        while self._indent() == indent:
            entry = _ENTRY.match(self._lines[self._at].strip())
            assert entry is not None, f"not read: {self._lines[self._at]}"
            self._at += 1
            key, value = entry["key"], self._value(entry["value"] or "", indent)
            if key == "<<":
                found = {**cast("dict[str, Node]", value), **found}
            else:
                assert key not in own, f"twice: {key}"
                own.add(key)
                found[key] = value
        return found

    def _list(self, indent: int) -> Node:
        found: list[Node] = []
        while self._indent() == indent:
            line = self._lines[self._at]
            item = line.strip().removeprefix("- ")
            if _ENTRY.match(item):
                # A mapping, whose first entry stands on the line of the dash.
                self._lines[self._at] = line.replace("- ", "  ", 1)
                found.append(self.block(indent + 2))
                continue
            self._at += 1
            found.append(self._value(item, indent))
        return found

    def _value(self, text: str, indent: int) -> Node:
        if text.startswith("*"):
            return self._anchors[text[1:]]
        if text.startswith("&"):
            name, _, text = text[1:].partition(" ")
            self._anchors[name] = value = self._value(text, indent)
            return value
        if text == "|":
            return self._text()
        if text:
            return _scalar(text) if not text.startswith("[") else [_scalar(item) for item in _FLOW.findall(text)]
        return self.block(self._indent()) if self._indent() > indent else ""

    def _text(self) -> str:
        indent, lines = self._indent(), []
        while self._indent() >= indent:
            lines.append(self._lines[self._at][indent:])
            self._at += 1
        return "\n".join(lines)


def _scalar(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def read(path: str = "compose.yaml") -> dict[str, Node]:
    """A file, with its anchors resolved. Every scalar is a string."""
    return cast("dict[str, Node]", _Reader((ROOT / path).read_text(encoding="utf-8")).block(0))


def mapping(node: Node) -> dict[str, Node]:
    assert isinstance(node, dict)
    return node


def strings(node: Node) -> list[str]:
    assert isinstance(node, list)
    assert all(isinstance(item, str) for item in node)
    return cast("list[str]", node)


def text(node: Node) -> str:
    assert isinstance(node, str)
    return node

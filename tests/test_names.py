"""A class name means one thing in the whole product."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("worker", "handlers", "schedules", "reader/src", "examples")


def test_no_class_name_is_defined_twice() -> None:
    defined: defaultdict[str, list[str]] = defaultdict(list)
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    defined[node.name].append(path.relative_to(ROOT).as_posix())
    assert defined, "no class is defined in the product"
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}

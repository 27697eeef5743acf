"""Write what the documents say of reasons and advisories from their rows in `worker.lifecycle.reasons`, and of the rights of users
of the store from `worker.store.rights`, with the file that gives them.

python docs/generate.py            write
python docs/generate.py --check    change nothing; exit with 1 and name the files that differ
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from worker.lifecycle.reasons import ADVISORIES, REASONS, Reason
from worker.store.rights import KEYS, User, access_list

DOCS = Path(__file__).resolve().parent
WIDTH = 100


def table(document: str, name: str, rows: Iterable[tuple[str, ...]]) -> str:
    """The document with the rows below `<!-- table: NAME -->` written anew; its headings stay."""
    head, rest = document.split(f"<!-- table: {name} -->\n")
    lines = rest.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    written = [f"| {' | '.join(row)} |\n" for row in rows]
    return f"{head}<!-- table: {name} -->\n{''.join([*lines[:2], *written, *lines[end:]])}"


def enum(schema: str, field: str, names: Iterable[str]) -> str:
    """The schema with the values of an array's enum written anew."""
    values = json.dumps(list(names))
    if len(values) > WIDTH:
        lines, line = [], ""
        for name in names:
            word = f'"{name}", '
            if len(line) + len(word) > WIDTH:
                lines.append(line.rstrip())
                line = ""
            line += word
        lines.append(line.rstrip(", "))
        values = "[\n" + "\n".join(f"          {line}" for line in lines) + "\n        ]"
    return re.sub(
        rf'("{field}": {{.*?"enum": )\[.*?\]', lambda found: f"{found[1]}{values}", schema, count=1, flags=re.DOTALL
    )


def generated() -> dict[Path, str]:
    """What each file should hold."""
    contract, lifecycle, schema = (DOCS / name for name in ("contract.md", "lifecycle.md", "schemas/view.json"))
    texts = {path: path.read_text(encoding="utf-8") for path in (contract, lifecycle, schema)}
    tables: tuple[tuple[str, dict[str, Reason]], ...] = (("reasons", REASONS), ("advisories", ADVISORIES))
    for name, rows in tables:
        said = [(f"`{row.name}`", row.raised_by, row.cleared_by, row.proof.value) for row in rows.values()]
        texts[contract] = table(texts[contract], name, said)
        texts[lifecycle] = table(texts[lifecycle], name, [(f"`{r.name}`", r.holds_while) for r in rows.values()])
        texts[schema] = enum(texts[schema], name, rows)
    security = DOCS / "security.md"
    users = [user for user in User if user is not User.HEALTH]
    rights = [(f"`{row.pattern}`", *(row.of(user) for user in users)) for row in KEYS]
    texts[security] = table(security.read_text(encoding="utf-8"), "rights", rights)
    texts[DOCS.parent / "deploy/acl/users.acl"] = access_list()
    return texts


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = [
        path for path, text in generated().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if check:
            name = path.relative_to(DOCS.parent)
            sys.stdout.write(f"{name} differs from what it is generated from; run `make generate`\n")
        else:
            path.write_text(generated()[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())

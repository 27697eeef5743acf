"""Servers on which each process has a user of its own, with the rights that it needs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from worker.store.rights import PASSWORD, User, access_list

OPEN = "user default on nopass ~* &* +@all\n"
"""Instead of the user without a name being nobody: for nodes among each other, and for tests."""


def password(user: User) -> str:
    return f"the password of {user}"


def write_users(path: Path, *, default: str = "") -> Path:
    """The file of users that compose.yaml has, with passwords; `default`: another line of the user without a name."""
    text = access_list()
    for user in User:
        text = text.replace(f"{PASSWORD}{user} ", f"#{hashlib.sha256(password(user).encode()).hexdigest()} ")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(default + text.partition("\n")[2] if default else text, encoding="ascii")
    return path


def url_as(user: User, url: str) -> str:
    """The URL of the servers, for one of the users."""
    return url.replace("redis://", f"redis://{user}:{password(user).replace(' ', '%20')}@", 1)

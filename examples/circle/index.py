"""`python -m examples.circle.index`: pypiserver, which asks the exchange whether a key is good, and for whom.

A key is good for the packages of its owner only, and of these for what its policy is for: which package is whose is the
index's business, and here a file that says {"package": "owner"}; the rest is the exchange's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pypiserver
from pypiserver.bottle_wrapper import request
from pypiserver.pkg_helpers import guess_pkgname_and_version, normalize_pkgname

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = 5.0


class UploadGuard:
    """Decides about uploads. Whatever cannot be asked is refused."""

    def __init__(self, exchange_url: str, token: str, owners: Mapping[str, str]) -> None:
        self._http = httpx.Client(
            base_url=exchange_url, timeout=TIMEOUT, trust_env=False, headers={"Authorization": f"Bearer {token}"}
        )
        self._owners = owners

    def __call__(self, _user: str, key: str) -> bool:
        """For pypiserver: may this request be done with this key?"""
        if request.forms.get(":action") != "file_upload":
            return False
        named = request.forms.get("name")
        files = [file.raw_filename for file in request.files.values()]
        packages = {normalize_pkgname(name) for name in (named, *map(_package, files)) if name}
        owners = {self._owners.get(package) for package in packages}
        if not files or len(owners) != 1 or None in owners:
            return False
        return all(self._owner_of(key, package) in owners for package in packages)

    def _owner_of(self, key: str, package: str) -> str | None:
        """Whose key it is, if it is good for this package."""
        try:
            asked = {"apiKey": key, "package": package, "action": "publish"}
            answer = self._http.post("/keys/check", json=asked)
            answered = answer.json() if answer.status_code == httpx.codes.OK else {}
        except (httpx.HTTPError, ValueError):
            return None
        return str(answered["packageOwner"]["account"]) if answered.get("good") is True else None


def _package(filename: str) -> str:
    """The package of a file, or a name that nobody has."""
    guessed = guess_pkgname_and_version(filename)
    return str(guessed[0]) if guessed else "?"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.circle.index", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--packages", type=Path, required=True, help="where they are kept")
    parser.add_argument("--owners", type=Path, required=True, help="whose each package is")
    parser.add_argument("--exchange", required=True, help="URL of the exchange")
    arguments = parser.parse_args()
    guard = UploadGuard(
        arguments.exchange, os.environ["INDEX_TOKEN"], json.loads(arguments.owners.read_text(encoding="utf-8"))
    )
    app = pypiserver.app(roots=[arguments.packages], authenticate=["update"], auther=guard, disable_fallback=True)
    with make_server("127.0.0.1", arguments.port, app, handler_class=Quiet) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())

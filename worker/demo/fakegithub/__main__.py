"""`python -m worker.demo.fakegithub`: the fake as a process of its own, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from worker.demo.fakegithub.server import APP_ID, FakeGitHub


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.demo.fakegithub", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--app-id", type=int, default=APP_ID)
    parser.add_argument("--base-path", default="", help="such as /api/v3")
    parser.add_argument("--key-file", type=Path, required=True, help="where the App's private key is written")
    parser.add_argument("--ready-file", type=Path, help="where the line that tells the address is written, too")
    options = parser.parse_args()
    ended = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: ended.set())
    with FakeGitHub(options.app_id, base_path=options.base_path, port=options.port, admin=True) as fake:
        _write(options.key_file, fake.private_key_pem)
        line = json.dumps({"url": fake.url, "app_id": fake.app_id, "key_file": str(options.key_file)})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        if options.ready_file is not None:
            _write(options.ready_file, line)
        ended.wait()


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for nobody else's eyes."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600, exist_ok=False)
    part.write_text(text, encoding="ascii")
    part.replace(path)


if __name__ == "__main__":
    main()

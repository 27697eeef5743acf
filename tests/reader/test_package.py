"""`tenure-reader` as others install it: by itself, and beside `tenure`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import NamedTuple

import pytest

from tenure_reader.conformance.__main__ import CASES
from tests.docs.markdown import ROOT, blocks, text
from tests.engines import Cluster
from tests.reader.published import Published
from tests.reader.world import CLAIMS, World
from worker.local.valkey import EmbeddedStore

READER = tomllib.loads(text("reader/pyproject.toml"))["project"]
TENURE = tomllib.loads(text("pyproject.toml"))["project"]
(REDIS,) = READER["dependencies"]
FLOOR = re.fullmatch(r"redis>=([\d.]+),<\d+", REDIS)

FOLLOWS = """
import json, os, sys
from tenure_reader import Mirror
with Mirror(os.environ["TENURE_REDIS_URL"]) as mirror:
    assert mirror.wait(20), mirror.status()
    print(mirror.evaluate(json.load(sys.stdin)).grant["policy_id"])
"""


class Environment(NamedTuple):
    """A virtual environment with the reader in it, and a folder to run programs in."""

    python: Path
    folder: Path

    def run(self, *arguments: str, url: str = "", given: str = "") -> str:
        ambient = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [self.python, *arguments], cwd=self.folder, env={**ambient, "TENURE_REDIS_URL": url}, input=given,
            capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["newest", "floor"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What `pip install ./reader` makes of an empty environment, with the newest redis that it takes or the oldest."""
    folder = tmp_path_factory.mktemp("service")
    # A module of the service's own, which is none of ours.
    (folder / "worker.py").write_text("raise SystemExit('the service was imported')\n", encoding="utf-8")
    # pip is not put into each: the one that runs here installs into them.
    venv.create(folder / "venv", with_pip=False)
    made = Environment(folder / "venv" / "bin" / "python", folder)
    assert FLOOR is not None
    oldest = [f"redis=={FLOOR[1]}"] if request.param == "floor" else []
    pip("--python", str(made.python), "install", "--quiet", str(ROOT / "reader"), *oldest)
    return made


def test_five_lines_of_the_readme_give_a_decision(environment: Environment, world: World, store: EmbeddedStore) -> None:
    world.register()
    example = next(block.code for block in blocks(text("reader/README.md")) if block.language == "python")
    assert sum(bool(line) for line in example.splitlines()) == 5
    for claims, prints in (
        (CLAIMS, "pol-1"),
        ({**CLAIMS, "repository_id": "8"}, "no policy lets this repository publish"),
    ):
        assert environment.run("-c", example, url=store.url, given=json.dumps(claims)) == f"{prints}\n"


def test_it_decides_every_case_of_the_conformance_kit(environment: Environment) -> None:
    cases = len(json.loads(CASES.read_text(encoding="utf-8"))["cases"])
    assert environment.run("-m", "tenure_reader.conformance") == f"{cases} of {cases} cases passed\n"


def test_its_mirror_follows_a_store(environment: Environment, world: World, store: EmbeddedStore) -> None:
    world.register()
    assert environment.run("-c", FOLLOWS, url=store.url, given=json.dumps(CLAIMS)) == "pol-1\n"


def test_it_asks_and_follows_a_cluster(environment: Environment, cluster: Cluster, published: Published) -> None:
    published.publish("pol-1", 1)
    example = next(block.code for block in blocks(text("reader/README.md")) if block.language == "python")
    for program in (example, FOLLOWS):
        assert environment.run("-c", program, url=cluster.url, given=json.dumps(CLAIMS)) == "pol-1\n"


def test_it_carries_its_types(environment: Environment) -> None:
    look = "import importlib.resources as r; print(r.files('tenure_reader').joinpath('py.typed').is_file())"
    assert environment.run("-c", look) == "True\n"


def test_tenure_needs_the_reader_of_its_own_release() -> None:
    assert f"tenure-reader=={READER['version']}" in TENURE["dependencies"]
    assert READER["version"] == TENURE["version"]


def test_both_wheels_are_installed_together_and_no_index_is_asked_for_either(tmp_path: Path) -> None:
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    pip(*build, str(ROOT / "reader"), str(ROOT))
    wheels = sorted(map(str, tmp_path.glob("*.whl")))
    planned = json.loads(pip("install", "--quiet", "--dry-run", "--no-index", "--report", "-", *wheels))["install"]
    assert {item["metadata"]["name"]: item["download_info"]["url"] for item in planned} == {
        name: f"file://{wheel}" for name, wheel in zip(("tenure", "tenure-reader"), wheels, strict=True)
    }


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile", ".ci/run"])
def test_what_is_installed_has_a_hash_or_lies_here(name: str) -> None:
    for line in text(name).replace("\\\n", " ").splitlines():
        if "pip install" in line:
            assert "--require-hashes" in line or re.search(r"--no-deps .* \./reader\b.* \.(?!/)", line), line

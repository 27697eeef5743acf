"""What the Dockerfile promises, read from the file."""

from __future__ import annotations

import re

from tests.deploy.compose import ROOT, mapping, read

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
BUILD, FINAL = (stage.splitlines() for stage in re.split(r"(?m)^(?=FROM )", TEXT)[1:])


def arguments(stage: list[str], instruction: str) -> list[str]:
    return [line.partition(" ")[2] for line in stage if line.startswith(f"{instruction} ")]


def test_both_stages_stand_on_the_same_tagged_image() -> None:
    build, final = arguments(BUILD, "FROM")[0].removesuffix(" AS build"), arguments(FINAL, "FROM")[0]
    assert build == final
    assert build.partition(":")[2] not in {"", "latest"}


def test_it_installs_the_pinned_wheels_and_the_code_and_nothing_else() -> None:
    installs = [line for line in arguments(BUILD, "RUN") if "pip install" in line]
    assert len(installs) == 2
    assert {"--require-hashes", "--only-binary"} <= set(installs[0].split())
    assert {"--no-deps", "--no-build-isolation"} <= set(installs[1].split())
    assert not re.search(r"://|index-url|find-links|apt-get", TEXT)


def test_the_final_stage_only_copies() -> None:
    commands = " ".join(arguments(FINAL, "RUN"))
    assert "install" not in commands
    assert arguments(FINAL, "COPY") == ["--from=build /opt/tenure /opt/tenure"]


def test_it_runs_as_the_user_that_compose_names() -> None:
    user = arguments(FINAL, "USER")[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    services = mapping(read()["services"])
    assert {mapping(services[name])["user"] for name in ("web", "worker", "scheduler")} == {user}


def test_only_what_is_built_from_reaches_the_builder() -> None:
    """Given an ignore file that begins with everything, it lets in the names that are copied, and no more."""
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {name for line in arguments(BUILD, "COPY") for name in line.split()[:-1]}
    assert let_in == copied

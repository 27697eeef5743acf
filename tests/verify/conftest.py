"""What tests of asking GitHub share: a small GitHub, a store, and everything between, with a clock moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import settings_of
from tests.support import NAME, OWNER, REPOSITORY, USER
from tests.verify.scene import INSTALLATION, Scene
from worker.app import build
from worker.demo.fakegithub import FakeGitHub
from worker.local.valkey import EmbeddedStore
from worker.settings import load
from worker.verify.build import build_verification


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    """A GitHub in which maria is a member of the organisation octo, which has the private repository widgets."""
    with FakeGitHub() as github:
        world = github.world
        world.add_org("octo", account_id=OWNER)
        world.add_user("maria", account_id=USER)
        world.add_member(OWNER, USER)
        world.add_repository(OWNER, NAME, repository_id=REPOSITORY)
        world.install(OWNER, installation_id=INSTALLATION)
        yield github


@pytest.fixture
def credentials(fake: FakeGitHub, tmp_path: Path) -> dict[str, str]:
    """The settings that let Tenure ask it."""
    key = tmp_path / "app.pem"
    key.write_text(fake.private_key_pem)
    return {
        "TENURE_GITHUB_APP_ID": str(fake.app_id),
        "TENURE_GITHUB_PRIVATE_KEY_FILE": str(key),
        "TENURE_GITHUB_API_URL": fake.url,
    }


@pytest.fixture
def scene(fake: FakeGitHub, store: EmbeddedStore, credentials: dict[str, str]) -> Iterator[Scene]:
    """Everything that asks, in this process."""
    app = build(load({**settings_of(store), **credentials}))
    made = Scene(app, fake)
    made.asking = build_verification(app, made.now)
    yield made
    made.asking.close()
    app.broker.close()
    app.client.redis.close()

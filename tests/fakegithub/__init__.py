"""GitHub, as far as Tenure asks it and hears from it, on loopback."""

from __future__ import annotations

from tests.fakegithub.api import Call
from tests.fakegithub.faults import Fault
from tests.fakegithub.server import APP_ID, FakeGitHub
from tests.fakegithub.world import World

__all__ = ["APP_ID", "Call", "FakeGitHub", "Fault", "World"]

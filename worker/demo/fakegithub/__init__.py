"""GitHub, as far as Tenure asks it and hears from it, on loopback."""

from __future__ import annotations

from worker.demo.fakegithub.api import RequestRecord
from worker.demo.fakegithub.faults import Fault
from worker.demo.fakegithub.server import APP_ID, FakeGitHub
from worker.demo.fakegithub.world import World

__all__ = ["APP_ID", "FakeGitHub", "Fault", "RequestRecord", "World"]

"""What tests of more than one room share: real servers, the app on top of them, and real processes.

Tests that ask for `server_program` run twice: on the embedded Valkey and on the system's Redis.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from xdist.scheduler import LoadScopeScheduling

from tests.engines import CHOSEN, STORES, configuration, on_each, store_in, waiting_for_replicas
from tests.forking import PROGRAM, Forked, fork_server
from worker.app import App, build
from worker.local.valkey import EmbeddedStore, find_server, free_port
from worker.settings import load
from worker.store.client import Client, connect

# The same examples in every run, here and in CI; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("explore", deadline=None, max_examples=3000)
# Of a mutant nobody wants to see the smallest example that finds it.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, max_examples=30, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

ROOT = Path(__file__).resolve().parent.parent
CHOSEN_STORES = frozenset({"store", "server", "running"})
"""Fixtures that are a store of the kind that `--engine` chose."""
LEFT_OUT = "left out:"
"""How the reason of a skip begins that is allowed everywhere."""
START_SECONDS = 40.0
END_SECONDS = 45.0

MEASURED = "measured"

_skipped: list[str] = []
_left_out: Counter[str] = Counter()
_measured: list[str] = []


# What is told at the end: skips where everything must run, which are failures, and figures


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if reason.startswith(LEFT_OUT):
            _left_out[reason.removeprefix(LEFT_OUT).strip()] += 1
        else:
            _skipped.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)
    if report.when == "teardown":
        _measured.extend(str(value) for name, value in report.user_properties if name == MEASURED)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped and os.environ.get("TENURE_MUST_RUN") == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped and os.environ.get("TENURE_MUST_RUN") == "1":
        terminalreporter.section("skipped, but TENURE_MUST_RUN=1", red=True)
        terminalreporter.write_line("\n".join(_skipped))
    if _left_out:
        terminalreporter.section(f"left out: {_left_out.total()}")
        terminalreporter.write_line("\n".join(f"{count}: {why}" for why, count in _left_out.most_common()))
    if _measured:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(_measured))


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Notes a figure, to be read at the end of the run."""
    return lambda figure: record_property(MEASURED, figure)


# Which tests run in the same process, where there are several

TOGETHER = frozenset({
    "tests/console/test_browser.py",
    "tests/console/test_search.py",
    "tests/reader/test_package.py",
})  # fmt: skip
"""Modules in which tests share what takes seconds to make: no second process makes it, too."""


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Any test to any process that is free, but for those modules, which come first."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return Scheduling(config, log)


# Files


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What processes keep for their user goes with the tests, and not into the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


# Servers


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_program" in metafunc.fixturenames:
        programs = ["embedded"] if CHOSEN in os.environ else ["embedded", "redis-server"]
        metafunc.parametrize("server_program", programs, indirect=True)


@pytest.fixture
def server_program(request: pytest.FixtureRequest) -> str:
    """The program of a server: the embedded Valkey, then the system's Redis."""
    if request.param == "embedded":
        return find_server()
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on the PATH: install it, and this suite runs on it too")
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine", choices=list(STORES), help="what keeps the store: one server, unless this says otherwise"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--engine"):
        os.environ[CHOSEN] = config.getoption("--engine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On another engine than one server, what has no store is not run again, and what is about the one server is left out."""
    if CHOSEN not in os.environ:
        return
    on_it = [item for item in items if not CHOSEN_STORES.isdisjoint(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=[item for item in items if item not in on_it])
    items[:] = on_it
    for item in items:
        for mark in item.iter_markers("one_server"):
            (why,) = mark.args
            item.add_marker(pytest.mark.skip(reason=f"{LEFT_OUT} {why}"))


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A store on several servers, which is emptied for each test."""
    with store_in(tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedStore]:
    """An empty store of this test's own; of the `server_program`, for tests that ask for that."""
    if CHOSEN in os.environ:
        shared: EmbeddedStore = request.getfixturevalue("shared_store")
        with contextlib.closing(Client(connect(shared.url))) as client:
            on_each(client, "FLUSHALL")
            before = configuration(client)
            shared.directory = tmp_path / "store"
            yield shared
            assert configuration(client) == before, "the next test begins with what this one set"
        return
    program = request.getfixturevalue("server_program") if "server_program" in request.fixturenames else None
    server = EmbeddedStore(tmp_path / "store", free_port(), program)
    try:
        server.start()
        yield server
    finally:
        # Nobody needs what is in it: a graceful end would take a tenth of a second.
        if server.running:
            server.kill()


def settings_of(store: EmbeddedStore) -> dict[str, str]:
    """The environment of everything that runs on a store: nothing of it is taken from our own."""
    return {
        "TENURE_REDIS_URL": store.url,
        "TENURE_WITNESS_DIR": str(store.directory.parent / "witness"),
        "TENURE_WEBHOOK_SECRETS": "webhook-secret",
        "TENURE_REGISTRY_TOKENS": "registry-token",
        "TENURE_OPERATOR_TOKENS": "operator-token",
        "TENURE_LOG_FORMAT": "json",
        **waiting_for_replicas(store),
    }


@pytest.fixture
def app(store: EmbeddedStore) -> Iterator[App]:
    """The parts of one process, connected to the store."""
    built = build(load(settings_of(store)))
    yield built
    built.broker.close()
    built.client.redis.close()


# Processes


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> float:
    """Wait for another process's doing; returns how long it took, in seconds.

    Raises:
        AssertionError: it did not happen in time.
    """
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - begun


class Process:
    """One process that a test started, with what it wrote in `log`."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], directory: Path, log: Path) -> None:
        ambient = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
        environment = {**ambient, "PYTHONPATH": str(ROOT), **environment}
        self._popen: Forked | subprocess.Popen[bytes]
        with log.open("wb") as file:
            # What is loaded into a program before it begins is not in a copy of another.
            if arguments[:2] == PROGRAM and "LD_PRELOAD" not in environment:
                with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - no path of anything
                    self._popen = fork_server().begin(
                        arguments[2:],
                        environment=environment,
                        directory=directory,
                        streams=(nothing.fileno(), file.fileno(), file.fileno()),
                        new_session=True,
                    )
            else:
                self._popen = subprocess.Popen(
                    [sys.executable, *arguments],
                    env=environment,
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        self.pid = self._popen.pid
        self.name = f"{socket.gethostname()}:{self.pid}"
        """What it is called in the store."""
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def send_to_group(self, number: signal.Signals) -> None:
        """To it and its children, as a terminal's Ctrl-C or a container's end does."""
        os.killpg(self.pid, number)

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Wait for its end; returns the exit code."""
        return self._popen.wait(seconds)

    def kill(self) -> None:
        """End it as a crash would."""
        self._popen.kill()
        self._popen.wait()

    def end(self) -> int:
        """Ask it to end; returns the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.send(signal.SIGCONT)
            self._popen.terminate()
        return self.wait()


class Processes:
    """Starts real processes of Tenure on a store, and ends them when the test is over."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        self._started: list[Process] = []
        self._roles: dict[str, Process] = {}

    def start(self, *arguments: str, **environment: str) -> Process:
        """`python ARGUMENTS`, with these settings (`TENURE_…`) beside the usual ones."""
        log = self._directory / f"process-{len(self._started)}.log"
        process = Process(list(arguments), {**self._environment, **environment}, self._directory, log)
        self._started.append(process)
        return process

    def ready(self, app: App, role: str, process: Process) -> Process:
        """Wait until the process has shown itself as alive in this role."""

        def seen() -> bool:
            assert process.running, f"{role} ended:\n{process.log}"
            return process.name in app.status.alive(role)

        wait_until(seen, f"{role} ready", START_SECONDS)
        self._roles[role] = process
        return process

    def of_role(self, role: str) -> Process:
        """The last process that became ready in a role."""
        return self._roles[role]

    def worker(self, app: App, **environment: str) -> Process:
        return self.ready(app, "worker", self.start("-m", "worker", "worker", "--single", **environment))

    def scheduler(self, app: App, **environment: str) -> Process:
        return self.ready(app, "scheduler", self.start("-m", "worker", "scheduler", **environment))

    def end_all_but(self, *kept: Process) -> None:
        for process in self._started:
            if process not in kept:
                process.end()

    def kill(self) -> None:
        """End everything, without ceremony; children of a supervisor end with it."""
        for process in self._started:
            process.kill()


@pytest.fixture
def processes(store: EmbeddedStore, tmp_path: Path) -> Iterator[Processes]:
    """Starts processes on this test's store."""
    started = Processes(settings_of(store), tmp_path)
    yield started
    started.kill()

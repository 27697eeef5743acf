"""PostgreSQL, where it is installed: a server of the benchmark's own in a temporary directory, asked by pgbench."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.payloads import FIRST_OWNER, FIRST_REPOSITORY, PER_OWNER

ACCOUNT = "postgres"
"""PostgreSQL does not run as root; then it is run as this user."""
PATIENCE_SECONDS = 120.0

SCHEMA = f"""
CREATE TABLE policies AS SELECT
  'bench-' || lpad(n::text, 7, '0') AS policy_id, ({FIRST_OWNER} + n / {PER_OWNER})::bigint AS repository_owner_id,
  ({FIRST_REPOSITORY} + n)::bigint AS repository_id, 'widgets-' || n AS repository,
  'release.yml'::text AS workflow_file, NULL::text AS environment, true AS usable, NULL::timestamptz AS usable_until
FROM generate_series(0, %d) AS n;
CREATE UNIQUE INDEX ON policies (policy_id);
CREATE INDEX ON policies (repository_owner_id, repository_id);
CREATE INDEX ON policies (repository_owner_id, repository);
VACUUM ANALYZE policies;
"""
QUERY = f"""\\set n random(0, %d)
\\set owner {FIRST_OWNER} + :n / {PER_OWNER}
\\set repository {FIRST_REPOSITORY} + :n
SELECT policy_id FROM policies
WHERE repository_owner_id = :owner::bigint
  AND (repository_id = :repository::bigint OR (repository_id IS NULL AND repository = 'widgets-' || :n::text))
  AND workflow_file = 'release.yml' AND (environment IS NULL OR environment = 'none')
  AND usable AND (usable_until IS NULL OR usable_until > now())
ORDER BY environment IS NULL LIMIT 1;
"""


class Unavailable(Exception):  # noqa: N818 - nothing went wrong
    """It is not installed, or may not be run here; the message says which."""


def postgres_latencies(policies: int, seconds: float) -> tuple[str, list[float]]:
    """Version, and how long each query took, in µs.

    Raises:
        Unavailable: there is no PostgreSQL to be run.
    """
    with contextlib.ExitStack() as exits:
        server = exits.enter_context(_server(_programs()))
        server.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", "SELECT 1")
        for statement in (SCHEMA % (policies - 1)).split(";"):
            if statement.strip():
                server.run("psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement)
        script = server.directory / "decide.sql"
        script.write_text(QUERY % (policies - 1), encoding="ascii")
        script.chmod(0o644)
        options = ("--no-vacuum", "--protocol=prepared", "--client=1", "--jobs=1", "--file", str(script))
        server.run("pgbench", *options, "--time=1")
        server.run("pgbench", *options, f"--time={max(1, round(seconds))}", "--log")
        logs = sorted(server.directory.glob("pgbench_log.*"))
        taken = [float(line.split()[2]) for log in logs for line in log.read_text(encoding="ascii").splitlines()]
        version = server.run("postgres", "--version").split()[2]
    return version, taken


class _Server:
    def __init__(self, programs: Path, directory: Path, user: str | None) -> None:
        self.directory = directory
        self._programs = programs
        self._user = user

    def run(self, program: str, *arguments: str) -> str:
        """
        Raises:
            Unavailable: it failed.
        """
        done = subprocess.run(
            [str(self._programs / program), *arguments], user=self._user, cwd=self.directory,
            env={"PGHOST": str(self.directory), "PGUSER": ACCOUNT, "PGDATABASE": "postgres", "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Unavailable(f"{program} ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        return done.stdout


def _programs() -> Path:
    on_path = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    places = [*on_path, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    for place in places:
        if all((place / name).exists() for name in ("initdb", "pg_ctl", "pgbench", "psql", "postgres")):
            return place
    raise Unavailable("it is not installed, with pgbench")


@contextlib.contextmanager
def _server(programs: Path) -> Iterator[_Server]:
    user = None
    with tempfile.TemporaryDirectory(prefix="tenure-bench-pg-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            try:
                account = pwd.getpwnam(ACCOUNT)
            except KeyError:
                raise Unavailable(f"it does not run as root, and there is no user {ACCOUNT}") from None
            os.chown(name, account.pw_uid, account.pw_gid)
            user = ACCOUNT
        server = _Server(programs, Path(name), user)
        data = str(server.directory / "data")
        server.run("initdb", "--pgdata", data, "--auth=trust", "--username", ACCOUNT, "--no-sync")
        # On a socket in the directory only: no port, and nobody else finds it.
        where = f"-c listen_addresses= -c unix_socket_directories={name}"
        log = str(server.directory / "log")
        server.run("pg_ctl", "start", "--wait", "--silent", "--pgdata", data, "--log", log, "--options", where)
        try:
            yield server
        finally:
            server.run("pg_ctl", "stop", "--wait", "--silent", "--mode=fast", "--pgdata", data)

"""What the doctor asks GitHub itself: whether the App is what Tenure needs, and heard where it is needed.

https://docs.github.com/en/rest/apps/apps and https://docs.github.com/en/rest/apps/webhooks
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from handlers.table import TAKING, WEBHOOKS
from worker.app import App
from worker.doctor.finding import OK, PROBLEM, WARNING, Finding
from worker.github.answers import AppAnswer, GitHubError, GoneError, LaterError, LimitedError
from worker.github.budget import Budgets
from worker.github.client import GitHub
from worker.github.wire import Timeouts
from worker.settings.rotation import Rotation
from worker.store.client import StoreError

SECONDS = 7.0
"""For all questions together."""
PATIENCE = 1.0
"""And so much more, in case the system's resolver of names does not answer: nothing else can keep a question longer."""
TIMEOUTS = Timeouts(connect=4.0, read=5.0, write=5.0, pool=5.0, total=6.0)
DOOR = "/webhooks/github"
UNASKED = frozenset({"installation", "installation_repositories", "github_app_authorization", "ping"})
"""Events that GitHub sends to every App, and that none subscribes to."""
PERMISSIONS = {
    "metadata": "repositories cannot be asked about",
    "members": "memberships are not verified, and a hint about one can never be taken back",
    "contents": "no `push` is heard and no file is read: nothing is known of workflows",
    "actions": "no `workflow_run` is heard and no environment is looked at",
    "organization_administration": "no `org_block` is heard: whoever is blocked is found by sweeps only",
}
"""Permission → what is missing without it."""
NEEDED = frozenset({"metadata", "members"})
"""Without these, what Tenure says is wrong, and not only late."""
OWNERS = 10_000
"""Owners that are compared with the installations, those verified longest ago."""
NAMED = 10
PORTS = {"https": 443, "http": 80}

Findings = list[Finding]


def ask_app(app: App) -> Findings:
    """What GitHub says of the App, within ten seconds; nothing without credentials. The first finding is `github`'s if the
    App cannot be asked for.

    Raises:
        StoreError: the store cannot be reached.
    """
    if not app.settings.asks_github:
        return []
    findings: Findings = []
    failed: list[StoreError] = []

    def ask() -> None:
        try:
            findings.extend(_diagnosed(app, time.monotonic() + SECONDS))
        except StoreError as error:
            failed.append(error)
        except ValueError as error:
            detail = f"the App's private key {error}"
            findings.append(Finding("github", PROBLEM, detail, "correct TENURE_GITHUB_PRIVATE_KEY_FILE"))

    # Not joined for longer than it may take, whatever holds it up.
    asking = threading.Thread(target=ask, name="doctor-github", daemon=True)
    asking.start()
    asking.join(SECONDS + PATIENCE)
    for error in failed:
        raise error
    if asking.is_alive():
        detail = f"{app.settings.github_api_url} does not answer in {SECONDS:.0f} s"
        return [Finding("github", PROBLEM, detail, "check TENURE_GITHUB_API_URL, and this machine's network and names")]
    return findings


def _diagnosed(app: App, until: float) -> Findings:
    rotation = Rotation(app.settings, time.monotonic)

    def private_key() -> str:
        key = rotation.settings().github_private_key
        return key.get_secret_value() if key is not None else ""

    def in_time() -> float:
        if time.monotonic() >= until:
            raise LaterError(f"not asked: the questions before took {SECONDS:.0f} s")
        return until

    github = GitHub(
        api_url=app.settings.github_api_url,
        app_id=app.settings.github_app_id or "",
        private_key=private_key,
        clock=time.time,
        budgets=Budgets(),
        until=in_time,
        timeouts=TIMEOUTS,
    )
    try:
        try:
            registration = github.app()
        except GitHubError as error:
            advice = "correct it, or wait until GitHub answers; until then no policy is verified"
            return [_unasked("github", error, advice)]
        app_id = app.settings.github_app_id or ""
        if app_id.isdigit() and int(app_id) != registration.id:
            detail = f"{app.settings.github_api_url} answers as the App {registration.id}, and not as {app_id}"
            return [Finding("github", PROBLEM, detail, "check TENURE_GITHUB_API_URL: something else answers there")]
        if registration.deliveries_page is not None:
            app.directory.note_deliveries_page(registration.deliveries_page)
        return [*_app(registration), _hook(app, github), _owners(app, github)]
    finally:
        github.close()


def _unasked(check: str, error: GitHubError, advice: str) -> Finding:
    return Finding(check, WARNING if isinstance(error, LimitedError) else PROBLEM, str(error), advice)


def _app(registration: AppAnswer) -> Iterator[Finding]:
    """Whether the App may ask, and is told of, everything."""
    missing = [name for name in PERMISSIONS if name not in registration.permissions]
    deaf = sorted(subscribed() - registration.events)
    if not missing and not deaf:
        yield Finding("github app", OK, f"{registration.name}: has every permission and event", "")
        return
    problems = [f"permission {name} is missing: {PERMISSIONS[name]}" for name in missing]
    if deaf:
        problems.append(f"events it is not subscribed to: {', '.join(deaf)}")
    taking = {name.partition(".")[0] for name in TAKING}
    level = PROBLEM if not NEEDED.isdisjoint(missing) or not taking.isdisjoint(deaf) else WARNING
    advice = "change it in the App's settings, and have its owners accept new permissions: README.md, Wire a GitHub App"
    yield Finding("github app", level, f"{registration.name}: {'; '.join(problems)}", advice)


def subscribed() -> frozenset[str]:
    """The events that the App has to be subscribed to."""
    return frozenset(name.partition(".")[0] for name in WEBHOOKS) - UNASKED


def _hook(app: App, github: GitHub) -> Finding:
    """Whether GitHub sends its webhooks here."""
    advice = "correct it in the App's settings, under Webhook"
    try:
        hook = github.hook()
    except GoneError:
        return Finding("github webhook", PROBLEM, "the App has no webhook: nothing is heard", advice)
    except GitHubError as error:
        return _unasked("github webhook", error, "look at the App's settings, under Webhook")
    if not hook.url:
        return Finding("github webhook", PROBLEM, "the App's webhook has no URL: nothing is heard", advice)
    public = app.settings.public_url
    expected, place = f"{public or 'https://your-host'}{DOOR}", _endpoint(hook.url)
    if place is None or place.path != DOOR or (public is not None and place != _endpoint(expected)):
        address = "an address that cannot be read" if place is None else str(place)
        return Finding("github webhook", PROBLEM, f"webhooks go to {address}, and not to {expected}", advice)
    if hook.content_type != "json":
        address = f"webhooks come as {hook.content_type}, which Tenure refuses"
        return Finding("github webhook", PROBLEM, address, f"{advice}: application/json")
    if hook.insecure or place.scheme != "https":
        address = "GitHub does not verify the certificate" if hook.insecure else "webhooks come without TLS"
        return Finding("github webhook", WARNING, f"{place}: {address}; whoever is in between reads them", advice)
    if public is None:
        address = f"webhooks go to {place}; nobody can tell whether that is here"
        return Finding("github webhook", WARNING, address, "set TENURE_PUBLIC_URL to where GitHub reaches Tenure")
    return Finding("github webhook", OK, f"webhooks go to {place}", "")


class _Endpoint(NamedTuple):
    """Where a URL leads, without what may be secret in it: a user, a query."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{'' if self.port == PORTS.get(self.scheme) else f':{self.port}'}{self.path}"


def _endpoint(url: str) -> _Endpoint | None:
    """None: not a URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
        host = parts.hostname
    except ValueError:
        return None
    return None if host is None or port is None else _Endpoint(parts.scheme, host, port, parts.path.rstrip("/"))


def _owners(app: App, github: GitHub) -> Finding:
    """Which owners of policies have not installed the App."""
    try:
        seeing = {installation.account_id for installation in github.installations() if not installation.suspended}
    except GitHubError as error:
        if not app.directory.read_at():
            return _unasked("github owners", error, "see what the process logs that asks GitHub")
        seeing = {installation.account_id for installation in app.directory.all() if not installation.suspended}
    owners = [owner_id for owner_id, _ in app.checks.stalest(OWNERS)]
    blind = sorted(owner_id for owner_id in owners if owner_id not in seeing)
    if not blind:
        return Finding("github owners", OK, f"the App is installed for all {len(owners)} owners that have policies", "")
    named = ", ".join(map(str, blind[:NAMED])) + (f" and {len(blind) - NAMED} more" if len(blind) > NAMED else "")
    detail = f"{len(blind)} owners have policies, and no installation that is not suspended: {named}"
    advice = "have them install the App; nothing is heard of these, and their policies lapse"
    return Finding("github owners", WARNING, detail, advice)

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
from worker.doctor.github import named
from worker.github.answers import AppAnswer, GitHubError, GoneError, LaterError, LimitedError
from worker.github.budget import Budgets
from worker.github.client import GitHub
from worker.github.wire import Timeouts
from worker.lifecycle.owners import DEFAULT, id_of
from worker.settings.issuers import webhooks_path
from worker.settings.rotation import Rotation
from worker.store.client import StoreError

SECONDS = 7.0
"""For all questions together."""
PATIENCE = 1.0
"""And so much more, in case the system's resolver of names does not answer: nothing else can keep a question longer."""
TIMEOUTS = Timeouts(connect=4.0, read=5.0, write=5.0, pool=5.0, total=6.0)
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
    asked = [issuer for issuer in app.settings.instances if issuer in app.settings.asked]
    findings: dict[str, Findings] = {issuer: [] for issuer in asked}
    failed: list[StoreError] = []

    def ask(issuer: str) -> None:
        try:
            findings[issuer] += _diagnosed(app, issuer, time.monotonic() + SECONDS)
        except StoreError as error:
            failed.append(error)
        except ValueError as error:
            detail = f"the App's private key {error}"
            correct = _set(issuer, "TENURE_GITHUB_PRIVATE_KEY_FILE", "private_key")
            findings[issuer].append(Finding(named("github", issuer), PROBLEM, detail, f"correct {correct}"))

    # Not joined for longer than it may take, whatever holds it up; each instance is asked beside the others.
    threads = {
        issuer: threading.Thread(target=ask, args=(issuer,), name=f"doctor-github-{issuer}", daemon=True)
        for issuer in asked
    }
    until = time.monotonic() + SECONDS + PATIENCE
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, until - time.monotonic()))
    for error in failed:
        raise error
    found: Findings = []
    for issuer, thread in threads.items():
        if thread.is_alive():
            detail = f"{app.settings.instances[issuer].api_url} does not answer in {SECONDS:.0f} s"
            check = f"check {_set(issuer, 'TENURE_GITHUB_API_URL', 'api_url')}, and this machine's network and names"
            found.append(Finding(named("github", issuer), PROBLEM, detail, check))
        else:
            found += findings[issuer]
    return found


def _set(issuer: str, setting: str, member: str) -> str:
    """Where something of an instance is set."""
    return setting if issuer == DEFAULT else f"{member} of {issuer} in TENURE_ISSUERS"


def _diagnosed(app: App, issuer: str, until: float) -> Findings:
    rotation, instance = Rotation(app.settings, time.monotonic), app.settings.instances[issuer]
    name = named("github", issuer)

    def private_key() -> str:
        key = rotation.settings().instances[issuer].private_key
        return key.get_secret_value() if key is not None else ""

    def in_time() -> float:
        if time.monotonic() >= until:
            raise LaterError(f"not asked: the questions before took {SECONDS:.0f} s")
        return until

    app_id = instance.app_id or ""
    github = GitHub(
        api_url=instance.api_url,
        app_id=app_id,
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
            return [_unasked(name, error, advice)]
        if app_id.isdigit() and int(app_id) != registration.id:
            detail = f"{instance.api_url} answers as the App {registration.id}, and not as {app_id}"
            where = _set(issuer, "TENURE_GITHUB_API_URL", "api_url")
            return [Finding(name, PROBLEM, detail, f"check {where}: something else answers there")]
        if registration.deliveries_page is not None:
            app.directory.at(issuer).note_deliveries_page(registration.deliveries_page)
        told = [*_app(registration), _hook(app, issuer, github), _owners(app, issuer, github)]
        return [finding._replace(check=finding.check.replace("github", name, 1)) for finding in told]
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


def _hook(app: App, issuer: str, github: GitHub) -> Finding:
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
    public, door = app.settings.public_url, webhooks_path(issuer)
    expected, place = f"{public or 'https://your-host'}{door}", _endpoint(hook.url)
    if place is None or place.path != door or (public is not None and place != _endpoint(expected)):
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


def _owners(app: App, issuer: str, github: GitHub) -> Finding:
    """Which owners of policies have not installed the App."""
    directory = app.directory.at(issuer)
    try:
        seeing = {installation.account_id for installation in github.installations() if not installation.suspended}
    except GitHubError as error:
        if not directory.read_at():
            return _unasked("github owners", error, "see what the process logs that asks GitHub")
        seeing = {installation.account_id for installation in directory.all() if not installation.suspended}
    owners = [owner for owner, _ in app.checks.at(issuer).stalest(OWNERS)]
    blind = sorted((owner for owner in owners if id_of(owner) not in seeing), key=id_of)
    if not blind:
        return Finding("github owners", OK, f"the App is installed for all {len(owners)} owners that have policies", "")
    named = ", ".join(map(str, blind[:NAMED])) + (f" and {len(blind) - NAMED} more" if len(blind) > NAMED else "")
    detail = f"{len(blind)} owners have policies, and no installation that is not suspended: {named}"
    advice = "have them install the App; nothing is heard of these, and their policies lapse"
    return Finding("github owners", WARNING, detail, advice)

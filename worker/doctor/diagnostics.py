"""What the doctor looks at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import cast

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from schedules.table import entries
from tenure_reader.matching import FIELDS
from worker.app import App
from worker.dead_letters import find, interrupted
from worker.doctor.finding import OK, PROBLEM, SLOW, STUCK, WARNING, Finding, level_of
from worker.doctor.github import OF_INSTANCES, breaker, deliveries, github
from worker.doctor.github_app import ask_app
from worker.doctor.secrets import secrets
from worker.lifecycle.criteria import PolicyCriteria
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import DEFAULT
from worker.lifecycle.views import rfc3339
from worker.logs import scrubbed
from worker.store.client import StoreError
from worker.store.clock_reset import LEAST
from worker.store.nodes import NodeReport, refusals, reports
from worker.store.placement import published
from worker.store.search import Search
from worker.store.urls import locate
from worker.words.text import span

OLDEST_SUPPORTED = (7, 0)
RECORDS = 20_000
"""Policies that one look of the doctor reads: about a second."""
CONSUMER_LATE = 900.0
"""Seconds in which a consumer of the feed should acknowledge a change."""
SKEW: Micros = 5 * SECOND
MOST_AHEAD: Micros = 300 * SECOND
"""How far ahead the time of a registry event may be."""
REACH_STORE = "start the server, or correct TENURE_REDIS_URL; until then the API answers 503"
REACH_NODE = "start it, or let a replica take over; until then what it keeps can be neither read nor written"
REACH_BROKER = "start it, or correct TENURE_BROKER_URL; until then events settle only as fast as the scheduler looks"


RESTART_SERVICES = "give all services the same TENURE_WORKFLOW_FILE_CASE, TENURE_FORBIDDEN_EVENTS, TENURE_WORKFLOW_BINDS and TENURE_ISSUERS; who starts last publishes"
SWITCHES_NAMED = 5
MOST_TOLD = 2_000
"""Characters: whoever is refused chooses what is told of it."""


RUNBOOKS = {
    "store": "store",
    "durable": "durability",
    "worker": "workers",
    "scheduler": "scheduler",
    "inbox": "queue",
    "due": "clock",
    "epoch": "restored",
    "dead letters": "dead-letters",
    "github": "github",
    "breaker": "breaker",
    "deliveries": "deliveries",
    "schedule": "jobs",
    "consumers": "consumers",
}
"""Check → the runbook of the alert that tells of the same (`worker.doctor.runbooks`)."""


def with_runbook(finding: Finding) -> Finding:
    """The finding, and where to read on."""
    first = finding.check.partition(" ")[0]
    check = first if first in ("github", "breaker", "deliveries") else finding.check
    name = RUNBOOKS.get("schedule" if check.startswith("job ") else check)
    if finding.level == OK or name is None:
        return finding
    return finding._replace(runbook=name)


def diagnose(app: App, diagnose: Callable[[App], Sequence[Finding]] = ask_app) -> Iterator[Finding]:
    """Every check of a store that was reached. `diagnose`: what GitHub says of the App.

    Raises:
        StoreError: it cannot be reached any more.
    """
    try:
        findings = diagnose(app)
        for check in CHECKS:
            if check is not github:
                yield with_runbook(check(app))
                continue
            # That the process which asks is well means nothing if it asks with what GitHub does not take.
            if not any(finding.check == "github" for finding in findings):
                yield with_runbook(check(app))
            yield from map(with_runbook, findings)
        asked = {finding.check for finding in findings}
        for issuer in app.settings.issuers.keys() - {DEFAULT}:
            said = (check(app, issuer) for check in OF_INSTANCES)
            yield from map(with_runbook, (finding for finding in said if finding.check not in asked))
        yield from map(with_runbook, schedule(app))
    except RedisError as error:
        raise StoreError(f"{type(error).__name__}: {error}") from error


def _of_nodes(app: App, check: str, of: Callable[[NodeReport], Finding]) -> Finding:
    """The worst that is to be said of a node."""
    found = reports(app.client)
    findings: list[Finding] = []
    for name, report in found.items():
        if isinstance(report, NodeReport):
            said = of(report)
            findings.append(said._replace(finding=f"{name} {said.finding}") if len(found) > 1 else said)
        else:
            findings.append(Finding(check, PROBLEM, f"{name} cannot be reached ({_brief(report)})", REACH_NODE))
    worst = max(findings, key=lambda finding: (OK, WARNING, PROBLEM).index(finding.level))
    if worst.level == OK and len(found) > 1:
        return worst._replace(finding=f"{worst.finding}; so do the other {len(found) - 1}")
    return worst


def version(app: App) -> Finding:
    return _of_nodes(app, "store", _version)


def _version(report: NodeReport) -> Finding:
    speaks = report.info.get("redis_version")
    if speaks is None:
        detail = "answers, and does not say what it is"
        return Finding("store", WARNING, detail, "make sure that it is Valkey 8 or later, or Redis 7.0 or later")
    name = f"Valkey {report.info['valkey_version']}" if "valkey_version" in report.info else f"Redis {speaks}"
    if tuple(int(part) for part in speaks.split(".")[:2] if part.isdigit()) < OLDEST_SUPPORTED:
        return Finding("store", PROBLEM, f"is {name}, which is too old", "use Valkey 8 or later, or Redis 7.0 or later")
    return Finding("store", OK, f"{name} answers", "")


def clock(app: App) -> Finding:
    """The store's clocks date everything; one that is wrong opens and closes windows at the wrong time. Only here are they
    compared with this machine's, to be told of.
    """
    skews, ahead = app.status.skews(lambda: time.time_ns() // 1000), app.status.ahead()
    name, skew = max(skews.items(), key=lambda each: abs(each[1]), default=("", 0))
    if abs(skew) > SKEW:
        which = "ahead of" if skew > 0 else "behind"
        whose, what = ("the store's clock", "everything") if len(skews) == 1 else (f"{name}'s clock", "what it keeps")
        detail = f"{whose} is {span(skew)} {which} this machine's, and dates {what}"
        return Finding("clock", WARNING, detail, f"see that both machines take their time from NTP{_hurts(skew)}")
    if ahead > SKEW:
        detail = f"the store's clock was set back by {span(ahead)}; time goes on from where it was, a sixteenth slower"
        if ahead >= LEAST:
            return Finding(
                "clock", WARNING, detail, "if its clock is right now, `tenure clock` shows what a reset would do"
            )
        return Finding("clock", WARNING, detail, "nothing, if its clock is right now: it catches up by itself")
    return Finding("clock", OK, "the store's clock and this machine's agree", "")


def _hurts(skew: Micros) -> str:
    """What goes wrong meanwhile, if the store's clock is wrong and not this machine's."""
    if skew > 0:
        return "; if it is the store's that is wrong, windows close too early"
    if skew < -MOST_AHEAD:
        return "; the registry's events, whose time is more than 5 minutes ahead of the store's, are refused meanwhile"
    return "; if it is the store's that is wrong, windows close too late"


def durable(app: App) -> Finding:
    for report in reports(app.client).values():
        if isinstance(report, NodeReport) and report.info.get("aof_last_write_status", "ok") != "ok":
            detail = "the server's last write to its append-only file failed"
            return Finding("durable", PROBLEM, detail, "free its disk and read its log; it refuses to write until then")
    durability = app.status.durability()
    if durability.durable:
        return Finding("durable", OK, "what is acknowledged is on disk (appendfsync always)", "")
    finding, _, advice = durability.problem.partition(": ")
    level = PROBLEM if durability.known else WARNING
    return Finding("durable", level, f"{finding}; what was acknowledged could be lost in a crash", advice)


def _everywhere(addresses: str) -> bool:
    """Whether a server that is bound to these can be reached from other hosts."""
    for address in addresses.split():
        plain = address.removeprefix("-")
        try:
            if not ip_address(plain).is_loopback:
                return True
        except ValueError:
            # "*" and "::*" are all addresses; a name could be any.
            if plain != "localhost":
                return True
    return not addresses.split()


def exposed(app: App) -> Finding:
    return _of_nodes(app, "exposed", _exposed)


def _exposed(report: NodeReport) -> Finding:
    if not report.admits:
        return Finding("exposed", OK, "the server asks for a password", "")
    if report.refused:
        detail = f"asks for no password, and does not say who may reach it ({report.refused})"
        return Finding(
            "exposed", WARNING, detail, "let it ask for a password, or make sure that it is in a network of its own"
        )
    if report.config.get("protected-mode") == "yes":
        return Finding("exposed", OK, "the server asks for no password, and answers this machine only", "")
    bound = report.config.get("bind", "")
    if not _everywhere(bound):
        return Finding("exposed", OK, "the server asks for no password, and listens on loopback only", "")
    detail = f"whoever reaches the server may read and change everything: no password, bound to {bound!r}"
    advice = "set requirepass (or ACLs) and put the password in TENURE_REDIS_URL_FILE, or bind it to 127.0.0.1"
    return Finding("exposed", PROBLEM, detail, advice)


def rights(app: App) -> Finding:
    """Whether every process may do what it has to."""
    found = refusals(app.client)
    if found is None:
        return Finding("rights", OK, "this user may not ask what was refused; the operator's may", "")
    refused = {(each.user, each.rule): each for told in found.values() for each in told}
    if not refused:
        return Finding("rights", OK, "nothing was refused to any user in the last hour", "")
    named = "; ".join(f"{each.user} {each.times} times {each.reason} {each.what}" for each in refused.values())
    lacking = [each for each in refused.values() if each.due]
    if lacking:
        grants = ", ".join(f"`ACL SETUSER {each.user} {each.rule}`" for each in lacking)
        advice = (
            f"its users are those of another release: give the servers this one's deploy/acl/users.acl, or {grants}"
        )
        return Finding("rights", PROBLEM, f"refused in the last hour: {named}"[:MOST_TOLD], advice[:MOST_TOLD])
    grants = ", ".join(f"`ACL SETUSER {each.user} {each.rule}`" for each in refused.values())
    advice = f"if it was one of Tenure's processes, give it what it needs: {grants}; if not, find out who it was"
    return Finding("rights", WARNING, f"refused in the last hour: {named}"[:MOST_TOLD], advice[:MOST_TOLD])


def memory(app: App) -> Finding:
    return _of_nodes(app, "memory", _memory)


def _memory(report: NodeReport) -> Finding:
    if "maxmemory" not in report.config:
        detail = f"cannot ask the server whether it forgets when it is full ({report.refused})"
        return Finding("memory", WARNING, detail, "make sure that maxmemory-policy is noeviction")
    policy, limit = report.config.get("maxmemory-policy", ""), int(report.config["maxmemory"])
    if policy != "noeviction":
        detail = f"maxmemory-policy is {policy}: a full server drops policies and events without a word"
        return Finding("memory", PROBLEM, detail, "set `maxmemory-policy noeviction`; a full server then answers 503")
    used = int(report.info.get("used_memory", "0"))
    if limit and used > 0.9 * limit:
        detail = f"{used * 100 // limit} % of maxmemory are used; a full server refuses to write"
        return Finding("memory", WARNING, detail, "raise maxmemory")
    return Finding("memory", OK, f"{used // 1_000_000} MB used; a full server refuses, and forgets nothing", "")


def replicas(app: App) -> Finding:
    """Whether a failover keeps what was acknowledged."""
    wanted = app.settings.wait_replicas

    def of(report: NodeReport) -> Finding:
        if not report.info:
            level = WARNING if wanted else OK
            return Finding(
                "replicas", level, "does not say whether it has replicas", "let its user run INFO" if wanted else ""
            )
        there = report.replicas
        told = f"has {there} replica{'' if there == 1 else 's'}"
        if there < wanted:
            advice = "start its replicas; lower TENURE_WAIT_REPLICAS only if a failover may lose events"
            return Finding("replicas", PROBLEM, f"{told}, and events wait for {wanted}: the API answers 503", advice)
        if there > wanted:
            advice = f"set TENURE_WAIT_REPLICAS={there}, and read Failover in docs/operations.md"
            return Finding("replicas", WARNING, f"{told}, and events are acknowledged with {wanted} of them", advice)
        if report.stops_with_others:
            advice = "set `cluster-require-full-coverage no` on every node: then only what it keeps has to wait"
            return Finding("replicas", WARNING, "answers nothing while any other node is away", advice)
        return Finding("replicas", OK, f"{told}, which have what is acknowledged" if there else "has no replicas", "")

    return _of_nodes(app, "replicas", of)


def broker(app: App) -> Finding:
    try:
        server, database = _place(app.broker.client)
    except RedisError as error:
        return Finding("queue", PROBLEM, f"cannot be reached ({_brief(error)})", REACH_BROKER)
    servers = {report.info.get("run_id") for report in reports(app.client).values() if isinstance(report, NodeReport)}
    if server in servers and database == locate(app.settings.store_url()).database:
        return Finding("queue", OK, "answers, in the store's own database, since the server has no other", "")
    return Finding("queue", OK, f"answers, in its own database ({database})", "")


def _place(redis: Redis) -> tuple[str | None, int]:
    """Which server, if it may be asked, and which of its databases."""
    try:
        about = cast("dict[str, str]", redis.info("server"))
    except ResponseError:
        about = {}
    return about.get("run_id"), int(redis.connection_pool.connection_kwargs.get("db") or 0)


def epoch(app: App) -> Finding:
    """Whether the store went back in time, and whether that would be noticed."""
    recovery = app.epochs.recovery()
    if recovery is not None and recovery.accepted is None:
        detail = (
            f"the store went back in time, and lacks what was written since {rfc3339(recovery.since)}: all is closed"
        )
        return Finding("epoch", PROBLEM, detail, "`tenure recover` says what brings it back, and opens it")
    if not app.epochs.witness.writable():
        detail = "nobody would notice a restored backup: how far the store has come cannot be kept outside of it"
        return Finding(
            "epoch", WARNING, detail, "set TENURE_WITNESS_DIR to a folder that no restore of the store touches"
        )
    began = 1 if recovery is None else recovery.epoch
    return Finding("epoch", OK, f"{began}; kept outside of the store, too", "")


def partitions(app: App) -> Finding:
    return Finding("partitions", OK, f"{app.keyspace.partitions}, as this store has them", "")


def _role(role: str, missing: str) -> Callable[[App], Finding]:
    def check(app: App) -> Finding:
        names = app.status.alive(role)
        if names:
            return Finding(role, OK, f"{len(names)} seen in the last 10 s: {', '.join(sorted(names))}", "")
        return Finding(
            role, PROBLEM, f"none seen in the last 10 s: {missing}", f"start `tenure {role}`, or `tenure up`"
        )

    return check


def inbox(app: App) -> Finding:
    depth = app.inbox.depth()
    waiting = sum(count for lane, count in depth.items() if lane != "dead")
    late = app.inbox.lag()
    lanes = ", ".join(f"{lane} {count}" for lane, count in depth.items() if lane != "dead")
    detail = f"{waiting} events wait ({lanes})" + (f", the longest for {span(late)}" if late else "")
    advice = "see that workers run and what they log; more of them, or more processes, settle more"
    return Finding("inbox", level_of(late), detail, advice if late > SLOW else "")


def records(app: App) -> Finding:
    """Whether policies can be read; of very many, the first."""
    result = Search(app.client, app.keyspace).find(PolicyCriteria(), None, limit=RECORDS, look=RECORDS)
    scanned = f"{result.scanned} of {result.total}" if result.scanned < result.total else str(result.total)
    if not result.unreadable:
        return Finding("records", OK, f"{scanned} policies were read", "")
    named = ", ".join(result.unreadable[:3])
    detail = (
        f"{len(result.unreadable)} of {scanned} policies cannot be read: {named}{', …' * (len(result.unreadable) > 3)}"
    )
    return Finding("records", PROBLEM, detail, "restore them from a backup, or register them anew; all others go on")


def dead_letters(app: App) -> Finding:
    count = app.inbox.depth()["dead"]
    if not count:
        return Finding("dead letters", OK, "none", "")
    newest = next(find(app), None)
    last = f", the newest {newest.name}: {newest.error}: {newest.message}" if newest else ""
    detail = f"{count} events could not be handled{last}"
    advice = (
        "policies stand as if they had not happened: see `tenure dead list` and `tenure dead show`, mend what the error "
        "says, look at what `tenure dead replay --all` would do, and let it with --apply"
    )
    return Finding("dead letters", WARNING, detail, advice)


def replays(app: App) -> Finding:
    oldest = next(iter(interrupted(app)), None)
    if oldest is None:
        return Finding("replays", OK, "none was interrupted", "")
    batch = oldest.replay.batch
    detail = f"replay {batch} was interrupted: {oldest.left} of {oldest.replay.total} letters are left"
    return Finding("replays", WARNING, detail, f"go on with `tenure dead replay --resume {batch}`, or --stop it")


def consumers(app: App) -> Finding:
    """Whether named consumers of the feed are near its end."""
    lags = app.consumers.lags()
    gone = [lag.consumer.name for lag in lags if lag.gone]
    late = max(lags, key=lambda lag: lag.seconds, default=None)
    forget = "or `tenure consumer forget` it, if nobody needs it"
    if gone:
        detail = f"the feed does not go on from where these are: {', '.join(gone)}"
        return Finding(
            "consumers", PROBLEM, detail, f"have each load GET /policies and acknowledge its cursor, {forget}"
        )
    if late is not None and late.seconds > CONSUMER_LATE:
        detail = f"{late.consumer.name} has not acknowledged {late.changes} changes, the first for {span(round(late.seconds * SECOND))}"
        return Finding("consumers", WARNING, detail, f"see that it runs, and what it logs; {forget}")
    return Finding(
        "consumers", OK, f"{len(lags)} follow the feed by name" if lags else "none follows the feed by name", ""
    )


def due(app: App) -> Finding:
    late = app.policies.due_lag()
    detail = f"the longest-due policy has waited for {span(late)}" if late else "no policy is overdue"
    advice = "see that a scheduler and workers run; readers honour usable_until meanwhile"
    return Finding("due", level_of(late), detail, advice if late > SLOW else "")


def schedule(app: App) -> Iterator[Finding]:
    """Every job: when it ran last and how long that took, when it runs next, and how late it was."""
    now, due = app.status.now(), entries(app.settings)
    runs = app.status.runs([entry.name for entry in due])
    for entry in due:
        run, every = runs[entry.name], entry.every * SECOND
        following = (now // every + 1) * every
        when = f"next in {span(following - now)}, every {span(every)}"
        if run is None:
            yield Finding(f"job {entry.name}", OK, f"has not run yet; {when}", "")
            continue
        lag = max(0, run.started - run.planned)
        detail = f"ran {span(now - run.started)} ago, took {run.took // 1000} ms, {span(lag)} after its time; {when}"
        if run.finished is None and now - run.started > STUCK + 5 * every:
            stuck = f"runs for {span(now - run.started)} in {run.worker}"
            yield Finding(f"job {entry.name}", PROBLEM, stuck, "see what that process logs; restart it if it is stuck")
        elif now - run.started > STUCK + 3 * every:
            yield Finding(f"job {entry.name}", PROBLEM, detail, "see that a scheduler and workers run")
        elif run.error:
            yield Finding(
                f"job {entry.name}", WARNING, f"{detail}; it failed: {run.error}", "see what the worker logged"
            )
        else:
            yield Finding(f"job {entry.name}", OK, detail, "")


def _brief(error: Exception) -> str:
    return scrubbed(" ".join(str(error).split()))[:200] or type(error).__name__


def matching(app: App) -> Finding:
    """Whether readers are told the settings that this process has."""
    try:
        found = published(app.client, app.keyspace)
    except ValueError as error:
        return Finding("matching", PROBLEM, f"what is published cannot be read: {error}", RESTART_SERVICES)
    differ = [
        f"{name} is {theirs} there and {ours} here"
        for name, theirs, ours in zip(FIELDS, found.fields(), app.settings.matching.fields(), strict=True)
        if theirs != ours
    ]
    if differ:
        return Finding("matching", WARNING, f"readers are told other settings: {'; '.join(differ)}", RESTART_SERVICES)
    return Finding("matching", OK, "readers are told the settings that this process has", "")


def switches(app: App) -> Finding:
    """What is held at once."""
    closed = app.switches.all()
    if not closed:
        return Finding("switches", OK, "nothing is held by a switch", "")
    named = ", ".join(f"{switch.scope} by {switch.by}: {switch.reason}" for switch in closed[:SWITCHES_NAMED])
    more = f", and {len(closed) - SWITCHES_NAMED} more" if len(closed) > SWITCHES_NAMED else ""
    return Finding("switches", WARNING, f"held: {named}{more}", "`tenure hold` shows them, `tenure release` ends one")


CHECKS: tuple[Callable[[App], Finding], ...] = (
    version,
    clock,
    epoch,
    partitions,
    matching,
    switches,
    durable,
    exposed,
    rights,
    memory,
    replicas,
    broker,
    _role("worker", "events wait until one runs"),
    _role("scheduler", "windows do not close on time, and lost wake-ups are not repeated"),
    records,
    inbox,
    due,
    dead_letters,
    replays,
    consumers,
    github,
    breaker,
    deliveries,
    secrets,
)

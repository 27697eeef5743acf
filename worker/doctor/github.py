"""What the doctor looks at where GitHub is asked."""

from __future__ import annotations

from worker.app import App
from worker.doctor.finding import OK, PROBLEM, SLOW, WARNING, Finding, level_of
from worker.lifecycle.owners import DEFAULT
from worker.words.text import span


def named(check: str, issuer: str) -> str:
    """What a check of an instance is called: the default one's by its own name."""
    return check if issuer == DEFAULT else f"{check} {issuer}"


def github(app: App, issuer: str = DEFAULT) -> Finding:
    """Whether an instance of GitHub can be asked, and answers."""
    name, ledger, checks = named("github", issuer), app.ledger.at(issuer), app.checks.at(issuer)
    if issuer not in app.settings.asked:
        detail = "no credentials: GitHub is not asked, and the newest signed webhook counts"
        return Finding(name, OK, detail, "")
    if not app.status.alive("asker"):
        detail = "no process that asks GitHub was seen in the last 10 s: access does not come back, and policies lapse"
        return Finding(name, PROBLEM, detail, "start `tenure worker` or `tenure up` with the same credentials")
    trouble = ledger.trouble()
    if trouble.failures:
        level = PROBLEM if trouble.failures >= 5 else WARNING
        detail = f"{trouble.failures} checks in a row had no answer: {trouble.last}"
        return Finding(
            name, level, detail, "policies stay as they are until they lapse; see GitHub's status, and the network"
        )
    due = checks.oldest()
    late = 0 if due is None else max(0, app.status.now() - due)
    detail = f"answers; {checks.waiting()} owners wait for a check" + (
        f", the longest for {span(late)}" if late else ""
    )
    return Finding(name, level_of(late), detail, "see what the asking process logs" if late > SLOW else "")


def breaker(app: App, issuer: str = DEFAULT) -> Finding:
    name, missing = named("breaker", issuer), app.missing_scopes.at(issuer)
    values, tally = missing.breaker(), missing.tally(app.status.now())
    detail = (
        f"{tally.losing} of {tally.owners_asked} owners that were asked about lately lost something; "
        f"{tally.pending} suspected, {tally.lost} lost"
    )
    if values.open_since is None:
        return Finding(name, OK, f"closed: {detail}", "")
    advice = (
        "see GitHub's status; sweeps and other checks go on. If it is true: tenure sweep --let-through --reason TEXT"
    )
    return Finding(name, PROBLEM, f"open, so nothing more is believed to be gone: {detail}", advice)


def deliveries(app: App, issuer: str = DEFAULT) -> Finding:
    name, missed = named("deliveries", issuer), app.deliveries.at(issuer).pending().values()
    lost = sum(one.given_up for one in missed)
    if not lost:
        return Finding(name, OK, f"{len(missed)} webhooks wait to be delivered again", "")
    detail = f"{lost} webhooks cannot be delivered any more; their owners were swept instead"
    return Finding(name, WARNING, detail, "see why Tenure could not be reached; `tenure sweep` verifies everything")


OF_INSTANCES = (github, breaker, deliveries)
"""What is looked at of each instance."""

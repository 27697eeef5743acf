"""What the doctor looks at where GitHub is asked."""

from __future__ import annotations

from worker.app import App
from worker.doctor.finding import OK, PROBLEM, SLOW, WARNING, Finding, level_of
from worker.words.text import span


def github(app: App) -> Finding:
    """Whether GitHub can be asked, and answers."""
    if not app.settings.asks_github:
        detail = "no credentials: GitHub is not asked, and the newest signed webhook counts"
        return Finding("github", OK, detail, "")
    if not app.status.alive("asker"):
        detail = "no process that asks GitHub was seen in the last 10 s: access does not come back, and policies lapse"
        return Finding("github", PROBLEM, detail, "start `tenure worker` or `tenure up` with the same credentials")
    trouble = app.ledger.trouble()
    if trouble.failures:
        level = PROBLEM if trouble.failures >= 5 else WARNING
        detail = f"{trouble.failures} checks in a row had no answer: {trouble.last}"
        return Finding(
            "github", level, detail, "policies stay as they are until they lapse; see GitHub's status, and the network"
        )
    due = app.checks.oldest()
    late = 0 if due is None else max(0, app.status.now() - due)
    detail = f"answers; {app.checks.waiting()} owners wait for a check" + (
        f", the longest for {span(late)}" if late else ""
    )
    return Finding("github", level_of(late), detail, "see what the asking process logs" if late > SLOW else "")


def breaker(app: App) -> Finding:
    values, tally = app.missing_scopes.breaker(), app.missing_scopes.tally(app.status.now())
    detail = (
        f"{tally.losing} of {tally.owners_asked} owners that were asked about lately lost something; "
        f"{tally.pending} suspected, {tally.lost} lost"
    )
    if values.open_since is None:
        return Finding("breaker", OK, f"closed: {detail}", "")
    advice = (
        "see GitHub's status; sweeps and other checks go on. If it is true: tenure sweep --let-through --reason TEXT"
    )
    return Finding("breaker", PROBLEM, f"open, so nothing more is believed to be gone: {detail}", advice)


def deliveries(app: App) -> Finding:
    missed = app.deliveries.pending().values()
    lost = sum(one.given_up for one in missed)
    if not lost:
        return Finding("deliveries", OK, f"{len(missed)} webhooks wait to be delivered again", "")
    detail = f"{lost} webhooks cannot be delivered any more; their owners were swept instead"
    return Finding(
        "deliveries", WARNING, detail, "see why Tenure could not be reached; `tenure sweep` verifies everything"
    )

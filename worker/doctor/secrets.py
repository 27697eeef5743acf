"""What the doctor says of secrets and tokens: which are empty, easily guessed, or good for two roles. It quotes none."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import SecretStr

from worker.app import App
from worker.doctor.finding import OK, WARNING, Finding
from worker.lifecycle.owners import DEFAULT
from worker.settings import PREFIX, Settings
from worker.settings.values import Unsplit, named

SHORTEST = 16
FEWEST_CHARACTERS = 8
"""A random text of `SHORTEST` characters has more different ones than this, hexadecimal ones included, nearly always."""
ADVICE = "make each with `openssl rand -hex 32`, a token of its own for each program and person"
COMMA = 'if a comma is part of a secret, so that its parts are none, write a JSON list: ["first", "second"]'
LISTS = ("registry_tokens", "exchange_tokens", "operator_tokens", "reader_tokens")


def secrets(app: App) -> Finding:
    problems = list(_problems(app.settings))
    split = list(_split(app.settings))
    if not problems:
        detail = "those that are set here are long enough, and each has one role"
        return Finding("secrets", OK, "; ".join([detail, *split]), "")
    return Finding("secrets", WARNING, "; ".join([*problems, *split]), f"{ADVICE}; {COMMA}" if split else ADVICE)


def _split(settings: Settings) -> Iterator[str]:
    """Which lists have lines that may be one secret as well as several."""
    for setting in ("webhook_secrets", *LISTS):
        tokens: tuple[SecretStr, ...] = getattr(settings, setting)
        if any(isinstance(secret, Unsplit) for secret in tokens):
            parts = sum(not isinstance(secret, Unsplit) for secret in tokens)
            yield f"{PREFIX}{setting.upper()}: is read as {parts}, separated by commas, and with its commas as one"


def _problems(settings: Settings) -> Iterator[str]:
    for place, secret in enumerate(settings.webhook_secrets, 1):
        if not isinstance(secret, Unsplit):
            yield from _weak(f"{PREFIX}WEBHOOK_SECRETS, entry {place}", secret.get_secret_value())
    for issuer, instance in settings.issuers.items():
        where = f"{PREFIX}ISSUERS, {issuer}, webhook_secrets"
        if issuer != DEFAULT and not instance.webhook_secrets:
            yield f"{where}: has none, so nothing is heard of it"
        for place, secret in enumerate(instance.webhook_secrets, 1):
            yield from _weak(f"{where}, entry {place}", secret.get_secret_value())
    owners: dict[str, str] = {}
    for setting in LISTS:
        tokens: tuple[SecretStr, ...] = getattr(settings, setting)
        for place, entry in enumerate(tokens, 1):
            if isinstance(entry, Unsplit):
                continue
            name, token = named(entry)
            where = f"{PREFIX}{setting.upper()}, entry {place}{f' ({name})' if name else ''}"
            yield from _weak(where, token)
            if token and token in owners:
                yield f"{where}: the same token as {owners[token]}"
            owners.setdefault(token, where)


def _weak(where: str, secret: str) -> Iterator[str]:
    if not secret.strip():
        yield f"{where}: is empty, so nobody has it"
    elif len(secret) < SHORTEST:
        yield f"{where}: is shorter than {SHORTEST} characters"
    elif len(set(secret)) < FEWEST_CHARACTERS:
        yield f"{where}: has fewer than {FEWEST_CHARACTERS} different characters"

"""What the exchange has to be told, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tenure_reader.topology import StoreUrl

PREFIX = "EXCHANGE_"
GITHUB = "https://token.actions.githubusercontent.com"
LONGEST_LIFE = 3600
LOCAL = ("127.0.0.1", "localhost", "::1")


class ExchangeSettingsError(Exception):
    """A setting is missing or bad. The message names it and never quotes a secret."""


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    audience: str
    """What tokens must be made for, exactly."""
    tenure_redis_url: str
    """Where Tenure publishes."""
    redis_url: str
    """Where the exchange keeps its own: another database or server than Tenure's."""
    tenure_url: str
    tenure_token: str = field(repr=False)
    """One of Tenure's `TENURE_EXCHANGE_TOKENS`."""
    index_token: str = field(repr=False)
    """What the package index sends with its questions."""
    issuer: str = GITHUB
    jwks_url: str = ""
    key_seconds: int = 900
    host: str = "127.0.0.1"
    port: int = 8490

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> ExchangeSettings:
        """
        Raises:
            SettingsError: one is missing or bad.
        """
        issuer = environment.get(f"{PREFIX}ISSUER", GITHUB)
        settings = cls(
            audience=_needed(environment, "AUDIENCE"),
            tenure_redis_url=_redis(environment, "TENURE_REDIS_URL"),
            redis_url=_redis(environment, "REDIS_URL"),
            tenure_url=_needed(environment, "TENURE_URL").rstrip("/"),
            tenure_token=_secret(environment, "TENURE_TOKEN"),
            index_token=_secret(environment, "INDEX_TOKEN"),
            issuer=issuer,
            jwks_url=environment.get(f"{PREFIX}JWKS_URL") or f"{issuer}/.well-known/jwks",
            key_seconds=_number(environment, "KEY_SECONDS", 900, 1, LONGEST_LIFE),
            host=environment.get(f"{PREFIX}HOST", "127.0.0.1"),
            port=_number(environment, "PORT", 8490, 1, 65535),
        )
        for name, url in (("JWKS_URL", settings.jwks_url), ("TENURE_URL", settings.tenure_url)):
            there = urlsplit(url)
            if there.scheme != "https" and not (there.scheme == "http" and there.hostname in LOCAL):
                raise ExchangeSettingsError(f"{PREFIX}{name}: must be https, or http on this machine")
        if settings.redis_url == settings.tenure_redis_url:
            raise ExchangeSettingsError(f"{PREFIX}REDIS_URL: must be another database than {PREFIX}TENURE_REDIS_URL")
        return settings


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(f"{PREFIX}{name}", "").strip()
    if not value:
        raise ExchangeSettingsError(f"{PREFIX}{name}: is missing")
    return value


def _redis(environment: Mapping[str, str], name: str) -> str:
    """A password with a raw `#` or `/` would silently end the host of a URL, and another one would be asked."""
    url = _needed(environment, name)
    try:
        StoreUrl.read(url)
    except ValueError as error:
        told = "percent-encode special characters of the password: # as %23, / as %2F"
        raise ExchangeSettingsError(f"{PREFIX}{name}: {error}; {told}") from None
    return url


def _secret(environment: Mapping[str, str], name: str) -> str:
    file = environment.get(f"{PREFIX}{name}_FILE")
    if not file:
        return _needed(environment, name)
    try:
        value = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ExchangeSettingsError(f"{PREFIX}{name}_FILE: cannot be read: {type(error).__name__}") from None
    if not value:
        raise ExchangeSettingsError(f"{PREFIX}{name}_FILE: the file is empty")
    return value


def _number(environment: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    value = environment.get(f"{PREFIX}{name}", str(default))
    if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
        raise ExchangeSettingsError(f"{PREFIX}{name}: must be a number from {least} to {most}")
    return int(value)

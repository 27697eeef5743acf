"""The instances of GitHub beside the default one: `TENURE_ISSUERS`, a JSON object of alias → instance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from worker.lifecycle.owners import ALIAS, DEFAULT, is_alias
from worker.settings.values import SecretList, api_address, rsa_key

COMMON_ISSUER = "https://token.actions.githubusercontent.com"
"""Of github.com: https://docs.github.com/en/actions/reference/security/oidc"""
COMMON_API = "https://api.github.com"

LONG_REDELIVERY = 7
"""Days for which an Enterprise Server keeps deliveries; github.com does for three."""


def _token_issuer(value: str) -> str:
    if not value.startswith(("https://", "http://")) or value.endswith("/") or not value.isascii() or " " in value:
        raise ValueError("is the claim iss as it is in tokens, such as https://token.actions.githubusercontent.com")
    return value


def _no_blank(secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    if not all(secret.get_secret_value().strip() for secret in secrets):
        # As of a variable that is not set: everybody could sign with it.
        raise ValueError("has an empty one; make each with `openssl rand -hex 32`")
    return secrets


class Instance(BaseModel):
    """One instance of GitHub: github.com, a tenant of ghe.com, an Enterprise Server."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuers: Annotated[tuple[Annotated[str, AfterValidator(_token_issuer)], ...], Field(max_length=20)] = ()
    """What the claim `iss` of its tokens may be: an enterprise may have one of its own beside the common one."""
    api_url: Annotated[str, AfterValidator(api_address)] = COMMON_API
    app_id: str | None = Field(default=None, pattern="^[A-Za-z0-9._-]{1,100}$")
    private_key: Annotated[SecretStr, AfterValidator(rsa_key)] | None = None
    webhook_secrets: Annotated[SecretList, AfterValidator(_no_blank)] = ()
    redelivery_days: Literal[3, 7] = 3
    """For how long its deliveries can be asked for again."""

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        if (self.app_id is None) != (self.private_key is None):
            raise ValueError("app_id: is set together with private_key; give both, or neither")
        return self

    @property
    def can_be_asked(self) -> bool:
        return self.app_id is not None

    @property
    def fixed(self) -> tuple[object, ...]:
        """All of it that does not rotate."""
        return self.issuers, self.api_url, self.app_id, self.redelivery_days


WEBHOOKS = "/webhooks/github"


def webhooks_path(issuer: str) -> str:
    """Where an instance's webhooks come to."""
    return WEBHOOKS if issuer == DEFAULT else f"{WEBHOOKS}/{issuer}"


SET_ELSEWHERE = {
    "api_url": "TENURE_GITHUB_API_URL",
    "app_id": "TENURE_GITHUB_APP_ID",
    "private_key": "TENURE_GITHUB_PRIVATE_KEY",
    "webhook_secrets": "TENURE_WEBHOOK_SECRETS",
}
"""What the default instance has in settings of its own."""
MOST = 20
"""Instances, so that none of their number costs readers or the store anything."""


def instances_from(value: object) -> dict[str, Instance]:
    """Alias → instance, of the text of the setting, or as they were read already.

    Raises:
        ValueError: it cannot be read; the message names the alias and the field, and never a value.
    """
    given = _object(value) if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not all(isinstance(alias, str) for alias in given):
        raise ValueError(
            'is a JSON object, such as {"ghes": {"issuers": ["https://ghes.example.org/_services/token"]}}'
        )
    if len(given) > MOST:
        raise ValueError(f"names more than {MOST} instances")
    instances = {alias: _instance(alias, said) for alias, said in given.items()}
    owned: dict[str, str] = {}
    for alias, instance in instances.items():
        for issuer in instance.issuers:
            if owned.setdefault(issuer, alias) != alias:
                raise ValueError(f"{alias}.issuers: one of them is {owned[issuer]}'s, too; a token is of one instance")
    return instances


def _object(text: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("has a name twice in one object")
        return dict(pairs)

    try:
        parsed: object = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError:
        raise ValueError("is no JSON") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    return parsed


def _instance(alias: str, said: object) -> Instance:
    if isinstance(said, Instance):
        return said
    if not is_alias(alias):
        raise ValueError(f"an alias is like {ALIAS}; one is not")
    try:
        instance = Instance.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        where = "".join(f".{part}" for part in first["loc"] if isinstance(part, str))
        raise ValueError(f"{alias}{where}: {message}") from None
    if not instance.issuers:
        raise ValueError(f"{alias}.issuers: names none; give what the claim iss of its tokens is")
    elsewhere = [name for name in SET_ELSEWHERE if alias == DEFAULT and name in instance.model_fields_set]
    if elsewhere:
        raise ValueError(f"{alias}.{elsewhere[0]}: is the default instance's; set {SET_ELSEWHERE[elsewhere[0]]}")
    if alias != DEFAULT and "api_url" not in instance.model_fields_set and instance.can_be_asked:
        raise ValueError(f"{alias}.api_url: not set, and its App is; give where it can be asked")
    return instance

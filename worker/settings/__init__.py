"""Settings: environment variables with the prefix `TENURE_`, or a `.env` file (contract, section 7)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from tenure_reader.matching import CONTRACT, Binds, FileCase, Matching, events_of
from worker.lifecycle.facts import DAY, HOUR
from worker.lifecycle.owners import DEFAULT
from worker.lifecycle.rules import Rules
from worker.settings.issuers import COMMON_API, COMMON_ISSUER, LONG_REDELIVERY, Instance, instances_from
from worker.settings.proxies import Network, Proxies, networks
from worker.settings.values import SecretList, Unsplit, api_address, rsa_key
from worker.store.urls import flaw, locate

PREFIX = "TENURE_"
FILES = (
    "REDIS_URL",
    "BROKER_URL",
    "WEBHOOK_SECRETS",
    "REGISTRY_TOKENS",
    "EXCHANGE_TOKENS",
    "OPERATOR_TOKENS",
    "READER_TOKENS",
    "GITHUB_PRIVATE_KEY",
    "ISSUERS",
)
"""Settings that hold secrets: each may be given as the name of a file, `TENURE_…_FILE`."""


class SettingsError(Exception):
    """A setting is missing or bad; the message is one line that names it."""


def _networks(value: object) -> object:
    return networks(value) if isinstance(value, str) else value


def _events(value: str) -> str:
    events_of(value)
    return value


class Settings(BaseModel):
    """Everything that can be set, with its default."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    redis_url: SecretStr | None = None
    """Where the store is. Unset: the embedded Valkey of `tenure up`."""
    broker_url: SecretStr | None = None
    """Where wake-ups go; unset: the store's server, the next database. `redis://` and the like."""
    wait_replicas: int = Field(default=0, ge=0, le=10)
    """How many replicas of each node that was written must have an event before the API answers (`WAIT`)."""
    data_dir: Path = Path(".tenure")
    """Where the embedded Valkey keeps its data, and `tenure up` the secrets that it made."""
    witness_dir: Path | None = None
    """Where it is kept how far the store had come, apart from all that a restore of the store brings back; None: the user's
    folder for such things."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8480, ge=0, le=65535)
    partitions: int = Field(default=16, ge=1, le=1000)
    """Fixed at first start: a store that has another number stops the start (`tenure partitions`)."""
    provisional_days: float = Field(default=7, gt=0, le=3650)
    verify_max_age_hours: float = Field(default=72, gt=0, le=87_600)
    webhook_secrets: SecretList = ()
    """Current first, then previous."""
    registry_tokens: SecretList = ()
    """May send events of every type, and read. Each may have a name before it, as `npm:TOKEN`, which logs tell."""
    exchange_tokens: SecretList = ()
    """May send `login.*`, and read. Named in the same way."""
    operator_tokens: SecretList = ()
    """May read, and act at the console. Each may have a name before it, as `maria:TOKEN`, which is who acted."""
    reader_tokens: SecretList = ()
    """May read, and look at the console. Named in the same way."""
    public_url: str | None = None
    """Where GitHub reaches the API and browsers the console, if a proxy is in front of them."""
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = ()
    """Addresses and networks of the proxies in front. None named: where there is a public URL, all private addresses."""
    processes: int = Field(default=2, ge=1, le=64)
    """Worker processes of `tenure up` and `tenure worker`."""
    threads: int = Field(default=4, ge=1, le=64)
    """Threads of a worker process: they overlap waiting for the store, not computing."""
    workflow_file_case: FileCase = CONTRACT.workflow_file_case
    """Whether the letter case of a workflow's file counts. This and the next two decide matching: readers find them in the
    store, and services publish them there at their start."""
    forbidden_events: Annotated[str, AfterValidator(_events)] = CONTRACT.fields()[1]
    """Events whose runs may never publish, separated by commas; `none` forbids none."""
    workflow_binds: Binds = CONTRACT.workflow_binds
    """Which workflow a policy's file is, where the policy does not say."""
    log_level: str = "info"
    log_format: str = Field(default="auto", pattern="^(auto|json|console)$")
    github_app_id: str | None = Field(default=None, pattern="^[A-Za-z0-9._-]{1,100}$")
    """The GitHub App's id, or its client id. Set together with its private key: then GitHub is asked for the truth."""
    github_private_key: Annotated[SecretStr, AfterValidator(rsa_key)] | None = None
    github_api_url: Annotated[str, AfterValidator(api_address)] = COMMON_API
    """`https://host/api/v3` for GitHub Enterprise Server."""
    issuers: Annotated[dict[str, Instance], BeforeValidator(instances_from)] = {}
    """Instances of GitHub by their aliases: others than the default one, and what of that has no setting of its own. None
    named: the issuer of a token is not looked at."""
    sweep_hours: float = Field(default=12, gt=0, le=8760)
    """Every owner is verified again within this time."""
    breaker_share: float = Field(default=0.5, gt=0, le=1)
    """Of the owners that were asked about lately, how many may lose something at once before GitHub is suspected."""

    _files: dict[str, Path] = PrivateAttr(default_factory=dict)

    @field_validator("public_url")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}):
            msg = "is like https://tenure.example.org, without a path"
            raise ValueError(msg)
        return f"{parts.scheme}://{parts.netloc}" if value else None

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            msg = "is one of debug, info, warning, error"
            raise ValueError(msg)
        return value.lower()

    @field_validator("redis_url", "broker_url")
    @classmethod
    def _scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            problem = flaw(value.get_secret_value())
            if problem is not None:
                raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        urls = [locate(url.get_secret_value()) for url in (self.redis_url, self.broker_url) if url is not None]
        if len(urls) == 2 and urls[0].meets(urls[1]):
            msg = "broker_url: give the broker its own database, such as …/1, or none: then it takes what there is"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        if self.github_app_id is not None and self.github_private_key is None:
            msg = (
                "github_private_key: not set, and TENURE_GITHUB_APP_ID is; give the App's key, as a file, or unset both"
            )
            raise ValueError(msg)
        if self.github_private_key is not None and self.github_app_id is None:
            msg = "github_app_id: not set, and the App's private key is; give the App's id, or unset both"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _instances_apart(self) -> Self:
        if self.issuers and DEFAULT not in self.issuers and self.github_api_url != COMMON_API:
            msg = (
                f"issuers: does not name {DEFAULT}, and TENURE_GITHUB_API_URL is not github.com's; add "
                f'"{DEFAULT}": {{"issuers": [...]}} with what the claim iss of its tokens is'
            )
            raise ValueError(msg)
        if any(COMMON_ISSUER in it.issuers for alias, it in self.issuers.items() if alias != DEFAULT) and (
            DEFAULT not in self.issuers
        ):
            msg = f"issuers: another instance than {DEFAULT} has github.com's issuer; name {DEFAULT}, too, with its own"
            raise ValueError(msg)
        owned: dict[str, str] = {}
        for alias, instance in self.instances.items():
            for secret in instance.webhook_secrets:
                if owned.setdefault(secret.get_secret_value(), alias) != alias:
                    msg = f"issuers: {alias} has a webhook secret of another instance; make one for each"
                    raise ValueError(msg)
        return self

    def model_post_init(self, files: Mapping[str, Path] | None, /) -> None:
        self._files.update(files or {})

    @property
    def files(self) -> Mapping[str, Path]:
        """Setting → the file that it was read from."""
        return self._files

    def counted(self) -> dict[str, int]:
        """How many secrets and tokens each list holds, where it holds any."""
        lists = ("webhook_secrets", "registry_tokens", "exchange_tokens", "operator_tokens", "reader_tokens")
        return {
            name: sum(not isinstance(secret, Unsplit) for secret in getattr(self, name))
            for name in lists
            if getattr(self, name)
        }

    @property
    def instances(self) -> dict[str, Instance]:
        """All instances of GitHub by their aliases, the default one first."""
        said = self.issuers.get(DEFAULT, Instance(issuers=(COMMON_ISSUER,)))
        default = said.model_copy(
            update={
                "api_url": self.github_api_url,
                "app_id": self.github_app_id,
                "private_key": self.github_private_key,
                "webhook_secrets": self.webhook_secrets,
            }
        )
        return {DEFAULT: default, **{alias: it for alias, it in self.issuers.items() if alias != DEFAULT}}

    @property
    def redelivers_long(self) -> bool:
        """Whether an instance of GitHub can be asked for deliveries that are a week old."""
        return any(instance.redelivery_days == LONG_REDELIVERY for instance in self.instances.values())

    @property
    def asks_github(self) -> bool:
        """Whether any instance of GitHub can be asked."""
        return bool(self.asked)

    @property
    def asked(self) -> frozenset[str]:
        """Aliases of the instances of GitHub whose API can be asked."""
        others = (alias for alias, it in self.issuers.items() if alias != DEFAULT and it.can_be_asked)
        return frozenset(others) | ({DEFAULT} if self.github_app_id is not None else frozenset())

    @property
    def aliases(self) -> tuple[str, ...]:
        """Those of all instances of GitHub, the default one first. Asked of each event, so nothing is put together for it."""
        return DEFAULT, *(alias for alias in self.issuers if alias != DEFAULT)

    @property
    def matching(self) -> Matching:
        """What decides matching."""
        issuers = {
            issuer: alias for alias, instance in self.instances.items() for issuer in instance.issuers if self.issuers
        }
        return Matching(
            self.workflow_file_case,
            events_of(self.forbidden_events),
            self.workflow_binds,
            tuple(sorted(issuers.items())),
        )

    @property
    def proxies(self) -> Proxies:
        """Whose connections and headers speak for others."""
        return Proxies(self.trusted_proxies, private=self.public_url is not None and not self.trusted_proxies)

    @property
    def rules(self) -> Rules:
        """The lifecycle's rules. Without GitHub credentials the newest signed hint counts."""
        return Rules(
            window=round(self.provisional_days * DAY),
            proof_max_age=round(self.verify_max_age_hours * HOUR),
            proof_required=DEFAULT in self.asked,
            asked=self.asked if self.issuers else None,
        )

    def store_url(self) -> str:
        """Where the store is: as set, or the embedded one of the data directory.

        Raises:
            SettingsError: neither is there.
        """
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        try:
            return (self.data_dir / "redis-url").read_text(encoding="utf-8").strip()
        except OSError:
            raise SettingsError(
                f"TENURE_REDIS_URL: not set, and no embedded store has run in {self.data_dir}; "
                "set it, or start one with `tenure up`"
            ) from None

    def witness_folder(self) -> Path:
        """Where it is kept how far each store had come: https://specifications.freedesktop.org/basedir-spec/latest/"""
        if self.witness_dir is not None:
            return self.witness_dir
        return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "tenure"

    def queue_url(self) -> str:
        """Where wake-ups go."""
        if self.broker_url is not None:
            return self.broker_url.get_secret_value()
        return next_database(self.store_url())


def next_database(url: str) -> str:
    """The same server's next database: `redis://host:6379/0` → `redis://host:6379/1`.

    A server has 16 databases unless it is told otherwise; after the last comes the first.
    """
    parts = urlsplit(url)
    number = (locate(url).database + 1) % 16
    others = [(name, value) for name, value in parse_qsl(parts.query) if name != "db"]
    if parts.scheme == "unix":
        return f"unix://{parts.netloc}{parts.path}?{urlencode([*others, ('db', str(number))])}"
    return urlunsplit(parts._replace(path=f"/{number}", query=urlencode(others)))


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in `environment`; without one, of this process and the `.env` file beside it.

    Raises:
        SettingsError: one line that names the setting and says what it should be; never what it was.
    """
    environment = _environment() if environment is None else environment
    names = {f"{PREFIX}{name.upper()}": name for name in Settings.model_fields}
    values: dict[str, object] = {names[key]: value for key, value in environment.items() if key in names and value}
    files = _files(environment)
    for name, path in files.items():
        values |= _from_file(name, path)
    return _validated(values, files)


def _environment() -> dict[str, str]:
    """Of this process, and of the `.env` file beside it.

    Raises:
        SettingsError: that cannot be read.
    """
    try:
        in_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env: {_unread(error)}") from None
    return {**in_file, **os.environ}


def _unread(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return "cannot be read: it is not UTF-8; save it as that"


ALIKE = 0.9
"""From here on, a name that is no setting is taken for one that is misspelt."""


def misspelt(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Names that are no settings, and are nearly those of some → these.

    Raises:
        SettingsError: the `.env` file cannot be read.
    """
    names_known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    names_known += [f"{PREFIX}{name}_FILE" for name in FILES]
    suggestions: dict[str, str] = {}
    for name in _environment() if environment is None else environment:
        meant = (
            get_close_matches(name, names_known, 1, ALIKE)
            if name.startswith(PREFIX) and name not in names_known
            else []
        )
        suggestions.update((name, other) for other in meant)
    return suggestions


def reread(settings: Settings, name: str, path: Path) -> Settings:
    """The settings with what the file of one of them holds now.

    Raises:
        SettingsError: the file cannot be read, or does not hold what it should; as `load`.
    """
    value: dict[str, object] = {field: getattr(settings, field) for field in settings.model_fields_set}
    value.pop(name, None)
    changed = _validated({**value, **_from_file(name, path)}, settings.files)
    fixed = [{alias: it.fixed for alias, it in each.issuers.items()} for each in (settings, changed)]
    if fixed[0] != fixed[1]:
        raise SettingsError(
            f"{PREFIX}ISSUERS: more than webhook_secrets and private_key changed; that needs a restart of all services"
        )
    return changed


def _validated(value: Mapping[str, object], files: Mapping[str, Path]) -> Settings:
    try:
        return Settings.model_validate(value, context=files)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in first["loc"][:1])
        if not where:
            where, _, message = message.partition(": ")
        raise SettingsError(f"{PREFIX}{where.upper()}: {message}") from None


def _files(environment: Mapping[str, str]) -> dict[str, Path]:
    """The settings that are given as names of files."""
    files: dict[str, Path] = {}
    for name in FILES:
        path = environment.get(f"{PREFIX}{name}_FILE")
        if path and environment.get(f"{PREFIX}{name}"):
            raise SettingsError(f"{PREFIX}{name}: set, and {PREFIX}{name}_FILE too; keep one of them")
        if path:
            files[name.lower()] = Path(path)
    return files


def _from_file(name: str, path: Path) -> dict[str, object]:
    """What a file holds for a setting. An empty file counts as none, as an empty variable does. Some editors begin a file
    with a mark of its encoding, which is no part of a secret.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{PREFIX}{name.upper()}_FILE: {path}: {_unread(error)}") from None
    return {name: text} if text else {}


def check_port(settings: Settings) -> None:
    """Check that the API can listen where it should.

    Raises:
        SettingsError: somebody else listens there, or that address is not this machine's.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.http_host, settings.http_port))
    except OSError as error:
        raise SettingsError(
            f"TENURE_HTTP_PORT: cannot listen on {settings.http_host}:{settings.http_port}: {error.strerror}; "
            "stop what uses it, or name another port"
        ) from None


def made_secret(path: Path) -> str:
    """The secret in a file of the data directory, made at first use and readable by its owner only."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        secret = secrets.token_urlsafe(32)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secret + "\n")
        return secret

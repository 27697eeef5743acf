"""Settings: what is bad stops the start with one line that names it, and never says what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from worker.settings import SettingsError, load, misspelt
from worker.store.urls import Host, locate

CANARY = "canary-5f0c"


def test_an_empty_variable_beside_its_file_is_as_good_as_none(tmp_path: Path) -> None:
    """Given a variable that a deployment leaves empty, when its file is named too, then the file counts."""
    secret = tmp_path / "secret"
    secret.write_text("current\nprevious\n", encoding="utf-8")
    settings = load({"TENURE_WEBHOOK_SECRETS": "", "TENURE_WEBHOOK_SECRETS_FILE": str(secret)})
    assert [value.get_secret_value() for value in settings.webhook_secrets] == ["current", "previous"]


def test_a_variable_and_its_file_are_one_too_many(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY, encoding="utf-8")
    given = {"TENURE_WEBHOOK_SECRETS": f"{CANARY}-2", "TENURE_WEBHOOK_SECRETS_FILE": str(secret)}
    with pytest.raises(SettingsError, match="TENURE_WEBHOOK_SECRETS: set, and") as caught:
        load(given)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("name", ["PROVISIONAL_DAYS", "VERIFY_MAX_AGE_HOURS"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e8", "1e400", "0", "-1", CANARY])
def test_a_time_that_no_date_can_hold_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({f"TENURE_{name}": value})
    message = str(caught.value)
    assert message.startswith(f"TENURE_{name}: ")
    assert "\n" not in message
    assert CANARY not in message


def read(value: str) -> list[str]:
    return [secret.get_secret_value() for secret in load({"TENURE_WEBHOOK_SECRETS": value}).webhook_secrets]


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("new,old", ["new", "old", "new,old"]),
        ("new\nold", ["new", "old"]),
        ("new\r\n old \n\n", ["new", "old"]),
        ("a,b\nc", ["a", "b", "c", "a,b"]),
        (",ab", ["ab", ",ab"]),
        ("ab,", ["ab", "ab,"]),
        (", ,", []),
        ("npm:,tex:", ["npm:", "tex:"]),
        ("npm:,tex:abc", ["npm:", "tex:abc", "npm:,tex:abc"]),
        ('["sec,ret"]', ["sec,ret"]),
        ('[ "a" ]', ['[ "a" ]']),
        ('["a,b", "c\\nd", "", " "]', ["a,b", "c\nd"]),
        ("[]", []),
        ("[ab]", ["[ab]"]),
    ],
)
def test_a_line_with_commas_is_a_list_and_a_secret(value: str, secrets: list[str]) -> None:
    assert read(value) == secrets


@pytest.mark.parametrize("value", [f'["{CANARY}', f'["{CANARY}", 1]', f'["{CANARY}"] and more', '["' + "[" * 99_999])
def test_a_list_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^TENURE_WEBHOOK_SECRETS: begins like a JSON list") as caught:
        read(value)
    assert CANARY not in str(caught.value)


def test_how_many_there_are_is_counted_as_they_are_written(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("\ufefffirst\nsecond,third\n", encoding="utf-8")
    settings = load({"TENURE_WEBHOOK_SECRETS": "sec,ret", "TENURE_READER_TOKENS_FILE": str(tokens)})
    assert settings.counted() == {"webhook_secrets": 2, "reader_tokens": 3}
    assert settings.reader_tokens[0].get_secret_value() == "first"


RAW = [
    f"redis://:{CANARY}#x@host:6379/0",
    "redis://:12#34@host:6379/0",
    f"redis://:{CANARY}/x@host:6379/0",
    "redis://:12/34@host:6379/0",
    f"redis://:{CANARY}?x@host:6379/0",
    "redis://:12?34@host:6379/0",
    "redis://:12?3=4@host:6379/0",
    f"redis://:p@s/{CANARY}@host:6379/0",
    f"rediss://user:[{CANARY}@host:6379/0",
    f"redis://:{CANARY}\u2105@host:6379/0",
    f"redis://:{CANARY}\nx@host:6379/0",
    f"redis://:{CANARY}\tx@host:6379/0",
    f"unix://:12/{CANARY}@/run/redis.sock",
    f"unix://:12#{CANARY}@/run/redis.sock",
    f"redis://host:6379/0?{CANARY}=1",
]


@pytest.mark.parametrize("name", ["REDIS_URL", "BROKER_URL"])
@pytest.mark.parametrize("url", RAW)
def test_a_raw_character_that_changes_what_a_url_means_is_refused(name: str, url: str) -> None:
    """Given a password with such a character, then no other host is asked in silence, and the line says what to do."""
    with pytest.raises(SettingsError, match=f"^TENURE_{name}: .*percent-encode") as caught:
        load({f"TENURE_{name}": url})
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["REDIS_URL", "BROKER_URL"])
def test_another_kind_of_server_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^TENURE_{name}: begins with redis://, rediss:// or unix://$"):
        load({f"TENURE_{name}": f"amqp://u:{CANARY}@host/v"})


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://:p@ss@host:6379/3", 3),
        ("redis://:100%@host", 0),
        ("redis://:a b:c@host/1", 1),
        ("redis://u:%40%23%2F%3F%25@host:6379/2?socket_timeout=3", 2),
        ("rediss://host:6380?db=4&ssl_cert_reqs=none", 4),
        ("unix:///run/user@1000/redis.sock?db=5&password=p@ss", 5),
        ("unix://u:p@/run/redis@1.sock", 0),
        ("redis://:p@ss,w:ord@host:6379,[::1]:7,other/3", 3),
        ("rediss://u:p@host,other:26379/0?primary=a%2Fb&sentinel_password=p%40ss&ssl_ca_certs=%2Fca", 0),
    ],
)
def test_a_url_that_clients_read_as_it_is_meant_is_taken(url: str, database: int) -> None:
    settings = load({"TENURE_REDIS_URL": url})
    assert settings.store_url() == url
    assert load({"TENURE_REDIS_URL": settings.queue_url()}).queue_url() != url
    assert f"{database + 1}" in settings.queue_url()


def test_an_address_says_who_is_asked_and_how() -> None:
    """Given an address with all that it may have, when it is read, then each part is where it belongs."""
    found = locate(
        "rediss://us%2Fer:p%40ss,w@host,[::1]:7/2?primary=a%20b&sentinel_username=s&sentinel_password=p%2540&socket_timeout=3"
    )
    assert found.hosts == (Host("host", 6379), Host("::1", 7))
    assert (found.tls, found.socket, found.database, found.primary) == (True, None, 2, "a b")
    assert found.options == {"username": "us/er", "password": "p@ss,w", "db": 2, "socket_timeout": 3.0}
    assert found.sentinel == {"username": "s", "password": "p%40"}
    assert str(found.hosts[1]) == "[::1]:7"


@pytest.mark.parametrize("url", ["redis://host,/0", "redis://,host", "redis://host,other/x", "redis://host,other:p/0"])
def test_several_hosts_are_each_a_host(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^TENURE_REDIS_URL: "):
        load({"TENURE_REDIS_URL": url})


@pytest.mark.parametrize(
    ("store", "broker", "apart"),
    [
        ("redis://a,b/0", "redis://b:6379/0", False),
        ("redis://a,b/0", "redis://b:6379/1", True),
        ("redis://a,b/0", "redis://c/0", True),
        ("unix:///run/a", "unix:///run/a", False),
        ("unix:///run/a", "unix:///run/b", True),
    ],
)
def test_a_broker_has_its_own_database(store: str, broker: str, apart: bool) -> None:
    given = {"TENURE_REDIS_URL": store, "TENURE_BROKER_URL": broker}
    if apart:
        assert load(given).queue_url() == broker
    else:
        with pytest.raises(SettingsError, match=r"^TENURE_BROKER_URL: give the broker its own database"):
            load(given)


def test_a_key_whose_line_breaks_are_written_out_is_the_key() -> None:
    """As in a variable of one line."""
    made = rsa.generate_private_key(65537, 2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    given = {"TENURE_GITHUB_APP_ID": "7", "TENURE_GITHUB_PRIVATE_KEY": pem.replace("\n", "\\n")}
    key = load(given).github_private_key
    assert key is not None


@pytest.mark.parametrize("name", ["TENURE_WEBHOOK_SECRETS_FILE", ".env"])
def test_a_file_in_another_encoding_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"TENURE_LOG_LEVEL={CANARY}\n", encoding="utf-16")
    given = None if name == ".env" else {name: str(tmp_path / ".env")}
    with pytest.raises(SettingsError, match="UTF-8") as caught:
        load(given)
    assert str(caught.value).startswith(f"{name}: ")
    assert CANARY not in str(caught.value)


def test_a_misspelt_setting_is_named() -> None:
    given = dict.fromkeys(
        [
            "TENURE_WEBHOOK_SECRET",
            "TENURE_GITHUB_APPID",
            "TENURE_LOG_LEVEL",
            "TENURE_REDIS_URL_FILE",
            "TENURE_URL",
            "HOME",
        ],
        "x",
    )
    assert misspelt(given) == {
        "TENURE_WEBHOOK_SECRET": "TENURE_WEBHOOK_SECRETS",
        "TENURE_GITHUB_APPID": "TENURE_GITHUB_APP_ID",
    }

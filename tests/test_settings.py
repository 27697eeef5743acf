"""Settings: what is bad stops the start with one line that names it, and never says what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.settings import SettingsError, load

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

"""What stops a start, and with which line."""

import os
from pathlib import Path

import pytest

from telelink_gateway.settings import Settings
from telelink_shared.web.startup import StartupError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in os.environ:
        if name.startswith("TELELINK_"):
            monkeypatch.delenv(name)


def refusal(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as refused:
        Settings.load()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_without_any_variable_the_defaults_hold():
    settings = Settings.load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.churn_url, settings.clv_url) == ("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    assert (settings.deadline_s, settings.batch_deadline_s, settings.drain_s) == (2.0, 10.0, 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHURN_URL", "churn-service:8001"),
        ("CHURN_URL", "ftp://churn-service"),
        ("CLV_URL", "http://"),
        ("CLV_URL", "http://clv-service:99999"),
        ("HISTORY_URL", "history.db"),
        ("HISTORY_URL", "sqlite:///"),
        ("HISTORY_URL", "mysql://db/telelink"),
        ("HISTORY_URL", "postgresql://db/telelink?no_such=1"),
        ("HISTORY_PASSWORD_FILE", "/no/such/file"),
        ("HISTORY_RETENTION_DAYS", "0"),
        ("IDEMPOTENCY_HOURS", "25"),
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("DEADLINE_S", "0"),
        ("DEADLINE_S", "nan"),
        ("DEADLINE_S", "soon"),
        ("BATCH_DEADLINE_S", "301"),
        ("HIGH_VALUE_FROM_USD", "-1"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_does_not_fit_stops_the_start_with_one_line_that_names_the_variable(monkeypatch, name, value):
    assert refusal(monkeypatch, f"TELELINK_{name}", value).startswith(f"TELELINK_{name}: ")


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("TELELINK_CHURN_ULR", "TELELINK_CHURN_URL"), ("TELELINK_DEADLINE", "TELELINK_DEADLINE_S")]
)
def test_a_misspelt_name_stops_the_start_with_a_suggestion(monkeypatch, misspelt, meant):
    assert refusal(monkeypatch, misspelt, "1") == f"unknown setting {misspelt}: did you mean {meant}?"


def test_a_name_like_no_other_stops_the_start_with_those_that_are_known(monkeypatch):
    reason = refusal(monkeypatch, "TELELINK_XYZZY", "1")
    assert all(name in reason for name in Settings.names())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELELINK_CHURN_URL", "ftp://user:hunter2@host"),  # pragma: allowlist secret
        ("TELELINK_HISTORY_URL", "mysql://user:hunter2@host"),  # pragma: allowlist secret
        ("TELELINK_HISTORY_URL", "postgresql://user@host/db?hunter2"),
    ],
)
def test_the_line_does_not_repeat_the_value(monkeypatch, name, value):
    assert "hunter2" not in refusal(monkeypatch, name, value)


def test_the_settings_do_not_show_a_password(tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    settings = Settings(history_url="postgresql://user:hunter2@host/db", history_password_file=tmp_path / "password")
    assert settings.history_path is None
    assert settings.history_password.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{settings!r} {settings} {settings.history_password}"


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_variable_is_one_that_is_not_set(monkeypatch, name):
    monkeypatch.setenv(f"TELELINK_{name.upper()}", "")
    assert getattr(Settings.load(), name) == Settings.model_fields[name].default


def test_a_slash_at_the_end_of_an_address_makes_no_difference(monkeypatch):
    monkeypatch.setenv("TELELINK_CHURN_URL", "http://churn-service:8001/")
    assert Settings.load().churn_url == "http://churn-service:8001"


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///var/history.db", "var/history.db"), ("sqlite:////data/history.db", "/data/history.db")],
)
def test_the_history_is_a_relative_or_an_absolute_file(url, path):
    assert Settings(history_url=url).history_path == Path(path)

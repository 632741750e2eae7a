"""Settings of the export: defaults, the earlier names, and what is refused without a secret in the message."""

from __future__ import annotations

import pytest

from qpipe_resources.export_settings import ExportSettingsError, load_export_settings


def test_the_defaults_are_those_of_the_earlier_deployment() -> None:
    settings = load_export_settings()
    assert (settings.transfers, settings.checkers, settings.timeout_seconds, settings.schedule) == (8, 4, 3600, "")


def test_the_earlier_names_are_read_where_today_s_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("R2_SYNC_TRANSFERS", "3")
    monkeypatch.setenv("R2_SYNC_CHECKERS", "2")
    monkeypatch.setenv("QPIPE_EXPORT_CHECKERS", "5")
    monkeypatch.setenv("R2_SYNC_SCHEDULE", "0 6 * * *")
    settings = load_export_settings()
    assert (settings.transfers, settings.checkers, settings.schedule) == (3, 5, "0 6 * * *")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("R2_SYNC_TRANSFERS", "0", "R2_SYNC_TRANSFERS='0': "),
        ("QPIPE_EXPORT_TRANSFERS", "many", "QPIPE_EXPORT_TRANSFERS='many': "),
        ("QPIPE_EXPORT_SCHEDULE", "daily", "QPIPE_EXPORT_SCHEDULE='daily': expected a cron expression"),
        ("QPIPE_EXPORT_S3_ACCESS_KEY_ID", "key", "belong together"),
        ("QPIPE_EXPORT_S3_ENDPOINT", "https://user:hidden@host", r"QPIPE_EXPORT_S3_ENDPOINT=\(hidden\): "),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ExportSettingsError, match=words) as error:
        load_export_settings()
    assert "user:hidden" not in str(error.value)


def test_the_target_has_a_key_of_its_own_and_errors_name_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QPIPE_EXPORT_S3_ACCESS_KEY_ID", "theirs")
    monkeypatch.setenv("QPIPE_EXPORT_S3_SECRET_ACCESS_KEY", "very-secret")
    access = load_export_settings().access
    assert access.session == {"aws_access_key_id": "theirs", "aws_secret_access_key": "very-secret"}
    assert "very-secret" not in repr(access)
    assert "QPIPE_EXPORT_S3_SECRET_ACCESS_KEY" in access.keys

"""Settings of the notifications: off unless somebody is named, and refused with the variable's name."""

from __future__ import annotations

import pytest

from qpipe_resources.notify.settings import NotifySettings, NotifySettingsError, load_notify_settings


def test_nobody_is_told_unless_an_address_or_a_webhook_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load_notify_settings().enabled
    monkeypatch.setenv("QPIPE_NOTIFY_EMAIL_TO", "a@example.com, b@example.com")
    assert load_notify_settings().email_to == ("a@example.com", "b@example.com")
    monkeypatch.delenv("QPIPE_NOTIFY_EMAIL_TO")
    monkeypatch.setenv("QPIPE_NOTIFY_WEBHOOK", "https://chat.example.com/hooks/1")
    assert load_notify_settings().enabled


def test_the_address_of_the_airflow_deployment_is_taken_where_ours_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_ALERT_EMAIL", "quantum_alerts@example.com")
    assert load_notify_settings().email_to == ("quantum_alerts@example.com",)
    monkeypatch.setenv("QPIPE_NOTIFY_EMAIL_TO", "mine@example.com")
    assert load_notify_settings().email_to == ("mine@example.com",)


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"QPIPE_NOTIFY_EMAIL_TO": "nobody"}, "QPIPE_NOTIFY_EMAIL_TO='nobody': expected addresses like"),
        ({"QPIPE_NOTIFY_EMAIL_TO": "(lab)@example.com"}, "QPIPE_NOTIFY_EMAIL_TO=.*expected addresses like"),
        ({"QPIPE_NOTIFY_EMAIL_FROM": "me\nBcc: x@y"}, r"QPIPE_NOTIFY_EMAIL_FROM=.*expected an address"),
        ({"QPIPE_NOTIFY_EMAIL_FROM": "me;you:@example.com"}, r"QPIPE_NOTIFY_EMAIL_FROM=.*expected an address"),
        ({"QPIPE_SMTP_USER": "jürgen"}, "QPIPE_SMTP_USER='jürgen': expected ASCII"),
        ({"QPIPE_SMTP_SECURITY": "ssl"}, "QPIPE_SMTP_SECURITY='ssl': Input should be 'starttls', 'tls' or 'none'"),
        ({"QPIPE_SMTP_PORT": "70000"}, "QPIPE_SMTP_PORT='70000'"),
        ({"QPIPE_SMTP_USER": "me"}, "QPIPE_SMTP_USER and QPIPE_SMTP_PASSWORD go together"),
        ({"QPIPE_NOTIFY_SUCCESS": "all,maintenance"}, "all and none stand alone"),
        ({"QPIPE_UI_URL": "dagster.example.com"}, "QPIPE_UI_URL='dagster.example.com'"),
        ({"QPIPE_NOTIFY_TIMEOUT": "nan"}, "QPIPE_NOTIFY_TIMEOUT"),
        (
            {
                "QPIPE_SMTP_USER": "me",
                "QPIPE_SMTP_PASSWORD": "s3cret",
                "QPIPE_SMTP_SECURITY": "none",
                "QPIPE_SMTP_HOST": "mail.example.com",
            },
            "QPIPE_SMTP_SECURITY=none would send the password to mail.example.com in clear",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], refusal: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotifySettingsError, match=refusal) as raised:
        load_notify_settings()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("QPIPE_NOTIFY_WEBHOOK", "ftp://chat.example.com/hooks/T0K3N", "expected http"),
        ("QPIPE_NOTIFY_WEBHOOK", "https://chat.example.com/hooks/T0K3N-ö", "expected http.* in ASCII"),
        ("QPIPE_NOTIFY_WEBHOOK", "https://chät.example.com/T0K3N", "expected http.* in ASCII"),
        ("QPIPE_NOTIFY_WEBHOOK", "https://chat.example.com:99999/T0K3N", "expected http.* port"),
        ("QPIPE_NOTIFY_WEBHOOK", "https://[T0K3N/", "expected http"),
        ("QPIPE_NOTIFY_WEBHOOK", "https://chat..example.com/T0K3N", "expected http"),
        ("QPIPE_SMTP_PASSWORD", "T0K3N-ö", "expected ASCII"),
    ],
)
def test_a_secret_that_could_not_be_sent_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(NotifySettingsError, match=rf"{variable}=\*\*\*: {expected}") as raised:
        load_notify_settings()
    assert "T0K3N" not in str(raised.value)


def test_the_port_follows_the_security_of_the_connection() -> None:
    ports = [NotifySettings(smtp_security=security).port for security in ("none", "starttls", "tls")]  # type: ignore[arg-type]
    assert ports == [25, 587, 465]


def test_each_job_is_told_of_as_chosen() -> None:
    settings = NotifySettings(success=("maintenance",), failure=("all",))
    assert settings.wants("maintenance", True) and not settings.wants("vqe_batch_generation", True)
    assert settings.wants("vqe_batch_generation", False)
    assert not NotifySettings(success=("none",)).wants("maintenance", True)

"""The smoke test's machine: words are translated, services start in order, and are gone afterwards, whatever was."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from deploy import compose, environment
from deploy.compose import Mount, Service
from deploy.smoke import machine as machine_module
from deploy.smoke.drive import Drive
from deploy.smoke.machine import Machine, SmokeError
from deploy.smoke.programs import NOT_HERE, PROGRAMS, Program
from deploy.smoke.translation import Translation

NETWORK = 199
"""The smoke test itself takes others."""
WORDS = Translation(
    {"kafka": "127.1.0.2", "kafka-exporter": "127.1.0.3", "registry": "127.1.0.4", "postgres": "127.1.0.5"},
    "127.1.0.9",
    {"/tmp": "/here/tmp", "/var/lib/kafka/data": "/here/kafka", "/garage": "/opt/garage"},
)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("PLAINTEXT://kafka:9092,C://0.0.0.0:9093", "PLAINTEXT://127.1.0.2:9092,C://127.1.0.9:9093"),
        ("http://kafka-exporter:9308/healthz", "http://127.1.0.3:9308/healthz"),
        ("1@kafka:9093", "1@127.1.0.2:9093"),
        ("exec 3<>/dev/tcp/registry/8081", "exec 3<>/dev/tcp/127.1.0.4/8081"),
        ("postgresql+psycopg2://qpipe@postgres:5432/qpipe", "postgresql+psycopg2://qpipe@127.1.0.5:5432/qpipe"),
        ("jdbc:postgresql://postgres:5432/registry", "jdbc:postgresql://127.1.0.5:5432/registry"),
        ("host: postgres\nname: postgres", "host: 127.1.0.5\nname: postgres"),
        ("localhost:9094 s3.garage.localhost", "127.1.0.9:9094 s3.garage.localhost"),
        ("log.dirs=/var/lib/kafka/data", "log.dirs=/here/kafka"),
        ("/tmp/x=/usr/tmp/y /tmpfs", "/here/tmp/x=/usr/tmp/y /tmpfs"),
        (
            "image: redpandadata/connect:4.31.0 at kafka.example:9092",
            "image: redpandadata/connect:4.31.0 at kafka.example:9092",
        ),
    ],
)
def test_addresses_and_paths_are_translated_and_nothing_else(said: str, meant: str) -> None:
    assert WORDS.text(said) == meant


def test_a_name_alone_is_an_address_only_after_a_word_that_says_so() -> None:
    said = ["postgres", "--host", "postgres", "--username", "postgres"]
    assert WORDS.command(said) == ["postgres", "--host", "127.1.0.5", "--username", "postgres"]
    assert WORDS.environment({"PGHOST": "postgres", "PGUSER": "postgres"}) == {
        "PGHOST": "127.1.0.5",
        "PGUSER": "postgres",
    }


def service(name: str, code: str, after: Mapping[str, str] | None = None, check: str | None = None) -> Service:
    return Service(
        name=name,
        image="tool:1.0",
        command=("-c", code),
        environment={"WHO": name},
        mounts=(Mount("shared", "/data"),),
        depends_on=after or {},
        check=(sys.executable, "-c", check) if check else None,
        stop_signal="SIGTERM",
    )


SERVE = "import os, time; open('/data/' + os.environ['WHO'], 'w').write(str(time.time())); time.sleep(60)"
WELL = "import os, sys; sys.exit(not os.path.exists('/data/' + os.environ['WHO']))"
TOOL = {"tool": lambda: Program("a tool", entrypoint=(sys.executable,))}


def build(folder: Path, services: list[Service], told: list[str]) -> Machine:
    return Machine(folder, {one.name: one for one in services}, NETWORK, told.append, TOOL)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    yield
    assert [one for one in psutil.Process().children(recursive=True) if one.pid not in before] == []


def test_services_start_when_those_before_them_are_well_and_end_after_those_behind_them(
    tmp_path: Path, told: list[str]
) -> None:
    once = "import os; assert os.path.exists('/data/store'); open('/data/init', 'w').close()"
    machine = build(
        tmp_path,
        [
            service("user", SERVE, {"init": "service_completed_successfully"}, WELL),
            service("init", once, {"store": "service_healthy"}),
            service("store", SERVE, check=WELL),
        ],
        told,
    )
    try:
        machine.up()
        assert [line.split()[0] for line in told] == ["store", "init", "user"]
        assert {name: local.process.pid is not None for name, local in machine.services.items()} == {
            "user": True,
            "init": False,
            "store": True,
        }
    finally:
        machine.down()
    assert {path.name for path in (tmp_path / "volumes" / "shared").iterdir()} == {"store", "init", "user"}


def test_a_service_that_ends_is_told_with_its_last_words(tmp_path: Path, told: list[str]) -> None:
    machine = build(tmp_path, [service("store", "raise SystemExit('no disk')", check=WELL)], told)
    with pytest.raises(SmokeError, match="store ended while it started; its log ends:\nno disk"):
        machine.up()
    machine.down()


def test_a_set_up_that_fails_is_told_and_what_ran_by_then_is_taken_down(tmp_path: Path, told: list[str]) -> None:
    store = service("store", SERVE, check=WELL)
    init = service("init", "raise SystemExit('refused')", {"store": "service_healthy"})
    machine = build(tmp_path, [store, init], told)
    with pytest.raises(SmokeError, match="init ended with 1:\nrefused"):
        machine.up()
    assert machine.services["store"].process.pid is not None
    machine.down()


def test_a_service_that_is_never_well_is_given_up(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "START_SECONDS", 0.5)
    machine = build(tmp_path, [service("store", SERVE, check="raise SystemExit(1)")], told)
    with pytest.raises(SmokeError, match="store is not healthy after"):
        machine.up()
    machine.down()


def test_services_that_wait_for_each_other_are_told(tmp_path: Path, told: list[str]) -> None:
    one = service("one", SERVE, {"two": "service_healthy"}, WELL)
    two = service("two", SERVE, {"one": "service_healthy"}, WELL)
    with pytest.raises(SmokeError, match="one, two wait for each other"):
        build(tmp_path, [one, two], told).up()


def test_who_does_not_end_when_asked_is_killed(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_module, "_STOP_SECONDS", 0.5)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVE
    machine = build(tmp_path, [service("store", deaf, check=WELL)], told)
    machine.up()
    begun = time.monotonic()
    machine.down()
    assert time.monotonic() - begun < 10
    assert "it is killed" in told[-1]


def test_a_service_has_nothing_of_the_callers_settings(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "the caller's")
    machine = build(tmp_path, [service("store", SERVE)], told)
    assert "PGPASSWORD" not in machine.services["store"].environment
    assert machine.services["store"].environment["PATH"] == os.environ["PATH"]


def test_every_image_of_the_default_profile_has_a_program_or_a_reason() -> None:
    made = {name: "made" for name in environment.MADE}
    images = {one.repository for one in compose.services(made).values()}
    assert images == set(PROGRAMS) | set(NOT_HERE)


def test_every_step_of_the_user_says_what_it_is(tmp_path: Path, told: list[str]) -> None:
    steps = Drive(build(tmp_path, [], told)).steps
    assert len(steps) >= 9
    assert all(act.__doc__ for act in steps.values())

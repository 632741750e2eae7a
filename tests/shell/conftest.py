"""One `dagster dev` for all tests of this folder: starting it takes longer than most of them.

They stay in one process when tests run in several (the group "daemon").
"""

from collections.abc import Iterator

import pytest

from tests.daemon import Daemon, Shell, dagster_dev


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell.with_home(tmp_path_factory.mktemp("shell") / "home")


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    shell = Shell.with_home(tmp_path_factory.mktemp("daemon") / "home")
    with dagster_dev(shell) as running:
        yield running

"""`qpipe home`: where the data lies, and Dagster's home made ready."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from qpipe_resources.settings import Settings, load_settings

_INSTANCE_FILE = Path(__file__).resolve().parents[1] / "dagster.yaml"


def home() -> None:
    """Make the homes ready and print the shell lines that name them: eval "$(qpipe home)"."""
    settings = prepare_home()
    print(f"export QPIPE_HOME={shlex.quote(str(settings.home))}")
    print(f"export DAGSTER_HOME={shlex.quote(str(settings.dagster_home))}")


def prepare_home() -> Settings:
    """Create QPIPE_HOME and DAGSTER_HOME, with the project's dagster.yaml unless there is one."""
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    instance_file = settings.dagster_home / "dagster.yaml"
    if not instance_file.exists() and _INSTANCE_FILE.exists():
        shutil.copyfile(_INSTANCE_FILE, instance_file)
    return settings

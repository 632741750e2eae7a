"""`make env`: writes .env for docker-compose.yml from .env.example, with secrets made here, for its owner alone.

`python -m deploy.environment [FILE]`. What stands in the file stays; only what is missing is added.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.services.state import write_private

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / ".env.example"


def _password() -> str:
    return secrets.token_hex(20)


MADE: Mapping[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": _password,
    "CATALOG_POSTGRES_PASSWORD": _password,
    "DAGSTER_POSTGRES_PASSWORD": _password,
    "REGISTRY_POSTGRES_PASSWORD": _password,
    "EXPORTER_POSTGRES_PASSWORD": _password,
    # Garage takes a key of this form only.
    "GARAGE_KEY_ID": lambda: f"GK{secrets.token_hex(12)}",
    "GARAGE_KEY_SECRET": lambda: secrets.token_hex(32),
    "GARAGE_RPC_SECRET": lambda: secrets.token_hex(32),
    "GARAGE_ADMIN_TOKEN": lambda: secrets.token_hex(32),
    "GRAFANA_ADMIN_PASSWORD": _password,
}
"""The secrets without which docker-compose.yml starts nothing, and how each is made.

None has a name that a program of this machine would read: every `dagster` command takes .env of its folder before the
environment.
"""

CHOICES = ("COMPOSE_PROFILES", "CUDA_ARCH", "SPARK_WORKER_CORES", "SPARK_WORKER_MEMORY", "SPARK_WORKER_LIMIT")
"""What only docker-compose.yml reads; the other settings are comments in a new .env, for the same reason."""

_HEAD = """\
# Written by `make env` for docker-compose.yml. Dagster's commands in this folder take it before the environment, too:
# so settings that both read are comments, to be uncommented where this server shall have another value.

"""


def variables(text: str) -> dict[str, str]:
    """The variables that a file in the form of .env sets; the last one counts, quotes around a value are taken off."""
    found = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign and not name.lstrip().startswith("#"):
            found[name.strip().removeprefix("export ")] = value.strip().strip("'\"")
    return found


def write(target: Path, example: str) -> list[str]:
    """Write or complete the file; returns the names of the secrets that were made.

    Args:
        target: The file; its owner alone may read it afterwards, also where it was there.
        example: What a new file is made from.
    """
    if target.exists():
        text = target.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            text += "\n"
    else:
        text = _HEAD + "".join(_in_a_new_file(line) for line in example.splitlines(keepends=True))
    missing = [name for name in MADE if not variables(text).get(name)]
    for name in missing:
        line = f"{name}={MADE[name]()}\n"
        empty = next((old for old in (f"#{name}=\n", f"{name}=\n") if f"\n{old}" in f"\n{text}"), None)
        text = f"\n{text}".replace(f"\n{empty}", f"\n{line}", 1)[1:] if empty else text + line
    if missing or not target.exists():
        write_private(target, text)
    target.chmod(0o600)
    return missing


def _in_a_new_file(line: str) -> str:
    name = line.partition("=")[0]
    return f"#{line}" if name.isidentifier() and name not in CHOICES else line


def main() -> None:
    """Write .env, or the file that the command line names, and say what was made; never a value."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".env"
    made = ", ".join(write(target, EXAMPLE.read_text(encoding="utf-8")))
    print(f"{target}: {'made ' + made if made else 'nothing was missing'}")


if __name__ == "__main__":
    main()

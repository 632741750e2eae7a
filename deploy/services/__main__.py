"""`python -m deploy.services up|down|status`: what `make services` and `make services-down` call."""

from __future__ import annotations

import argparse
import sys

from deploy.services.errors import ServiceError
from deploy.services.programs import tell
from deploy.services.stack import Stack


def main() -> int:
    """Do what the command line asks; returns the exit status."""
    parser = argparse.ArgumentParser(prog="deploy.services", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status"))
    action = parser.parse_args().action
    try:
        if action == "up":
            Stack.up()
        elif action == "down":
            Stack().down()
        else:
            return _status(Stack())
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _status(stack: Stack) -> int:
    down = 0
    for name, service in stack.services.items():
        pid = stack.pid(name)
        down += pid is None
        tell(f"{service.title:<28} {'not running' if pid is None else f'process {pid}'}; log: {service.process.log}")
    return 1 if down else 0


if __name__ == "__main__":
    sys.exit(main())

"""The `qpipe` command as an operator uses it, with an environment that can be wrong."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.daemon import BIN
from tests.integration.fault_schedule import ROOT, ProcessVictim, until

IMPATIENT = {"KAFKA_RETRIES": "2", "KAFKA_RETRY_DELAY": "0.5", "KAFKA_TIMEOUT": "4", "KAFKA_INTERNAL_RETRIES": "1"}
"""An outage is told after seconds instead of half a minute."""
PATIENT = {"KAFKA_RETRIES": "3", "KAFKA_TIMEOUT": "60", "KAFKA_INTERNAL_RETRIES": "5"}
"""What must succeed may wait, for a service that has only just started or for a busy machine."""
COMMAND_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    said: str
    """On standard error, where messages go."""
    printed: str

    def names(self, *words: str) -> None:
        """Assert that the message has all of these words, and is one for people: no traceback."""
        missing = [word for word in words if word.lower() not in self.said.lower()]
        assert not missing, f"the message does not name {missing}:\n{self.said}"
        assert "Traceback" not in self.said, self.said


@dataclass(frozen=True)
class Operator:
    """Somebody at a shell with these variables."""

    environment: Mapping[str, str]
    folder: Path
    prefix: tuple[str, ...] = field(default=())
    """Command that runs the command, for a machine in a special state."""

    def with_(self, **variables: str) -> Operator:
        """The same with other variables."""
        return Operator({**self.environment, **variables}, self.folder, self.prefix)

    def within(self, *prefix: str) -> Operator:
        """The same on a machine in the state that the prefix makes."""
        return Operator(self.environment, self.folder, prefix)

    @property
    def _all(self) -> dict[str, str]:
        return os.environ | dict(self.environment) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def qpipe(self, *arguments: str) -> Answer:
        """Run one command to its end."""
        done = subprocess.run(
            [*self.prefix, str(BIN / "qpipe"), *arguments],
            cwd=ROOT,
            env=self._all,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        return Answer(done.returncode, done.stderr, done.stdout)

    def does(self, *arguments: str) -> Answer:
        """Run one command that must succeed, however impatient its somebody is otherwise."""
        answer = self.with_(**PATIENT).qpipe(*arguments)
        assert answer.code == 0, f"qpipe {' '.join(arguments)} ended with {answer.code}:\n{answer.said}{answer.printed}"
        return answer

    @contextmanager
    def sink(self) -> Iterator[Sink]:
        """A running `qpipe sink`; it must end in good order."""
        process = ProcessVictim("sink", [str(BIN / "qpipe"), "sink"], self._all, self.folder / "sink.log")
        process.start()
        try:
            yield Sink(process)
            assert process.end() == 0, process.tail()
        finally:
            process.kill()


@dataclass(frozen=True)
class Sink:
    """A sink at work."""

    process: ProcessVictim

    def says(self, *words: str, seconds: float = 60.0) -> None:
        """Wait until its log has a line with all of these words; it must stay alive."""

        def said() -> bool:
            assert self.process.running(), f"the sink ended by itself\n{self.process.tail()}"
            lines = self.process.log.read_text(errors="replace").lower().splitlines()
            return any(all(word.lower() in line for word in words) for line in lines)

        try:
            until(said, seconds, f"a line with {words}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.tail()}") from error

    def until(self, probe: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        """Wait until something is true that the sink brings about."""
        try:
            until(probe, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.tail()}") from error

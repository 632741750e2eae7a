"""Where things lie in the raw object store: the ONE place that knows its folders."""

from __future__ import annotations

import hashlib

from qpipe_resources.object_store import validate_key

EXPERIMENTS = "experiments/"
"""Results, below one folder a topic."""
JSON, AVRO = ".json", ".avro"
"""Endings of results' keys: JSON documents, or an Avro container file."""
QUARANTINE = "quarantine/"
"""Copies of objects that cannot be decoded."""
DEAD_LETTERS = "dead-letters/"
"""Messages that cannot be decoded, below one folder a topic, each with its reason."""
MOLECULE_FOLDER = "molecule="
_DIGITS = 12


def molecule_folder(topic: str, molecule: str) -> str:
    """Where the new results of a molecule lie: `experiments/<topic>/molecule=<M>/`."""
    return f"{EXPERIMENTS}{topic}/{MOLECULE_FOLDER}{molecule}/"


def result_key(topic: str, molecule: str, date: str, name: str, ending: str = JSON) -> str:
    """Key of a new result: `experiments/<topic>/molecule=<M>/year=/month=/day=/<name>.json` (or `.avro`).

    Args:
        topic: Kafka's, whether it came that way or not.
        molecule: The molecule's partition key.
        date: ISO 8601, of which the day counts.
        name: The experiment's identity for what is written directly, `<topic>+<partition>+<offset>` for a sink's.
        ending: JSON or AVRO.

    Raises:
        InvalidKeyError: a part cannot be part of a key.
    """
    year, month, day = date[:10].split("-")
    return validate_key(f"{molecule_folder(topic, molecule)}year={year}/month={month}/day={day}/{name}{ending}")


def key_apart(key: str, molecule: str, document: bytes) -> str:
    """Key of a record that cannot be used, taken out of the object of several in which it lies.

    `experiments/<topic>/molecule=<M>/apart/<name of the object>+<digest>.<ending>`: the same for the same record.
    """
    topic = key.removeprefix(EXPERIMENTS).partition("/")[0]
    stem, dot, ending = key.rpartition("/")[2].rpartition(".")
    return validate_key(f"{molecule_folder(topic, molecule)}apart/{stem}+{digest(document)}{dot}{ending}")


def digest(data: bytes) -> str:
    """What tells data from other data that would have the same name."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def message_name(topic: str, partition: int, offset: int) -> str:
    """Name of a sink's object: the same message always has the same, so that writing it again does no harm."""
    return f"{topic}+{partition}+{offset}"

"""Whose backup a folder is (`backup.json`): one installation's, and nobody else's while it is taken."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from qpipe_assets.backup.manifest import BackupDamagedError
from qpipe_assets.tables import schemas
from qpipe_resources.durable_files import write_lines
from qpipe_resources.object_store import make_durable_folder
from qpipe_resources.opening import open_lakehouse
from qpipe_resources.settings import Settings

OWNER = "backup.json"


@dataclass(frozen=True)
class Origin:
    """What a backup is taken of; holds no secret.

    Attributes:
        installation: what tells it from others.
        warehouse: URI below which its catalog's tables lie; None where an earlier version took the backup.
    """

    installation: str
    warehouse: str | None


def origin_of(settings: Settings) -> Origin:
    """What a backup with these settings is taken of."""
    return Origin(_installation_of(settings), open_lakehouse(settings, schemas.NAMESPACE).warehouse)


def read_origin(folder: Path) -> Origin | None:
    """What the backup in this folder was taken of; None where there is no backup.

    Raises:
        BackupDamagedError: it cannot be understood.
    """
    try:
        said = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return Origin(said["installation"], said.get("warehouse"))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise BackupDamagedError(f"{folder} is a file: name a folder") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackupDamagedError(f"{folder / OWNER} cannot be understood ({error}): name another folder") from error


def _installation_of(settings: Settings) -> str:
    if settings.env == "local":
        return f"folder {settings.home}"
    from qpipe_resources.catalog_database import postgresql_url

    url = postgresql_url(settings.catalog_uri.get_secret_value())
    return (
        f"bucket {settings.s3_raw_bucket} at {settings.s3_endpoint}, database {url.database} at {url.host}:{url.port}"
    )


@contextmanager
def taken_for(folder: Path, origin: Origin) -> Iterator[None]:
    """Keep a folder for the backup of one installation, and others from it meanwhile.

    Raises:
        ValueError: it holds something else, another installation's backup, or one is under way; nothing was changed.
    """
    _refuse_others(folder, origin)
    make_durable_folder(folder)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another backup into {folder} is under way: wait for it") from None
        yield


@contextmanager
def brought_up_to_date(folder: Path, origin: Origin) -> Iterator[None]:
    """While a folder is changed it says that its backup is not complete; afterwards, since when it is."""
    _write(folder, origin, None)
    yield
    _write(folder, origin, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))


def _write(folder: Path, origin: Origin, complete: str | None) -> None:
    write_lines(folder / OWNER, [json.dumps({**asdict(origin), "complete": complete})])


def _refuse_others(folder: Path, origin: Origin) -> None:
    found = read_origin(folder)
    if found is None:
        if folder.exists() and not all(path.name.startswith((".lock", ".tmp-")) for path in folder.iterdir()):
            raise ValueError(f"{folder} is no backup, and not empty: name an empty folder, or one to make")
    elif found.installation != origin.installation:
        raise ValueError(f"{folder} is the backup of another installation ({found.installation}): name another folder")

"""Whose backup a folder is (`backup.json`): one installation's, and nobody else's meanwhile."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qpipe_assets.backup.durable_files import write_lines
from qpipe_resources.object_store import make_durable_folder
from qpipe_resources.settings import Settings

OWNER = "backup.json"


def installation_of(settings: Settings) -> str:
    """What tells this installation from others; holds no secret."""
    if settings.env == "local":
        return f"folder {settings.home}"
    from qpipe_resources.catalog_database import postgresql_url

    url = postgresql_url(settings.catalog_uri.get_secret_value())
    return (
        f"bucket {settings.s3_raw_bucket} at {settings.s3_endpoint}, database {url.database} at {url.host}:{url.port}"
    )


@contextmanager
def taken_for(folder: Path, installation: str) -> Iterator[None]:
    """Keep a folder for the backup of one installation, and others from it meanwhile; afterwards it says when that was.

    Raises:
        ValueError: it holds something else, another installation's backup, or one is under way; nothing was changed.
    """
    _refuse_others(folder, installation)
    make_durable_folder(folder)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another backup into {folder} is under way: wait for it") from None
        write_lines(folder / OWNER, [json.dumps({"installation": installation, "complete": None})])
        yield
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        write_lines(folder / OWNER, [json.dumps({"installation": installation, "complete": now})])


def _refuse_others(folder: Path, installation: str) -> None:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))["installation"]
    except FileNotFoundError:
        if folder.exists() and not all(path.name.startswith((".lock", ".tmp-")) for path in folder.iterdir()):
            raise ValueError(f"{folder} is no backup, and not empty: name an empty folder, or one to make") from None
        return
    except NotADirectoryError:
        raise ValueError(f"{folder} is a file: name a folder") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / OWNER} cannot be understood ({error}): name another folder") from error
    if owner != installation:
        raise ValueError(f"{folder} is the backup of another installation ({owner}): name another folder")

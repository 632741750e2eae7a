"""Counts the files that a lakehouse opens, through Arrow as through pyiceberg."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from pyarrow.fs import FileSystem, FileSystemHandler, PyFileSystem
from pyiceberg.io.pyarrow import PyArrowFileIO

from qpipe_resources.lakehouse import Lakehouse
from qpipe_resources.s3_files import S3FileIO


@dataclass
class OpenedFiles:
    """Locations of the files that were opened, as often as they were."""

    locations: list[str] = field(default_factory=list)

    @property
    def data(self) -> set[str]:
        """The data files."""
        return {location.rpartition("/")[2] for location in self.locations if location.endswith(".parquet")}

    @property
    def manifests(self) -> set[str]:
        """Manifests and lists of them."""
        return {location.rpartition("/")[2] for location in self.locations if location.endswith(".avro")}

    def forget(self) -> None:
        """Begin anew."""
        self.locations.clear()


class _Counted(FileSystemHandler):
    """A file system that may only be read from, and tells what is opened."""

    def __init__(self, files: FileSystem, opened: OpenedFiles) -> None:
        self._files = files
        self._opened = opened

    def get_type_name(self) -> str:
        return "counted"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        return self._files.get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        return self._files.get_file_info(selector)

    def open_input_stream(self, path: str) -> pa.PythonFile:
        self._opened.locations.append(path)
        return pa.PythonFile(self._files.open_input_stream(path), mode="r")

    def open_input_file(self, path: str) -> pa.PythonFile:
        self._opened.locations.append(path)
        return pa.PythonFile(self._files.open_input_file(path), mode="r")

    def _refused(self, *arguments: object) -> None:
        raise NotImplementedError("reads write nothing")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refused
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refused


def count_opened_files(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> OpenedFiles:
    """From now on, what the lakehouse opens is counted."""
    opened = OpenedFiles()
    monkeypatch.setitem(vars(lakehouse), "data_files", PyFileSystem(_Counted(lakehouse.data_files, opened)))

    def counted(original: Any) -> Any:
        def new_input(io: Any, location: str) -> Any:
            opened.locations.append(location)
            return original(io, location)

        return new_input

    for kind in (PyArrowFileIO, S3FileIO):
        monkeypatch.setattr(kind, "new_input", counted(kind.new_input))
    return opened

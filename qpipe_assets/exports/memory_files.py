"""Files that Iceberg's writers make, kept in memory by location until they are written to the target."""

from __future__ import annotations

import io

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream


class MemoryFiles(FileIO):
    """What was written, by location; a read finds what was written or put here."""

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, bytes] = {}

    def new_input(self, location: str) -> MemoryFile:
        """See FileIO."""
        return MemoryFile(location, self.contents)

    def new_output(self, location: str) -> MemoryFile:
        """See FileIO."""
        return MemoryFile(location, self.contents)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """See FileIO; a missing file is no error."""
        self.contents.pop(location if isinstance(location, str) else location.location, None)


class MemoryFile(InputFile, OutputFile):
    """One of them."""

    def __init__(self, location: str, contents: dict[str, bytes]) -> None:
        super().__init__(location)
        self._contents = contents

    def __len__(self) -> int:
        """See InputFile."""
        return len(self._contents[self.location])

    def exists(self) -> bool:
        """See InputFile."""
        return self.location in self._contents

    def open(self, seekable: bool = True) -> InputStream:
        """See InputFile."""
        return io.BytesIO(self._contents[self.location])

    def create(self, overwrite: bool = False) -> OutputStream:
        """See OutputFile: the content is there when the stream is closed."""
        return _Writing(self.location, self._contents)

    def to_input_file(self) -> MemoryFile:
        """See OutputFile."""
        return self


class _Writing(io.BytesIO):
    def __init__(self, location: str, contents: dict[str, bytes]) -> None:
        super().__init__()
        self._location = location
        self._contents = contents

    def close(self) -> None:
        if not self.closed:
            self._contents[self._location] = self.getvalue()
        super().close()

"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fpemu.errors import ArgumentError


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write bytes to, which takes the place of `path` when the block ends without an error.

    Until then, and if the process is killed, whatever was at `path` stays as it was: the bytes go to
    a file beside it, are brought to the disk, and that file is renamed.
    Raises `ArgumentError` if nothing can be written there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_whole(f"{folder}/a.txt") as out:
    ...         _ = out.write(b"whole")
    ...     Path(folder, "a.txt").read_bytes()
    b'whole'
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        out = open(partial, "wb")  # noqa: SIM115 (closed before it is renamed)
    except OSError as error:
        raise ArgumentError(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    try:
        with out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            said = error.strerror or error
            raise ArgumentError(f"cannot write {str(path)!r}: {said}") from None
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """`text` in UTF-8 as the whole file `path`; see `written_whole`."""
    with written_whole(path) as out:
        out.write(text.encode())

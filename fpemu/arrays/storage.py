"""Arrays in files: codes, with the format in the dtype.

`numpy.save` of an Array writes a structured array of one field, whose name says the format
("fpemu fp16"), so that the file is an ordinary .npy file, read by `numpy.load` and made an Array
again by `fpemu.asarray` or `load`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from fpemu.arrays.definition import Array, asarray
from fpemu.errors import ArgumentError, FpemuError
from fpemu.formats import Format, as_format

_PREFIX = "fpemu "


def field_of(f: Format) -> str:
    """The name of the field that holds codes of `f`: its name, or its parameters as JSON."""
    try:
        known = as_format(f.name) == f
    except FpemuError:
        known = False
    return _PREFIX + (f.name if known else json.dumps(dataclasses.asdict(f)))


def format_of(dtype: np.dtype) -> Format | None:
    """The format of a structured dtype made by `structured`, or None."""
    names = dtype.names
    if not names or len(names) != 1 or not names[0].startswith(_PREFIX):
        return None
    said = names[0].removeprefix(_PREFIX)
    try:
        return Format(**json.loads(said)) if said.startswith("{") else as_format(said)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"a stored array says format {said!r}: {error}") from None


def structured(x: Array) -> np.ndarray:
    """The codes of `x` in a structured array whose field names the format."""
    codes = np.ascontiguousarray(x.codes)
    little = codes.astype(codes.dtype.newbyteorder("<"), copy=False)
    return little.view([(field_of(x.format), little.dtype)]).reshape(x.shape)


def save(file: Any, x: object) -> None:
    """Write an Array to a .npy file: its codes, with the format in the dtype's field name.

    `file` is a path (".npy" is added if it is missing) or a file object open for writing bytes. A
    path is written whole or not at all. ``numpy.save(file, x)`` does the same.

    >>> import io
    >>> buffer = io.BytesIO()
    >>> save(buffer, asarray(np.float16([0.5, 1.0])))
    >>> _ = buffer.seek(0)
    >>> load(buffer)
    fp.array([0.5, 1.0], fp.FP16)
    """
    stored = structured(asarray(x))
    if hasattr(file, "write"):
        np.save(file, stored, allow_pickle=False)
        return
    path = Path(os.fspath(file))
    path = path if path.suffix == ".npy" else path.with_name(path.name + ".npy")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(partial, "wb") as out:
            np.save(out, stored, allow_pickle=False)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def load(file: Any) -> Array:
    """The Array that `save` or ``numpy.save`` wrote to `file`, a path or a file object.

    Plain .npy files of floats are read, too: their dtype names the format. Raises `ArgumentError`
    for other contents, `OSError` if the file cannot be read.
    """
    try:
        values = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise ArgumentError(f"cannot read an Array from {file!r}: {error}") from None
    if not isinstance(values, np.ndarray):
        raise ArgumentError(f"{file!r} holds several arrays; use numpy.load, then fp.asarray")
    return asarray(values)

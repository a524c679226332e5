"""Weights in safetensors files: codes with their formats, read and written without pickle.

The package `safetensors` (extra "interop") is imported when one of these functions is called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.carriers import code_dtype
from fpemu.convert import decode
from fpemu.errors import ArgumentError, UnsupportedError, missing_extra
from fpemu.formats import as_format
from fpemu.nn.module import Module, as_numbers

# The file's name of a format, and ours.
_FLOATS = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "e4m3",
    "F8_E5M2": "e5m2",
}
_WHOLE = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
_WHOLE |= {"U64": "<u8", "U32": "<u4", "U16": "<u2"}


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Array | np.ndarray]:
    """The tensors of a file by their names: Arrays that hold exactly the codes in the file, in its
    formats (F64, F32, F16, BF16, F8_E4M3, F8_E5M2), and NumPy arrays of integers and booleans.

    Raises `ArgumentError` for what is no such file, `UnsupportedError` for other formats in it, and
    `MissingExtraError` without the package safetensors. Nothing in the file is executed.
    """
    package = _package()
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ArgumentError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from None
    try:
        entries = package.deserialize(data)
    except package.SafetensorError as error:
        raise ArgumentError(f"{os.fspath(path)!r} is no safetensors file: {error}") from None
    found: dict[str, Array | np.ndarray] = {}
    for name, entry in entries:
        kind, shape, raw = entry["dtype"], entry["shape"], bytes(entry["data"])
        if kind in _WHOLE:
            found[name] = np.frombuffer(raw, _WHOLE[kind]).reshape(shape)
        elif kind in _FLOATS:
            f = as_format(_FLOATS[kind])
            codes = np.frombuffer(raw, code_dtype(f).newbyteorder("<")).reshape(shape)
            found[name] = Array(decode(codes.astype(code_dtype(f)), f), f)
        else:
            known = ", ".join([*_FLOATS, *_WHOLE])
            raise UnsupportedError(
                f"{name!r} in {os.fspath(path)!r} has the format {kind}; allowed: {known}"
            )
    return found


def save_safetensors(model: Module | Mapping[str, object], path: str | os.PathLike[str]) -> None:
    """Write the parameters and buffers of a model, or a mapping of names to arrays, to a file.

    Each is stored in its own format if the file has it (see `load_safetensors`), else in F32 or F64,
    whichever holds its values exactly. The file is written whole or not at all. Raises
    `UnsupportedError` for values that neither holds, `MissingExtraError` without safetensors.
    """
    package = _package()
    if isinstance(model, Module):
        model = {name: t.data for name, t in model._tensors()}
    data = package.numpy.save({name: _stored(name, value) for name, value in model.items()})
    target = Path(path)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _stored(name: str, value: Any) -> np.ndarray:
    """An array of a dtype that the file has."""
    x = as_numbers(value)
    if not isinstance(x, Array):
        x = np.asarray(x)
        if x.dtype.kind in "iub":
            return np.ascontiguousarray(x)
        x = asarray(x)
    if x.format.name not in _FLOATS.values() or as_format(x.format.name) != x.format:
        if x._values.dtype == object:
            raise UnsupportedError(f"{name!r}: no number format of the file holds {x.format.name}")
        x = asarray(x._values)
    return np.ascontiguousarray(x.to_ml_dtypes()).reshape(x.shape)


def _package() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise missing_extra("safetensors", "a safetensors file", "interop") from None
    return safetensors

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
from fpemu.errors import ArgumentError, UnsupportedError, missing_extra
from fpemu.interchange import dtype_of
from fpemu.nn.module import Module

# The file's name of a format, safetensors' name of it when writing, and ours.
_FLOATS = (
    ("F64", "float64", "fp64"),
    ("F32", "float32", "fp32"),
    ("F16", "float16", "fp16"),
    ("BF16", "bfloat16", "bf16"),
    ("F8_E4M3", "float8_e4m3fn", "e4m3"),
    ("F8_E5M2", "float8_e5m2", "e5m2"),
)
_WHOLE = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
_WHOLE |= {"U64": "<u8", "U32": "<u4", "U16": "<u2"}


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Array | np.ndarray]:
    """The tensors of a file by their names: Arrays that hold exactly the codes in the file, in its
    formats (F64, F32, F16, BF16, F8_E4M3, F8_E5M2), and NumPy arrays of integers and booleans.

    Raises `ArgumentError` for what is no such file, `UnsupportedError` for other formats in it, and
    `MissingExtraError` without the package safetensors. Nothing in the file is executed.
    """
    package = _package()
    data = Path(path).read_bytes()
    try:
        entries = package.deserialize(data)
    except package.SafetensorError as error:
        raise ArgumentError(f"{os.fspath(path)!r} is no safetensors file: {error}") from None
    ours = {name: f for name, _, f in _FLOATS}
    found: dict[str, Array | np.ndarray] = {}
    for name, entry in entries:
        kind, shape, raw = entry["dtype"], entry["shape"], bytes(entry["data"])
        if kind in _WHOLE:
            found[name] = np.frombuffer(raw, _WHOLE[kind]).reshape(shape)
        elif kind in ours:
            stored = np.frombuffer(raw, dtype_of(ours[kind]).newbyteorder("<"))
            found[name] = asarray(stored.astype(dtype_of(ours[kind])).reshape(shape))
        else:
            known = ", ".join([*ours, *_WHOLE])
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
    entries = {name: _entry(name, value) for name, value in model.items()}
    target = Path(path)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        unfinished.write_bytes(package.serialize(entries, {"format": "pt"}))
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)


def _entry(name: str, value: Any) -> dict[str, Any]:
    x = value if isinstance(value, Array) else np.asarray(value)
    if isinstance(x, np.ndarray) and x.dtype.kind in "iub":
        little = np.ascontiguousarray(x.astype(x.dtype.newbyteorder("<")))
        kind = "bool" if x.dtype.kind == "b" else x.dtype.name
        return {"dtype": kind, "shape": list(x.shape), "data": little.tobytes()}
    x = asarray(x)
    known = {f: kind for _, kind, f in _FLOATS}
    if x.format.name not in known or dtype_of(x.format) is None:
        if x._values.dtype == object:
            raise UnsupportedError(f"{name!r}: no number format of the file holds {x.format.name}")
        x = asarray(x._values)
    stored = np.ascontiguousarray(x.to_ml_dtypes())
    stored = stored.astype(stored.dtype.newbyteorder("<"))
    return {"dtype": known[x.format.name], "shape": list(x.shape), "data": stored.tobytes()}


def _package() -> Any:
    try:
        import safetensors
    except ImportError:
        raise missing_extra("safetensors", "a safetensors file", "interop") from None
    return safetensors

"""Recordings: what a chip computed, in a file that any machine can compare with the emulation.

A file is an .npz without pickles: the codes of a, b, c and of the chip's result d as unsigned integers, and
a text in JSON that says which instruction, chip, driver and library versions they come from.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from fpemu.arrays import asarray
from fpemu.convert import decode
from fpemu.cuda.comparing import Mismatches, compare
from fpemu.cuda.devices import Device
from fpemu.cuda.devices import device as find_device
from fpemu.cuda.matmul import bits_of_product
from fpemu.errors import ArgumentError, FpemuError
from fpemu.formats import as_format
from fpemu.matrix_units import Instruction, MatrixUnit

KIND = "fpemu.cuda recording 1"
_NAMES = ("a", "b", "c", "d")


@dataclass(frozen=True)
class Recording:
    """A recording that was read: codes of shapes (..., m, k), (..., k, n), and (..., m, n) for c and d."""

    instruction: Instruction
    about: dict[str, Any]
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray


def record(
    path: str | os.PathLike,
    a: object,
    b: object,
    c: object = None,
    *,
    accumulate: object = None,
    library: str = "kernel",
    device: Device | None = None,
    note: str = "",
) -> Path:
    """Multiply as `matmul` does, and write inputs and the chip's bits to a file; returns its path.

    Arguments are those of `matmul`, with `a` and `b` of at least two dimensions; `note` is kept in the file. ".npz" is
    added to `path` if it is missing. The file is written whole or not at all. Not yet run on hardware.
    Raises what `matmul` raises, and `OSError` if the file cannot be written.
    """
    a, b = asarray(a), asarray(b)
    if a.ndim < 2 or b.ndim < 2:
        raise ArgumentError(
            f"record takes matrices or stacks of them, got {a.ndim}-d and {b.ndim}-d"
        )
    if c is not None and library.startswith("cublas"):
        raise ArgumentError(
            f"library={library!r} adds c at the end, and it is not settled how it rounds there; record without c"
        )
    device = device or find_device()
    bits = bits_of_product(a, b, c, accumulate, library, device)
    codes, made = bits.codes, bits.instruction
    start = np.zeros_like(codes) if c is None else asarray(c).astype(made.accumulator).codes
    batch = codes.shape[:-2]
    about = {
        "kind": KIND,
        "unit": unit_of(made),
        "a": made.a.name,
        "b": made.b.name,
        "library": library,
        "how": bits.how,
        "device": device.facts,
        "fpemu": _version(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
    }
    arrays = {
        "a": np.broadcast_to(a.codes, (*batch, *a.shape[-2:])),
        "b": np.broadcast_to(b.codes, (*batch, *b.shape[-2:])),
        "c": start,
        "d": codes,
    }
    return _write(path, about, arrays)


def unit_of(made: Instruction) -> str:
    """The text of the unit that `made` belongs to, with nothing left to defaults.

    >>> unit_of(MatrixUnit("h100", "mma").on("fp16"))
    'h100 mma accumulator=fp32 shape=m16n8k16'
    """
    options = made.accumulator, made.shape, made.promote, made.split
    return str(MatrixUnit(made.chip, made.name, *options))


def _version() -> str:
    try:
        return metadata.version("fpemu")
    except metadata.PackageNotFoundError:
        return "not installed"


def _write(path: str | os.PathLike, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Path:
    path = Path(os.fspath(path))
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    text = np.frombuffer(json.dumps(about, indent=1).encode(), np.uint8)
    little = {name: x.astype(x.dtype.newbyteorder("<"), copy=False) for name, x in arrays.items()}
    try:
        with open(partial, "wb") as file:
            np.savez_compressed(file, about=text, **little)  # type: ignore[arg-type]
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def read(path: str | os.PathLike) -> Recording:
    """The recording in a file.

    Raises `ArgumentError` if it is none, is damaged or does not fit together, `OSError` if the file
    cannot be opened.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            about = json.loads(found["about"].tobytes())
            arrays = {name: found[name] for name in _NAMES}
    except (
        ValueError,
        KeyError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise _unreadable(path, error) from None
    try:
        return _fitting(about, arrays)
    except (FpemuError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: object, error: Exception) -> ArgumentError:
    return ArgumentError(
        f"{os.fspath(path)!r} is no recording of fpemu.cuda, or damaged: {type(error).__name__}: {error}"  # type: ignore[call-overload]
    )


def _fitting(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Recording:
    if about["kind"] != KIND:
        raise ArgumentError(f"it says {about['kind']!r}, not {KIND!r}")
    made = MatrixUnit.parse(about["unit"]).on(as_format(about["a"]), as_format(about["b"]))
    shapes = {name: x.shape for name, x in arrays.items()}
    *batch, m, k = shapes["a"]
    want = {"a": (*batch, m, k), "b": (*batch, k, shapes["b"][-1])}
    want |= dict.fromkeys("cd", (*batch, m, shapes["b"][-1]))
    if shapes != want:
        raise ArgumentError(f"its shapes do not fit together: {shapes}")
    formats = (made.a, made.b, made.accumulator, made.accumulator)
    for (name, x), f in zip(arrays.items(), formats, strict=True):
        if x.dtype.kind != "u" or (x.size and int(x.max()) >= 1 << f.bits):
            raise ArgumentError(f"{name} does not hold codes of {f.name}")
    return Recording(made, about, **arrays)


def replay(path: str | os.PathLike) -> Mismatches:
    """Compare a recording with the emulation on this machine, which needs no GPU.

    Returns the counts and the first mismatch; NaNs are equal to one another. A recording of cuBLAS is
    compared with the plain chain, from which cuBLAS may differ and be right.
    Raises as `read`.
    """
    return compared(read(path))


def compared(found: Recording) -> Mismatches:
    """The same for a recording that was read."""
    made = found.instruction
    about = found.about
    total = Mismatches(f"{about['library']} on {about['device']['name']}", str(made))
    a, b = decode(found.a, made.a), decode(found.b, made.b)
    c = decode(found.c, made.accumulator)
    for i in np.ndindex(found.d.shape[:-2]):
        total.add(compare(made, a[i], b[i], c[i], found.d[i]), str(i[0]) if i else "")
    return total

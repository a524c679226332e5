"""Values in other people's storage: NumPy and ml_dtypes dtypes, and packed sub-byte codes."""

from __future__ import annotations

import numpy as np

from fpemu.carriers import code_dtype
from fpemu.convert import codes_of
from fpemu.errors import ArgumentError, UnsupportedError
from fpemu.formats import DTYPES, Format, as_format


def dtype_of(f: object) -> np.dtype:
    """The NumPy or ml_dtypes dtype that stores the format `f`.

    Raises `UnsupportedError` for formats without one (TF32, P3109, your own).

    >>> dtype_of("bf16"), dtype_of("fp16")
    (dtype(bfloat16), dtype('float16'))
    """
    f = as_format(f)
    name = next((name for name, known in DTYPES.items() if known == f), None)
    if name is None:
        raise UnsupportedError(
            f"no NumPy or ml_dtypes dtype stores {f.name}; use its codes, or the values in float32 "
            "or float64 (to_numpy)"
        )
    if hasattr(np, name):
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))


def to_dtype(values: np.ndarray, f: Format) -> np.ndarray:
    """`values` of `f` as an array of the dtype that stores it: the codes, seen as that dtype."""
    return codes_of(values, f).view(dtype_of(f))


def pack(codes: object, f: object) -> np.ndarray:
    """Codes of `f` packed without gaps along the last axis, least significant bits first.

    Parameters
    ----------
    codes : array_like of integers from 0 to ``2**f.bits - 1``, shape (..., n).
    f : format; meant for those of 4 and 6 bits.

    Returns uint8 of shape (..., ceil(n * f.bits / 8)): code i fills the bits from i * f.bits of
    each row's stream, and the stream fills each byte from its lowest bit; the last byte is filled
    up with zeros. So two FP4 codes share a byte, the first in its low half (as in the storage of
    NVIDIA's and PyTorch's float4_e2m1fn_x2), and four FP6 codes share three bytes.

    Raises `ArgumentError` for codes out of range and for scalars.

    >>> pack([0x1, 0x2, 0xF], "e2m1").tolist()
    [33, 15]
    """
    f = as_format(f)
    codes = np.asarray(codes)
    if codes.ndim == 0 or (codes.dtype.kind not in "iu" and codes.size):
        raise ArgumentError(f"pack takes an array of integer codes, got {codes!r}")
    top = (1 << f.bits) - 1
    if codes.size and not (int(codes.min()) >= 0 and int(codes.max()) <= top):
        bad = codes[(codes < 0) | (codes > top)].flat[0]
        raise ArgumentError(f"code {bad} does not fit {f.name}: allowed 0 to {top}")
    place = np.arange(f.bits, dtype=np.uint64)
    bits = (codes.astype(np.uint64)[..., None] >> place) & np.uint64(1)
    stream = bits.astype(np.uint8).reshape(*codes.shape[:-1], codes.shape[-1] * f.bits)
    return np.packbits(stream, axis=-1, bitorder="little")


def unpack(packed: object, f: object, count: int) -> np.ndarray:
    """The first `count` codes of each row of `packed`: the inverse of `pack`.

    `packed` is uint8 of shape (..., bytes); the result has the codes' dtype and shape (..., count).
    Raises `ArgumentError` if the rows are too short.

    >>> unpack(np.uint8([33, 15]), "e2m1", 3).tolist()
    [1, 2, 15]
    """
    f = as_format(f)
    packed = np.asarray(packed)
    if packed.dtype != np.uint8 or packed.ndim == 0:
        raise ArgumentError(f"unpack takes an array of uint8, got dtype {packed.dtype}")
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 0:
        raise ArgumentError(f"count must be a non-negative integer, got {count!r}")
    if packed.shape[-1] * 8 < count * f.bits:
        raise ArgumentError(
            f"{count} codes of {f.bits} bits need {-(-count * f.bits // 8)} bytes a row, got "
            f"{packed.shape[-1]}"
        )
    bits = np.unpackbits(packed, axis=-1, count=count * f.bits, bitorder="little")
    bits = bits.reshape(*packed.shape[:-1], count, f.bits).astype(np.uint64)
    place = np.arange(f.bits, dtype=np.uint64)
    return (bits << place).sum(axis=-1, dtype=np.uint64).astype(code_dtype(f))

"""`matmul` on the GPU: the call of `fpemu.matmul`, the bits of the chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.carriers import code_dtype
from fpemu.convert import decode
from fpemu.cuda import cublas, cublaslt
from fpemu.cuda.devices import Device, chip_of
from fpemu.cuda.devices import device as find_device
from fpemu.cuda.kernels import kernel
from fpemu.cuda.products import checked, product
from fpemu.errors import ArgumentError, UnsupportedError, unknown
from fpemu.linalg.options import finish
from fpemu.linalg.products import _as_matrices
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.matrix_units.table import GENERATIONS

LIBRARIES = ("kernel", "wmma", "cublas", "cublaslt")


def matmul(
    a: object,
    b: object,
    c: object = None,
    *,
    accumulate: object = None,
    library: str = "kernel",
    out: object = None,
    device: Device | None = None,
) -> Array:
    """The matrix product ``c + a @ b`` by a real matrix unit; not yet run on hardware.

    Parameters
    ----------
    a, b : array_like, formats and shapes as `fpemu.matmul` takes them for a matrix unit.
    c : initial accumulator, array_like of the result's shape, by default +0. cuBLAS and cuBLASLt add it
        at the end.
    accumulate : a matrix unit of this GPU, or its text ("h100 wgmma", "a100 mma accumulator=fp16"); by
        default the first of its chip. The GPU decides which chips may be named.
    library : "kernel": the unit's instruction alone, chained along k in ascending order; "wmma": the
        same unit as CUDA's wmma reaches it (FP16, BF16, TF32); "cublas": whatever cuBLAS does, which
        may be split-K, another instruction or none; "cublaslt": cuBLASLt without split-K, FP8 with
        ``promote=128`` of the unit, or with fast accumulation for ``promote=0``.
    out : format of the result, by default the accumulator's; rounded on the CPU.
    device : by default the GPU that `fpemu.cuda.device` finds.

    Returns an `Array` of the accumulator's format. NaNs lose sign and payload (a recording keeps them).
    Before a kernel is used, it must multiply small integers right.
    Raises `MissingExtraError` without CuPy, `UnsupportedError` without a GPU, for a unit of another
    chip, for what has no kernel and where a kernel's layout proves wrong.

    >>> try:
    ...     matmul([[1.0]], [[1.0]], accumulate="fp32")
    ... except ArgumentError as error:
    ...     print(error)
    cuda.matmul accumulates in a matrix unit, as accumulate='h100 wgmma'; got 'fp32'
    """
    a, b = asarray(a), asarray(b)
    found = bits_of_product(a, b, c, accumulate, library, device)
    made = found.instruction
    return finish(decode(found.codes, made.accumulator), made, a.format, out)


@dataclass(frozen=True)
class Bits:
    """The chip's codes of a product, the instruction that is meant, and what its library says of the
    kernel it took."""

    codes: np.ndarray
    instruction: Instruction
    how: dict[str, int]


def bits_of_product(
    a: Array, b: Array, c: object, accumulate: object, library: str, device: Device | None
) -> Bits:
    """The bits of ``c + a @ b``; arguments as `matmul` takes them."""
    if library not in LIBRARIES:
        raise unknown("library", library, LIBRARIES)
    unit = _unit(accumulate)
    device = device or find_device()
    made = _fitting(unit, device).on(a.format, b.format)
    left, right, batch, tail = _as_matrices(a._values, b._values)
    shape = (*batch, *tail)
    start = None
    if c is not None:
        given = asarray(c)
        if given.shape != shape:
            raise ArgumentError(f"c must have the result's shape {shape}, got {given.shape}")
        start = given.astype(made.accumulator)._values
        start = start.reshape(*batch, left.shape[-2], right.shape[-1])
    compute = _computing(device, made, library)
    result = np.empty((*batch, left.shape[-2], right.shape[-1]), code_dtype(made.accumulator))
    how: dict[str, int] = {}
    for i in np.ndindex(batch):
        result[i], how = compute(left[i], right[i], None if start is None else start[i])
    return Bits(result.reshape(shape), made, how)


Compute = Callable[..., tuple[np.ndarray, dict[str, int]]]


def _computing(device: Device, made: Instruction, library: str) -> Compute:
    """What gives the codes of a product of two matrices, and how they were made."""
    if library == "cublas":
        return lambda a, b, c: (cublas.product(device, made, a, b, c), {})
    if library == "cublaslt":
        return lambda a, b, c: cublaslt.product(device, made, a, b, c)
    chosen = checked(device, kernel(made, "wmma" if library == "wmma" else None))
    return lambda a, b, c: (product(device, chosen, a, b, c), {})


def _unit(accumulate: object) -> MatrixUnit | None:
    from fpemu.matrix_units import is_written

    if accumulate is None or isinstance(accumulate, MatrixUnit):
        return accumulate
    if isinstance(accumulate, str) and is_written(accumulate):
        return MatrixUnit.parse(accumulate)
    raise ArgumentError(
        f"cuda.matmul accumulates in a matrix unit, as accumulate='h100 wgmma'; got {str(accumulate)!r}"
    )


def _fitting(unit: MatrixUnit | None, device: Device) -> MatrixUnit:
    chip = chip_of(device.facts)
    if unit is None:
        return MatrixUnit(chip, "")
    if GENERATIONS[unit.chip] != GENERATIONS[chip]:
        raise UnsupportedError(
            f"{unit} is not to be had on {device.facts['name']}, which is fpemu's {chip}; fp.matmul emulates it "
            "anywhere"
        )
    return unit

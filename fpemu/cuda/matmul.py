"""`matmul` on the GPU: the call of `fpemu.matmul`, the bits of the chip."""

from __future__ import annotations

import numpy as np

from fpemu.arrays import Array, asarray
from fpemu.carriers import code_dtype
from fpemu.convert import decode
from fpemu.cuda import cublas
from fpemu.cuda.devices import Device, chip_of
from fpemu.cuda.devices import device as find_device
from fpemu.cuda.kernels import kernel
from fpemu.cuda.products import checked, product
from fpemu.errors import ArgumentError, UnsupportedError, unknown
from fpemu.linalg.options import finish
from fpemu.linalg.products import _as_matrices
from fpemu.matrix_units import Instruction, MatrixUnit
from fpemu.matrix_units.table import GENERATIONS

LIBRARIES = ("kernel", "wmma", "cublas")


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
    c : initial accumulator, array_like of the result's shape, by default +0. cuBLAS adds it at the end.
    accumulate : a matrix unit of this GPU, or its text ("h100 wgmma", "a100 mma accumulator=fp16"); by
        default the first of its chip. The GPU decides which chips may be named.
    library : "kernel": the unit's instruction alone, chained along k in ascending order; "wmma": the
        same unit as CUDA's wmma reaches it (FP16, BF16, TF32); "cublas": whatever cuBLAS does, which
        may be split-K, another instruction or none.
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
    codes, made = codes_of_product(a, b, c, accumulate, library, device)
    return finish(decode(codes, made.accumulator), made, a.format, out)


def codes_of_product(
    a: Array, b: Array, c: object, accumulate: object, library: str, device: Device | None
) -> tuple[np.ndarray, Instruction]:
    """The chip's codes of ``c + a @ b``, and the instruction meant; arguments as `matmul` takes them."""
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
    chosen = None
    if library != "cublas":
        chosen = checked(device, kernel(made, "wmma" if library == "wmma" else None))
    whole = (*batch, left.shape[-2], right.shape[-1])
    result = np.empty(whole, code_dtype(made.accumulator))
    for i in np.ndindex(batch):
        each = left[i], right[i], None if start is None else start[i]
        if chosen is None:
            result[i] = cublas.product(device, made, *each)
        else:
            result[i] = product(device, chosen, *each)
    return result.reshape(shape), made


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

"""Products of matrices by a kernel: operands in words, tiles padded with zeros, results as bits."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np

from fpemu.carriers import carrier_dtype, code_dtype
from fpemu.convert import codes_of, decode
from fpemu.cuda.devices import Device
from fpemu.cuda.fragments import pack, unpack
from fpemu.cuda.kernels import Kernel, container
from fpemu.errors import UnsupportedError
from fpemu.formats import Format


def product(
    device: Device, kernel: Kernel, a: np.ndarray, b: np.ndarray, c: np.ndarray | None = None
) -> np.ndarray:
    """The codes of ``c + a @ b`` as the device computes it, for carriers of shapes (m, k), (k, n), (m, n).

    Codes, because NaNs have payloads there. K is chained in ascending order.
    """
    (m, k), n, made = a.shape, b.shape[1], kernel.instruction
    if c is None:
        c = np.zeros((m, n), carrier_dtype(made.accumulator))
    if 0 in (m, n, k):
        return codes_of(c, made.accumulator)
    bits = _bits(a, made.a), _bits(np.ascontiguousarray(b.T), made.b), _bits(c, made.accumulator)
    return product_of_bits(device, kernel, *bits)


def product_of_bits(
    device: Device, kernel: Kernel, a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> np.ndarray:
    """The same for what stands in registers: shapes (m, k), (n, k), so that `b` is transposed, and (m, n)."""
    rows, columns, depth = kernel.tile
    left, right = pack(_tiles(a, rows, depth), kernel.a), pack(_tiles(b, columns, depth), kernel.b)
    found = device.run(kernel, left, right, pack(_tiles(c, rows, columns), kernel.d))
    tiles = unpack(found, kernel.d, (rows, columns))
    whole = tiles.transpose(0, 2, 1, 3).reshape(tiles.shape[0] * rows, -1)
    return whole[: c.shape[0], : c.shape[1]].astype(code_dtype(kernel.instruction.accumulator))


def _bits(values: np.ndarray, f: Format) -> np.ndarray:
    """What stands in a register for each value."""
    return codes_of(values, f).astype(np.uint64) << np.uint64(container(f)[1])


def _tiles(bits: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A matrix cut into tiles, shape (row, column, rows, columns), padded with zeros."""
    high, wide = (-(-size // part) for size, part in zip(bits.shape, (rows, columns), strict=True))
    padded = np.zeros((high * rows, wide * columns), bits.dtype)
    padded[: bits.shape[0], : bits.shape[1]] = bits
    return padded.reshape(high, rows, wide, columns).transpose(0, 2, 1, 3)


def layout_is_right(device: Device, kernel: Kernel) -> bool:
    """Whether small integers, whose products and sums no unit rounds, multiply as integers do.

    A permutation of K that both operands share goes unseen; the probes see it.
    """
    rows, columns, depth = kernel.tile
    rng = np.random.default_rng(0)
    a = rng.integers(-2, 4, (rows + 1, 2 * depth + 1))
    b = rng.integers(-2, 4, (2 * depth + 1, columns + 1))
    c = rng.integers(-100, 101, (rows + 1, columns + 1))
    made = kernel.instruction
    carriers = [
        x.astype(carrier_dtype(f))
        for x, f in zip((a, b, c), (made.a, made.b, made.accumulator), strict=True)
    ]
    found = decode(product(device, kernel, *carriers), made.accumulator)
    return bool(np.array_equal(found, c + a @ b))


_CHECKED: weakref.WeakKeyDictionary[Device, dict[Kernel, Kernel | None]] = (
    weakref.WeakKeyDictionary()
)


def checked(device: Device, kernel: Kernel) -> Kernel:
    """The kernel, or for wgmma and tcgen05 its second reading, whose layout is right on the device.

    Raises `UnsupportedError` if none is: then its numbers would say nothing.
    """
    known = _CHECKED.setdefault(device, {})
    if kernel not in known:
        readings = [kernel]
        if kernel.in_shared_memory:
            readings.append(replace(kernel, swapped=True))
        known[kernel] = next((r for r in readings if layout_is_right(device, r)), None)
    chosen = known[kernel]
    if chosen is None:
        raise UnsupportedError(
            f"the layout of the kernel {kernel.name} is wrong on {device.facts['name']}: it does not even "
            "multiply small integers; its results are not looked at. Please report it"
        )
    return chosen

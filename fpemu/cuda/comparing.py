"""The chip's bits beside the emulation's: how many differ, and the first that does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpemu.convert import codes_of, decode
from fpemu.formats import Format
from fpemu.matrix_units import Instruction, multiply


@dataclass
class Mismatches:
    """How many sums were compared and differ, and the first that differs, in hexadecimal codes."""

    kernel: str
    instruction: str
    samples: int = 0
    mismatches: int = 0
    first: str = ""

    def add(self, wrong: Difference, where: str = "") -> None:
        """Count another matrix; `where` says which it was."""
        self.samples += wrong.samples
        self.mismatches += wrong.mismatches
        if wrong.mismatches and not self.first:
            self.first = f"{where}: {wrong.first}" if where else wrong.first


@dataclass(frozen=True)
class Difference:
    """The comparison of one matrix."""

    samples: int
    mismatches: int
    first: str


def compare(
    made: Instruction, a: np.ndarray, b: np.ndarray, c: np.ndarray, codes: np.ndarray
) -> Difference:
    """The chip's `codes` of ``c + a @ b`` against the emulation; a, b, c are carriers.

    Bits must be equal, -0 and +0 differ; NaNs are equal, whatever their payloads.
    """
    f = made.accumulator
    want = multiply(a, b, made, c)
    right = codes_of(want, f)
    different = (codes != right) & ~(np.isnan(want) & np.isnan(decode(codes, f)))
    if not different.any():
        return Difference(codes.size, 0, "")
    i, j = (int(index) for index in np.argwhere(different)[0])
    first = (
        f"a={written(a[i], made.a)} b={written(b[:, j], made.b)} c={written(c[i, j], f)} "
        f"expected {written(want[i, j], f)}, got {hexadecimal(codes[i, j], f)}"
    )
    return Difference(codes.size, int(different.sum()), first)


def written(values: np.ndarray, f: Format) -> str:
    """The codes of values, many of them between brackets."""
    codes = codes_of(np.asarray(values), f)
    shown = " ".join(hexadecimal(code, f) for code in codes.reshape(-1))
    return f"[{shown}]" if codes.ndim else shown


def hexadecimal(code: int, f: Format) -> str:
    """A code with all its digits.

    >>> from fpemu.formats import FP16
    >>> hexadecimal(1, FP16)
    '0001'
    """
    return f"{int(code):0{-(-f.bits // 4)}x}"

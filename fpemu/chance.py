"""Where stochastic rounding takes its random bits from, and how many."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from fpemu import exact
from fpemu.errors import ArgumentError, unknown


@dataclass(frozen=True)
class Chance:
    """A seed, the number of random bits per element, and the variant A, B or C of IEEE P3109."""

    seed: int = 0
    random_bits: int = 24
    variant: str = "A"

    def __post_init__(self) -> None:
        for name, low, high in (("seed", 0, 2**64 - 1), ("random_bits", 1, 64)):
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or not low <= value <= high:
                raise ArgumentError(
                    f"{name} must be an integer from {low} to {high}, got {value!r}"
                )
            object.__setattr__(self, name, int(value))
        if self.variant not in ("A", "B", "C"):
            raise unknown("random_variant", self.variant, "ABC")

    @property
    def words(self) -> tuple[np.uint32, np.uint32]:
        """The seed in two words, as the generator's counter takes it."""
        return np.uint32(self.seed % 2**32), np.uint32(self.seed >> 32)

    @property
    def choice(self) -> tuple[int, int]:
        """Random bits and the kernels' number of the variant."""
        return self.random_bits, "ABC".index(self.variant)

    def away(self, index: int) -> Callable[[Fraction], bool]:
        """The decision for element `index`, for the exact reference."""
        random = exact.random_integer(index, self.seed, self.random_bits)
        return lambda rest: exact.rounds_away_by_chance(
            rest, random, self.random_bits, self.variant
        )

    def derived(self, number: int) -> Chance:
        """The same with another seed for operation `number`, so that operations are independent."""
        seed = int.from_bytes(self._digest(number), "little")
        return Chance(seed, self.random_bits, self.variant)

    def derived_words(self, first: int, count: int) -> np.ndarray:
        """`words` of ``derived(first)``, ``derived(first + 1)`` ...: uint32 of shape (count, 2)."""
        numbers = range(first, first + count)
        return np.frombuffer(b"".join(map(self._digest, numbers)), "<u4").reshape(count, 2)

    def _digest(self, number: int) -> bytes:
        return hashlib.blake2b(f"{self.seed}/{number}".encode(), digest_size=8).digest()

"""How a kernel moves over images, and the patches of them that lie under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpemu.errors import ArgumentError

Pair = int | tuple[int, int]
Two = tuple[int, int]


def pair(name: str, value: Pair, least: int) -> Two:
    """`value` for rows and columns."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in both)
    if len(both) != 2 or not whole or min(both) < least:
        raise ArgumentError(f"{name} must be an integer of at least {least}, or two, got {value!r}")
    return int(both[0]), int(both[1])


@dataclass(frozen=True)
class Geometry:
    """How a kernel moves over images."""

    kernel: Two
    steps: Two = (1, 1)
    pads: Two = (0, 0)
    gaps: Two = (1, 1)
    groups: int = 1
    more: Two = (0, 0)  # rows and columns of padding at the end beyond those at the start

    @classmethod
    def of(
        cls, weights: tuple[int, ...], stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Geometry:
        """That of weights of this shape and the options of a convolution."""
        if min(weights[2:]) < 1:
            raise ArgumentError(f"kernels have at least one row and column, got shape {weights}")
        return cls(
            (weights[2], weights[3]),
            pair("stride", stride, 1),
            pair("padding", padding, 0),
            pair("dilation", dilation, 1),
            groups,
        )

    @property
    def spans(self) -> Two:
        """Rows and columns from the kernel's first element to its last one."""
        high, wide = ((k - 1) * gap + 1 for k, gap in zip(self.kernel, self.gaps, strict=True))
        return high, wide

    def convolved(self, size: tuple[int, ...]) -> Two:
        """The size of the convolution of images of `size`."""
        room = [n + 2 * p + m for n, p, m in zip(size, self.pads, self.more, strict=True)]
        if any(n < span for n, span in zip(room, self.spans, strict=True)):
            raise ArgumentError(
                f"the kernel spans {self.spans[0]} x {self.spans[1]}, more than the padded images of "
                f"{room[0]} x {room[1]}"
            )
        high, wide = (
            (n - span) // step + 1
            for n, span, step in zip(room, self.spans, self.steps, strict=True)
        )
        return high, wide

    def transposed(self, size: tuple[int, ...], more: Two) -> Two:
        """The size of the transposed convolution, with `more` rows and columns of output padding."""
        if any(m >= max(s, g) for m, s, g in zip(more, self.steps, self.gaps, strict=True)):
            raise ArgumentError(
                f"output_padding {more} must be below the stride {self.steps} or the dilation "
                f"{self.gaps}"
            )
        high, wide = (
            (n - 1) * step - 2 * pad + span + m
            for n, step, pad, span, m in zip(
                size, self.steps, self.pads, self.spans, more, strict=True
            )
        )
        if min(high, wide) < 1:
            raise ArgumentError(
                f"padding {self.pads} leaves {high} x {wide} of the transposed convolution of images "
                f"of {size[0]} x {size[1]}; at least 1 x 1 must remain"
            )
        return high, wide

    def padded(self, images: np.ndarray) -> np.ndarray:
        """Images of shape (..., H, W) with zeros around them."""
        if not any(self.pads + self.more):
            return images
        shape = images.shape[-2:]
        around = (n + 2 * p + m for n, p, m in zip(shape, self.pads, self.more, strict=True))
        out = np.zeros((*images.shape[:-2], *around), images.dtype)
        rows, columns = (slice(p, p + n) for n, p in zip(shape, self.pads, strict=True))
        out[..., rows, columns] = images
        return out

    def patches(self, padded: np.ndarray, size: Two) -> np.ndarray:
        """A view of shape (..., kh, kw, H', W') of padded images, for H' and W' as `size` says."""
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.spans, (-2, -1))
        chosen = windows[..., :: self.steps[0], :: self.steps[1], :: self.gaps[0], :: self.gaps[1]]
        return np.moveaxis(chosen[..., : size[0], : size[1], :, :], (-2, -1), (-4, -3))

    def spread(self, images: np.ndarray, size: Two) -> np.ndarray:
        """`images` (..., H', W') put where the transposed convolution of this `size` takes them from:
        the convolution of the result by the reversed kernels, step 1, is that. Zeros elsewhere."""
        shape = tuple(n + span - 1 for n, span in zip(size, self.spans, strict=True))
        out = np.zeros((*images.shape[:-2], *shape), images.dtype)
        inside, taken = [], []
        for axis in (0, 1):
            first, step = self.spans[axis] - 1 - self.pads[axis], self.steps[axis]
            skipped = max(0, -(first // step))  # those that would lie before the first place
            last = max(skipped, -(-(shape[axis] - first) // step))
            used = slice(skipped, max(skipped, min(last, images.shape[axis - 2])))
            taken.append(used)
            inside.append(slice(first + step * used.start, first + step * used.stop, step))
        out[..., inside[0], inside[1]] = images[..., taken[0], taken[1]]
        return out

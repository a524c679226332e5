"""What a trace or an `arithmetic` block can learn of a matrix unit's sums: what their results show.

A unit signals nothing. Overflow is an infinity of finite operands, invalid a NaN of operands without
one; what was cut off inside, and so inexact, underflow and swamped, is not known (for one step
`fpemu.explain.matrix_step` tells it).
"""

from __future__ import annotations

import numpy as np

from fpemu import context, events
from fpemu.matrix_units.instruction import Instruction
from fpemu.matrix_units.run import multiply
from fpemu.reporting import watched


def multiply_watched(
    a: np.ndarray,
    b: np.ndarray,
    instruction: Instruction,
    start: np.ndarray | None = None,
    *,
    place: str = "",
    op: str = "matmul",
) -> np.ndarray:
    """`multiply`, and what its results show is counted at `place` under the name `op`."""
    result = multiply(a, b, instruction, start)
    if not watched() or not result.size:
        return result
    f = instruction.accumulator
    begin = np.zeros((), result.dtype) if start is None else start
    finite = np.isfinite(a).all(1)[:, None] & np.isfinite(b).all(0) & np.isfinite(begin)
    numbers = ~(np.isnan(a).any(1)[:, None] | np.isnan(b).any(0) | np.isnan(begin))
    seen = {"overflow": np.isinf(result) & finite, "invalid": np.isnan(result) & numbers}
    size = np.abs(result)
    counts = {name: int(np.count_nonzero(mask)) for name, mask in seen.items()}
    counts |= {
        "values": result.size,
        "nonzero": int(np.count_nonzero(result)),
        "subnormal": int(np.count_nonzero((size > 0) & (size < f.smallest_normal))),
    }
    events.record(place, op, f.name, counts, result)

    def example(trapped: list[str]) -> str:
        i, j = np.argwhere(np.any([seen[name] for name in trapped], axis=0))[0].tolist()
        return f"element ({i}, {j}) of a product by {instruction} is {result[i, j]}"

    context.raise_flags({name for name in seen if counts[name]}, op, place, example)
    return result

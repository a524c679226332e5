"""What a rounding did, told to whoever wants to know: the open traces and the `arithmetic` block."""

from __future__ import annotations

import numpy as np

from fpemu import context, events, exact, flags
from fpemu.formats import Format
from fpemu.reals import written


def report(
    place: str,
    op: str,
    before: np.ndarray,
    after: np.ndarray,
    f: Format,
    saturation: str,
    seen: flags.Seen | None = None,
    operands: tuple[np.ndarray, ...] = (),
    count_as: str | None = None,
) -> None:
    """Tell the open traces and the `arithmetic` block what rounding `before` to `after`, values of
    `f`, did: `seen` (nothing by default) and what the values themselves show. `operands` are those
    of the operation `op`, of `f` too, if it is more than a conversion. It is counted under its own
    name, or under `count_as`."""
    seen, name = seen or {}, count_as or op
    if events.active():
        with np.errstate(invalid="ignore"):  # NumPy's complaint about objects that are NaN
            events.record(
                place,
                name,
                f.name,
                _counts(op, before, after, f, saturation, seen, operands),
                after,
            )
    signalled = {name for name, mask in seen.items() if mask.any()}

    def example(trapped: list[str]) -> str:
        where = int(np.flatnonzero(np.any([seen[name] for name in trapped], axis=0))[0])
        return _example(where, before, after, f, operands)

    context.raise_flags(signalled, name, place, example)


def _counts(op, before, after, f: Format, saturation, seen, operands) -> dict[str, int]:
    nonzero = before != 0
    small = nonzero & (np.abs(after) < f.smallest_normal)
    counts = {
        "values": before.size,
        "nonzero": flags.number(nonzero),
        "flushed_to_zero": 0,
        "subnormal": 0,
        "saturated": 0,
        **{name: flags.number(mask) for name, mask in seen.items()},
    }
    if small.any():
        counts["flushed_to_zero"] = flags.number(small & (after == 0))
        counts["subnormal"] = flags.number(small & (after != 0))
    if saturation != "none":
        counts["saturated"] = counts.get("overflow", 0)
    if op in ("add", "subtract") and len(operands) == 2:
        a, b = operands
        kept = ((b != 0) & (after == a)) | ((a != 0) & (after == (b if op == "add" else -b)))
        counts["swamped"] = flags.number(kept & (np.abs(a) < np.inf) & (np.abs(b) < np.inf))
        counts["cancelled"] = flags.number(_cancels(op, a, b, before))
    return counts


def _cancels(op: str, a: np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Whether the sum or difference, exact or odd, lost two leading bits or all."""
    if object in (a.dtype, b.dtype, total.dtype):
        signed = b if op == "add" else -b
        pairs = zip(a.flat, signed.flat, strict=True)
        lost = [exact.cancelled_bits(x, y) != 0 for x, y in pairs]
        return np.array(lost, bool).reshape(a.shape)
    numbers = np.isfinite(a) & np.isfinite(b) & (a != 0) & (b != 0)
    larger = np.where(numbers, np.maximum(np.abs(a), np.abs(b)), 1.0)
    total = np.where(numbers & np.isfinite(total), total, 1.0)
    return numbers & ((total == 0) | (np.frexp(larger)[1] - np.frexp(total)[1] >= 2))


def _example(i: int, before, after, f: Format, operands) -> str:
    """Element `i` in words: operands and result as bits and numbers."""

    def shown(v: np.ndarray) -> str:
        x = (
            v.reshape(-1)[i].item()
            if isinstance(v.reshape(-1)[i], np.generic)
            else v.reshape(-1)[i]
        )
        return f"{exact.written_bits(x, f)} ({written(x)})"

    result = np.broadcast_to(after, before.shape)
    place = np.unravel_index(i, before.shape) if before.ndim else ()
    at = f" at index {tuple(map(int, place))}" if place else ""
    if operands:
        given = " and ".join(shown(np.broadcast_to(v, before.shape)) for v in operands)
    else:
        given = written(np.broadcast_to(before, before.shape).reshape(-1)[[i]].tolist()[0])
    return f"{given}{at} gave {shown(result)}"


def watched() -> bool:
    """Whether anybody wants to know what happens."""
    return events.active() or context.wants_flags()

"""``fpemu matmul --compare v100,a100,h100,fp32``: one product on several chips, and where they differ."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from fpemu import exact, text
from fpemu.cli.models import parsed
from fpemu.cli.options import integer, names, print_json
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import NAMED

_SHOWN = 8  # elements that differ


def compare(a: Any, b: Any, wanted: str, as_json: bool) -> int:
    """Print how often each model's results are not the exact sums rounded once, how often they differ
    from one another's, and the first that do."""
    import numpy as np

    from fpemu import linalg

    said = _said(wanted)
    chosen = _models(said, a.format)
    results = [linalg.matmul(a, b, accumulate=m, out=m.result_format).reshape(-1) for m in chosen]
    values = [np.asarray(r.to_numpy(), np.float64) for r in results]
    sums = _exact_sums(a, b)
    facts = []
    for i, (name, model) in enumerate(zip(said, chosen, strict=True)):
        wrong = None
        if sums is not None:
            rounded = (exact.round_to(x, model.result_format) for x in sums)
            wrong = sum(x != y for x, y in zip(results[i].tolist(), rounded, strict=True))
        facts.append(
            {
                "name": name,
                "model": str(model),
                "evidence": getattr(model, "evidence", "defined by its roundings"),
                "wrong": wrong,
                "differing": [int(np.sum(~_same(values[i], other))) for other in values],
            }
        )
    apart = np.flatnonzero(~np.all([_same(values[0], v) for v in values], axis=0))
    shape = (a.shape[0], b.shape[1])
    first = [
        {
            "index": [int(i) for i in np.unravel_index(at, shape)],
            "values": [float(v[at]) for v in values],
            "codes": [_code(r[int(at)]) for r in results],
        }
        for at in apart[:_SHOWN]
    ]
    if as_json:
        found = {"shape": [*a.shape, b.shape[1]], "format": a.format.name, "on hardware": False}
        print_json({**found, "models": facts, "differing": len(apart), "first": first})
    else:
        _print(said, facts, len(apart), shape, first)
    return 0


def follow(a: Any, b: Any, wanted: str, element: str, as_json: bool) -> int:
    """Print, for one element of the product, every model's accumulator step by step and where they part."""
    from fpemu.explaining import explain

    said, place = _said(wanted), element.split(",")
    _models(said, a.format)
    if len(place) != 2:
        raise ArgumentError(f"--explain takes the row and column of an element, got {element!r}")
    i, j = (
        integer(part, "--explain", low=0, high=size - 1)
        for part, size in zip(place, (a.shape[0], b.shape[1]), strict=True)
    )
    told = explain.matrix_chain(a[i], b[:, j], said)
    if as_json:
        print_json({"index": [i, j], "format": a.format.name, **told.facts})
    else:
        print(f"element ({i}, {j}) of the product")
        print(told)
    return 0


def _said(wanted: str) -> list[str]:
    return list(dict.fromkeys(name for name in names(wanted) if name))


def _models(said: list[str], f: Any) -> list[Any]:
    from fpemu.matrix_units import is_written
    from fpemu.matrix_units.table import GENERATIONS

    if not said:
        raise ArgumentError("--compare takes chips and models, for example: v100,h100 wgmma,fp32")
    for name in said:
        if not is_written(name) and name.split()[0] not in NAMED:
            raise unknown("chip or format", name.split()[0], [*GENERATIONS, *NAMED])
    return parsed(said, f)


def _exact_sums(a: Any, b: Any) -> list[Fraction] | None:
    """The exact sums, row by row; None if there are infinities or NaN."""
    import numpy as np

    if not all(np.isfinite(x.to_numpy()).all() for x in (a, b)):
        return None
    rows, columns = (
        [[Fraction(v) for v in line] for line in x] for x in (a.tolist(), b.T.tolist())
    )
    return [
        sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0))
        for row in rows
        for column in columns
    ]


def _print(said: list[str], facts: list[dict[str, Any]], apart: int, shape, first: list) -> None:
    size = shape[0] * shape[1]
    body = [
        [
            fact["name"],
            "-" if fact["wrong"] is None else f"{fact['wrong']}/{size}",
            *map(str, fact["differing"]),
        ]
        for fact in facts
    ]
    print(text.table(["", "wrong", *(f"not as {name}" for name in said)], body))
    for fact in facts:
        print(f"{fact['name']}: {fact['model']} ({fact['evidence']})")
    print(f"{apart} of {size} results differ" + ("; the first, as codes:" if first else ""))
    if first:
        body = [[str(tuple(one["index"])), *one["codes"]] for one in first]
        print(text.table(["index", *said], body))
        at = ",".join(map(str, first[0]["index"]))
        print(f"--explain {at} follows the first of them step by step")
    print("wrong: not the exact sum rounded once. Emulated, not run on these chips.")


def _same(x: Any, y: Any) -> Any:
    return (x == y) | ((x != x) & (y != y))


def _code(x: Any) -> str:
    return f"{int(x.codes):0{-(-x.format.bits // 4)}x}"

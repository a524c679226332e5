"""``fpemu sum --ones 4096 --format fp16``: a sum, every partial sum rounded, beside the exact one."""

from __future__ import annotations

import argparse
from fractions import Fraction

from fpemu import display, text
from fpemu.cli import models
from fpemu.cli.options import (
    add_json,
    allow_negative_numbers,
    integer,
    print_json,
    read_array,
)
from fpemu.errors import ArgumentError
from fpemu.formats import as_format

MOST = 10**8  # elements: 400 MB of float32


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("sum", help="a sum with every partial sum rounded")
    parser.add_argument(
        "values", nargs="*", help="numbers, each first rounded to the format; or an .npy file"
    )
    parser.add_argument("--ones", metavar="N", help="sum N copies of 1")
    parser.add_argument("--random", metavar="N", help="sum N normal deviates")
    parser.add_argument("--seed", default="0", help="of --random (default 0)")
    parser.add_argument("--repeat", metavar="N", help="take the values N times, one after another")
    parser.add_argument("--format", default="fp16", help="format of the values (default fp16)")
    parser.add_argument("--accumulate", help="format of the accumulator (default: the same)")
    models.add_models(parser)
    add_json(parser)
    allow_negative_numbers(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the rounded sum, the exact sum of the rounded values, and where the sum stopped."""
    import numpy as np

    from fpemu import linalg
    from fpemu.arrays import Array
    from fpemu.events import trace

    f = as_format(options.format)
    accumulator = as_format(options.accumulate) if options.accumulate else f
    once, count = _terms(options, f)
    values = Array(np.tile(once._values, count), f)
    if options.model:
        return _compare(values, once, count, options)
    with trace() as t:
        result = linalg.sum(values, accumulate=accumulator, out=accumulator).item()
    terms = [float(v) for v in once._values]
    finite = all(v == v and abs(v) != float("inf") for v in terms)
    exact_sum = sum(map(Fraction, terms), Fraction(0)) * count if finite else None
    report = {
        "terms": values.size,
        "format": f.name,
        "accumulate": accumulator.name,
        "order": "sequential",
        "sum": display.decimal(result),
        "exact_sum_of_the_rounded_values": "-" if exact_sum is None else _exact_text(exact_sum),
        "relative_error": _relative_error(result, exact_sum),
        "swamped_additions": t.count("swamped"),
    }
    if options.json:
        print_json(report)
    else:
        rows = [[key.replace("_", " "), str(value)] for key, value in report.items()]
        width = max(len(row[0]) for row in rows)
        print("\n".join(f"{key:{width}}  {value}" for key, value in rows))
    return 0


def _terms(options: argparse.Namespace, f):
    """The terms as an Array of `f`, and how often they are taken."""
    import numpy as np

    from fpemu.arrays import array

    given = [options.ones is not None, options.random is not None, bool(options.values)]
    if sum(given) != 1:
        raise ArgumentError(
            "give numbers to sum, an .npy file, --ones N or --random N, for example: --ones 4096"
        )
    if options.repeat is not None and not options.values:
        raise ArgumentError("--repeat repeats the numbers given; say the count itself instead")
    if options.random is not None:
        count = integer(options.random, "--random", low=1, high=MOST)
        rng = np.random.default_rng(integer(options.seed, "--seed", low=0, high=2**63))
        return array(rng.normal(size=count), f), 1
    if [v for v in options.values if v.endswith(".npy")]:
        if len(options.values) > 1:
            raise ArgumentError("give one .npy file, or numbers")
        once = array(read_array(options.values[0]).reshape(-1), f)
    else:
        written = [display.parse_number(v) for v in options.values] or [1]
        # Read exactly, rounded once, then repeated.
        once = array(np.array([*written, None], object)[:-1], f)
    copies = options.ones if options.ones is not None else options.repeat or "1"
    name = "--ones" if options.ones is not None else "--repeat"
    return once, integer(copies, name, low=1, high=MOST // max(once.size, 1))


def _compare(values, once, count: int, options: argparse.Namespace) -> int:
    """The same sum by several models."""
    from fpemu import linalg
    from fpemu.events import trace
    from fpemu.reals import is_finite

    if options.accumulate:
        raise ArgumentError("--model says the accumulator's format; leave out --accumulate")
    terms = once.tolist()
    if not all(map(is_finite, terms)):
        raise ArgumentError("--model compares with the exact sum: infinities and NaN have none")
    if values.size > models.MOST_TERMS:
        raise ArgumentError(
            f"--model compares with the exact sum of up to {models.MOST_TERMS} terms, got {values.size}"
        )
    chosen = models.parsed(options.model)
    sums = []

    def total(model):
        with trace() as t:
            sums.append(linalg.sum(values, accumulate=model, out=model.result_format).item())
        return sums[-1:], t.count("swamped")

    row = [(Fraction(v),) for v in terms] * count
    found = models.report(chosen, [row], total, values.size)
    for found_row, value in zip(found, sums, strict=True):
        found_row["sum"] = display.decimal(value)
    if options.json:
        print_json({"terms": values.size, "format": values.format.name, "models": found})
        return 0
    header = ["sum", *models.HEADER]
    print(text.table(header, [[r[name] for name in header] for r in found]))
    exact_sum = sum((Fraction(v) for v in terms), Fraction(0)) * count
    print(f"exact sum of the {values.size} rounded values: {_exact_text(exact_sum)}")
    return 0


def _exact_text(x: Fraction) -> str:
    if x.denominator == 1:
        return str(x.numerator)
    return display.decimal(float(x)) if Fraction(float(x)) == x else f"{float(x)!r} (rounded)"


def _relative_error(result: float, exact_sum: Fraction | None) -> str:
    if exact_sum is None or result != result or abs(result) == float("inf"):
        return "-"
    if exact_sum == 0:
        return "0" if result == 0 else "-"
    return text.share_of_one(abs(Fraction(result) - exact_sum) / abs(exact_sum))

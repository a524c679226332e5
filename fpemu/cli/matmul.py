"""``fpemu matmul a.npy b.npy --model "fp16 sequential" --model "fp32 exact"``: products by models."""

from __future__ import annotations

import argparse
from fractions import Fraction

from fpemu.cli import chips, models
from fpemu.cli.options import add_json, integer, print_json, read_array
from fpemu.errors import ArgumentError
from fpemu.formats import as_format


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("matmul", help="a matrix product by accumulation models")
    parser.add_argument("files", nargs="*", help="two .npy files; or see --random")
    parser.add_argument("--random", metavar="M,K,N", help="normal deviates of these shapes instead")
    parser.add_argument("--seed", default="0", help="of --random (default 0)")
    parser.add_argument("--format", default="fp16", help="format of the operands (default fp16)")
    parser.add_argument(
        "--out", metavar="FILE", help="write the last model's result, as numpy.save"
    )
    models.add_models(parser)
    parser.add_argument(
        "--compare",
        metavar="NAMES",
        help="instead: where chips and models differ, for example v100,a100,h100,fp32",
    )
    parser.add_argument(
        "--explain",
        metavar="I,J",
        help="with --compare: follow one element of the result through the steps of every chip",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a row per model: how far its results are from the exact products."""
    from fpemu import arrays, events, linalg

    f = as_format(options.format)
    a, b = (arrays.array(v, f) for v in _operands(options))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ArgumentError(f"matmul takes (m, k) and (k, n) matrices, got {a.shape} and {b.shape}")
    m, k, n = *a.shape, b.shape[1]
    if m * k * n > models.MOST_TERMS:
        raise ArgumentError(
            f"{m} x {k} x {n} products are more than the {models.MOST_TERMS} that are compared with "
            "exact ones"
        )
    if options.compare is not None:
        if options.explain is not None:
            return chips.follow(a, b, options.compare, options.explain, options.json)
        return chips.compare(a, b, options.compare, options.json)
    if options.explain is not None:
        raise ArgumentError("--explain goes with --compare, for example: --compare v100,h100,fp32")
    chosen = models.parsed(options.model or [f"{f.name} sequential", "fp32 sequential"], f)
    rows = [[Fraction(v) for v in row] for row in a.tolist()]
    columns = [[Fraction(v) for v in column] for column in b.T.tolist()]
    terms = [list(zip(row, column, strict=True)) for row in rows for column in columns]
    results = {}

    def product(model):
        with events.trace() as t:
            results["last"] = linalg.matmul(a, b, accumulate=model, out=model.result_format)
        # Matrix units count no events.
        swamped = "-" if hasattr(model, "evidence") else t.count("swamped")
        return results["last"].reshape(-1).tolist(), swamped

    found = models.report(chosen, terms, product, k)
    if options.out:
        arrays.save(options.out, results["last"])
    if options.json:
        print_json({"shape": [m, k, n], "format": f.name, "models": found})
    else:
        print(models.table(found))
        print(f"{m} x {n} sums of {k} products of {f.name}; wrong: not the exact sum rounded once")
    return 0


def _operands(options: argparse.Namespace):
    import numpy as np

    if (options.random is None) == (not options.files) or len(options.files) not in (0, 2):
        raise ArgumentError("give two .npy files or --random M,K,N, for example: --random 4,256,4")
    if options.files:
        return [read_array(name) for name in options.files]
    sizes = [integer(part, "--random", low=1, high=10**6) for part in options.random.split(",")]
    if len(sizes) != 3:
        raise ArgumentError(f"--random takes three sizes M,K,N, got {options.random!r}")
    rng = np.random.default_rng(integer(options.seed, "--seed", low=0, high=2**63))
    m, k, n = sizes
    return rng.normal(size=(m, k)), rng.normal(size=(k, n))

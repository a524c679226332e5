"""``fpemu explain 464 --format e4m3``, ``fpemu explain 2048 + 1``, ``fpemu explain sum 1 --repeat 4096``:
why it rounds as it does."""

from __future__ import annotations

import argparse
from typing import Any

from fpemu.cli.options import (
    add_json,
    allow_negative_numbers,
    integer,
    print_json,
    read_array,
)
from fpemu.errors import ArgumentError, unknown
from fpemu.exact import OPERANDS, TININESS
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS

OPERATIONS = {
    **dict.fromkeys(("+", "add"), "add"),
    **dict.fromkeys(("-", "sub", "subtract"), "subtract"),
    **dict.fromkeys(("*", "x", "mul", "multiply"), "multiply"),
    **dict.fromkeys(("/", "div", "divide"), "divide"),
    "sqrt": "sqrt",
    "fma": "fma",
}


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "explain",
        help="why a number or an operation rounds as it does, step by step",
        description="Explain one rounding (464 --format e4m3) or one operation: 2048 + 1, "
        "1 / 3, 3 x 0.1 (a bare * is the shell's), sqrt 2, fma 3 5 0.1; or a sum, step by step: "
        "sum 1 --repeat 4096, sum 60000 0.1 0.2 --model 'fp16 kahan', sum terms.npy; or a step of a "
        "matrix unit: matrix-step 1,-1,2^-10 1,1,2^-15 --unit a100 --svg window.svg.",
    )
    parser.add_argument("words", nargs="+", metavar="X", help="a number, or an operation on some")
    parser.add_argument("--format", default="fp16", help="the format (default fp16)")
    parser.add_argument("--rounding", help=", ".join(ROUNDING))
    parser.add_argument("--saturation", help=", ".join(SATURATION))
    parser.add_argument("--subnormals", help=", ".join(SUBNORMALS))
    parser.add_argument("--tininess", help=", ".join(TININESS))
    parser.add_argument("--seed", help="for stochastic: show what is drawn for element 0")
    parser.add_argument("--random-bits", help="for stochastic: how many bits (default 24)")
    parser.add_argument("--random-variant", help="for stochastic: A, B or C of IEEE P3109")
    parser.add_argument("--repeat", metavar="N", help="sum: take the numbers N times")
    parser.add_argument(
        "--model", metavar="TEXT", help="sum: the accumulation model, for example 'fp32 blocked:64'"
    )
    parser.add_argument("--unit", help="matrix-step: the matrix unit (default h100)")
    parser.add_argument("--c", metavar="X", help="matrix-step: the accumulator (default 0)")
    for operand in "ab":
        parser.add_argument(
            f"--scales-{operand}",
            metavar="X,X",
            help=f"matrix-step: the scales of {operand}'s blocks (MX, NVFP4)",
        )
    parser.add_argument("--svg", metavar="FILE", help="matrix-step: write a picture of the window")
    add_json(parser)
    allow_negative_numbers(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the explanation as text, or its facts as JSON."""
    from fpemu.explaining import explain

    settings: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("rounding", "saturation", "subnormals", "tininess", "random_variant")
    }
    for name, low, high in (("seed", 0, 2**64 - 1), ("random_bits", 1, 64)):
        said = getattr(options, name)
        option = f"--{name.replace('_', '-')}"
        settings[name] = None if said is None else integer(said, option, low=low, high=high)
    _refuse(options)
    if options.words[0] == "sum":
        told = _sum(options, settings)
    elif options.words[0] == "matrix-step":
        from fpemu.cli import matrix_step

        told = matrix_step.told(options, settings)
    else:
        op, operands = understood(options.words)
        asked: Any = getattr(explain, op) if op else explain
        told = asked(*operands, options.format, **settings)
    if options.json:
        print_json(told.facts)
    else:
        print(told)
    return 0


# Options that only one of the commands takes, and an example of it.
_OF = {
    "sum": ("sum 1 --repeat 4096", ("repeat", "model")),
    "matrix-step": (
        "matrix-step 1,2 3,4 --unit a100",
        ("unit", "c", "scales_a", "scales_b", "svg"),
    ),
}


def _refuse(options: argparse.Namespace) -> None:
    for command, (example, own) in _OF.items():
        for name in own:
            if getattr(options, name) is not None and options.words[0] != command:
                raise ArgumentError(
                    f"--{name.replace('_', '-')} goes with {command}, for example: explain {example}"
                )


def _sum(options: argparse.Namespace, settings: dict[str, Any]) -> Any:
    """The explanation of a sum."""
    from fpemu.explaining import explain
    from fpemu.explaining.sums import MOST_TERMS

    for name in ("tininess", "random_variant"):
        if settings.pop(name) is not None:
            raise ArgumentError(f"--{name.replace('_', '-')} does not go with sum")
    terms = options.words[1:]
    if not terms:
        raise ArgumentError(
            "sum takes at least one number, for example: explain sum 1 --repeat 4096"
        )
    if len(terms) == 1 and terms[0].endswith(".npy"):
        terms = read_array(terms[0]).reshape(-1).tolist() or [0]
    count = integer(options.repeat or "1", "--repeat", low=1, high=MOST_TERMS // len(terms))
    return explain.sum(terms * count, options.format, accumulate=options.model, **settings)


def understood(words: list[str]) -> tuple[str, list[str]]:
    """The operation ("" for a rounding) and its operands.

    >>> understood(["2048", "+", "1"]), understood(["sqrt", "2"]), understood(["464"])
    (('add', ['2048', '1']), ('sqrt', ['2']), ('', ['464']))
    """
    if len(words) == 1 and words[0] not in OPERATIONS:
        return "", words
    if len(words) == 3 and words[1] in OPERATIONS:
        words = [words[1], words[0], words[2]]
    op = OPERATIONS.get(words[0])
    if op is None:
        if len(words) == 3:
            raise unknown("operation", words[1], OPERATIONS)
        raise ArgumentError(
            f"{' '.join(words)!r} is neither a number nor an operation; write for example 464, "
            "2048 + 1, add 2048 1, sqrt 2 or fma 3 5 0.1"
        )
    if len(words) - 1 != OPERANDS[op]:
        raise ArgumentError(
            f"{op} takes {OPERANDS[op]} number{'s' * (OPERANDS[op] > 1)}, got {len(words) - 1}"
        )
    return op, words[1:]

"""``fpemu verify [FORMAT...]``: check this installation's kernels against independent judges."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict

from fpemu import text
from fpemu.cli.options import add_json, print_json, say
from fpemu.errors import unknown
from fpemu.formats import NAMED, as_format


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("verify", help="check the kernels against the exact reference")
    parser.add_argument("formats", nargs="*", help="names; default: all")
    parser.add_argument(
        "--op", action="append", help="decode, encode, convert, add, ... (default all)"
    )
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help="all modes and values, and all 2^32 float32 inputs of each narrowing (long)",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a row per check and the counts; exit status 1 if any result was wrong."""
    from fpemu import verify

    formats = [as_format(name) for name in options.formats] or list(NAMED.values())
    operations = options.op or list(verify.OPERATIONS)
    for op in operations:
        if op not in verify.OPERATIONS:
            raise unknown("operation", op, verify.OPERATIONS)
    started, outcomes = time.perf_counter(), []
    planned = list(verify.checks(formats, operations, exhaustive=options.exhaustive))
    try:
        for number, (label, check) in enumerate(planned, 1):
            say(f"{number}/{len(planned)} {label}")
            outcomes.append(check())
    except KeyboardInterrupt:
        say("interrupted: results so far follow")
    outcomes.append(verify.total(outcomes))
    if options.json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        names = ("format", "op", "setting", "judge", "exact", "rounded", "overflowed", "wrong")
        print(text.table(names, [[str(getattr(o, n)) for n in names] for o in outcomes]))
        for outcome in outcomes[:-1]:
            if outcome.first_wrong:
                print(f"{outcome.format} {outcome.op} {outcome.setting}: {outcome.first_wrong}")
        print(f"{time.perf_counter() - started:.0f} s")
    if len(outcomes) <= len(planned):
        return 130
    return 1 if outcomes[-1].wrong else 0

"""``fpemu show 0.1``: how a number is stored in each format."""

from __future__ import annotations

import argparse

from fpemu import display
from fpemu.cli.options import add_json, allow_negative_numbers, names, print_json
from fpemu.formats import as_format


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("show", help="how a number is stored in each format")
    parser.add_argument("number", help="0.1, 1e-7, 2^-25, 1/3, 0x1p-3, inf, nan; read exactly")
    parser.add_argument("--formats", "--format", help="comma-separated names; default: six common")
    add_json(parser)
    allow_negative_numbers(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table, or a list of rows as JSON."""
    chosen = display.DEFAULT_FORMATS if options.formats is None else names(options.formats)
    formats = [as_format(f) for f in chosen]
    number = display.parse_number(options.number)
    if options.json:
        print_json([display.describe(number, f) for f in formats])
    else:
        print(display.show(number, formats))
    return 0

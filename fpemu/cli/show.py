"""``fpemu show 0.1``: how a number is stored in each format."""

from __future__ import annotations

import argparse

from fpemu import display
from fpemu.cli.options import add_json, print_json
from fpemu.formats import as_format


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("show", help="how a number is stored in each format")
    parser.add_argument("number", help="0.1, 1e-7, 2^-25, 1/3, 0x1p-3, inf, nan; read exactly")
    parser.add_argument("--formats", "--format", help="comma-separated names; default: six common")
    add_json(parser)
    # "-0.1" is a number here, not an option.
    parser._negative_number_matcher = _AnyNegative()  # type: ignore[assignment]
    parser.set_defaults(run=run)


class _AnyNegative:
    """Lets argparse take ``-0``, ``-inf`` and ``-2^-25`` for numbers, too."""

    @staticmethod
    def match(text: str) -> bool:
        return text[:1] == "-" and (text[1:2].isdigit() or text[1:2] in ".in") and text != "-"


def run(options: argparse.Namespace) -> int:
    """Print the table, or a list of rows as JSON."""
    names = options.formats.split(",") if options.formats else display.DEFAULT_FORMATS
    formats = [as_format(name) for name in names]
    number = display.parse_number(options.number)
    if options.json:
        print_json([display.describe(number, f) for f in formats])
    else:
        print(display.show(number, formats))
    return 0

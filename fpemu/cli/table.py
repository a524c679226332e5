"""``fpemu table e4m3``: every code of a small format with its value, as a grid, CSV or JSON."""

from __future__ import annotations

import argparse
import csv
import sys
from fractions import Fraction

from fpemu import display, exact, text
from fpemu.cli.options import add_json, integer, print_json
from fpemu.errors import ArgumentError
from fpemu.formats import Format, as_format
from fpemu.reals import is_finite

WIDEST = 8  # bits of a format that is shown whole
MOST = 65536  # codes of a window
_ROOM = 6  # characters of a decimal that the grid gives in full


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("table", help="all codes of a small format and their values")
    parser.add_argument("format", help=f"a format of at most {WIDEST} bits; others with --from")
    parser.add_argument(
        "--from", dest="first", metavar="CODE", help="list from here: 0x3c00, 15360"
    )
    parser.add_argument("--count", metavar="N", help="how many codes to list (default 16)")
    parser.add_argument("--csv", action="store_true", help="print CSV with all digits")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a grid of all codes, or a list of a window of them."""
    f = as_format(options.format)
    if options.csv and options.json:
        raise ArgumentError("--csv and --json exclude each other; give one of them")
    window = options.first is not None or options.count is not None
    if not window and f.bits > WIDEST:
        raise ArgumentError(
            f"{f.name} has 2**{f.bits} codes, too many to show; take a format of at most {WIDEST} "
            f"bits, or a window: --from 0x{exact.encode(1.0, f) if f.max >= 1 else 0:x} --count 16"
        )
    first, count = _window(options, f) if window else (0, 1 << f.bits)
    rows = [row_of(code, f) for code in range(first, first + count)]
    if options.json:
        print_json(rows)
    elif options.csv:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif window:
        print(
            text.table(
                list(rows[0]), [[str(cell) for cell in row.values()] for row in rows], left=True
            )
        )
    else:
        print(grid(f))
    return 0


def _window(options: argparse.Namespace, f: Format) -> tuple[int, int]:
    """The first code and the number of codes asked for, cut at the last code there is."""
    said = options.first or "0"
    try:
        first = int(said, 0)
    except ValueError:
        first = -1
    top = (1 << f.bits) - 1
    if not 0 <= first <= top:
        raise ArgumentError(
            f"--from must be a code of {f.name}, 0 to {top} or 0x0 to 0x{top:x}, got {said!r}"
        )
    count = 16 if options.count is None else integer(options.count, "--count", low=1, high=MOST)
    return first, min(count, top + 1 - first)


def row_of(code: int, f: Format) -> dict[str, str]:
    """One code: its bits, its exact value, the shortest decimal that reads back, its kind.

    >>> from fpemu.formats import E4M3
    >>> row_of(0x01, E4M3)
    {'code': '0x01', 'bits': '0 0000 001', 'value': '0.001953125', 'shortest': '0.002', \
'kind': 'subnormal'}
    """
    value = exact.decode(code, f)
    return {
        "code": display.written_code(code, f),
        "bits": str(display.split_bits(code, f)),
        "value": display.decimal(value),
        "shortest": _shortest(code, f),
        "kind": display.kind_of(value, f),
    }


def _shortest(code: int, f: Format) -> str:
    return exact.shortest(exact.decode(code, f), f).removesuffix(".0")


def grid(f: Format) -> str:
    """All codes of `f`: a row for each high nibble, a column for each low one.

    Powers of two are written as such where a format has nothing else (E8M0).
    """
    across = min(16, 1 << f.bits)
    header = ["", *(f"_{low:x}" for low in range(across))]
    rows, shortened = [], False
    for high in range((1 << f.bits) // across):
        row = [f"0x{high:x}_" if f.bits > 4 else "0x_"]
        for code in range(high * across, (high + 1) * across):
            cell, cut = _cell(code, f)
            row.append(cell)
            shortened |= cut
        rows.append(row)
    said = text.table(header, rows)
    if shortened:
        said += (
            "\nlong values are given as the shortest decimal that rounds to them; --csv and --json "
            "have all digits"
        )
    return said


def _cell(code: int, f: Format) -> tuple[str, bool]:
    """A value as the grid gives it, and whether that is not all of its digits."""
    value = exact.decode(code, f)
    if f.fraction_bits == 0 and is_finite(value) and value:
        sign = "-" if value < 0 else ""
        return f"{sign}2**{exact.floor_log2(abs(Fraction(value)))}", False
    full = display.decimal(value)
    if len(full) <= _ROOM + full.startswith("-"):
        return full, False
    return _shortest(code, f), True

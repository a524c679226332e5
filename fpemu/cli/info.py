"""``fpemu info [FORMAT...]``: the facts about formats; with ``--numpy`` what NumPy's functions do."""

from __future__ import annotations

import argparse

from fpemu import display, text
from fpemu.cli.options import add_json, print_json
from fpemu.formats import NAMED, as_format


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("info", help="range, precision and special values of formats")
    parser.add_argument("formats", nargs="*", help="names; default: all formats in one table")
    parser.add_argument(
        "--numpy", action="store_true", help="instead: what NumPy's functions do with fpemu Arrays"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one table of all formats, or the facts of those named."""
    if options.numpy:
        return _numpy(options.json)
    formats = [as_format(name) for name in options.formats] or list(NAMED.values())
    if options.json:
        print_json([display.format_facts(f) for f in formats])
    elif not options.formats:
        print(display.format_table())
    else:
        for i, f in enumerate(formats):
            if i:
                print()
            facts = display.format_facts(f)
            width = max(map(len, facts))
            for name, fact in facts.items():
                said = {True: "yes", False: "no"}[fact] if isinstance(fact, bool) else fact
                print(f"{name.replace('_', ' '):{width}}  {said}")
    return 0


def _numpy(as_json: bool) -> int:
    """Print which of NumPy's functions are right on Arrays, and how, and which are refused."""
    from dataclasses import asdict

    from fpemu.arrays import support

    rows, counts = support.rows(), support.counts()
    if as_json:
        print_json({"functions": [asdict(row) for row in rows], "counts": counts})
        return 0
    cells = [[row.name, row.protocol, row.support, row.how] for row in rows]
    print(text.table(["numpy", "protocol", "support", "how"], cells, left=True))
    print(
        f"{counts['right']} right ({counts['rounded']} rounded once per step, {counts['exact']} "
        f"exact, {counts['plain']} plain answers), {counts['refused']} refused, "
        f"{counts['escaping']} escaping silently"
    )
    return 0

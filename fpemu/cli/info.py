"""``fpemu info [FORMAT...]``: the facts about formats."""

from __future__ import annotations

import argparse

from fpemu import display
from fpemu.cli.options import add_json, print_json
from fpemu.formats import NAMED, as_format


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("info", help="range, precision and special values of formats")
    parser.add_argument("formats", nargs="*", help="names; default: all formats in one table")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one table of all formats, or the facts of those named."""
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

"""``fpemu doctor``: versions, processor, arithmetic and kernels of this installation."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from fpemu.cli.options import add_json, print_json


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("doctor", help="check this installation and its machine")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a line per finding; exit status 1 if one is wrong, with a line that says what to do."""
    from fpemu import doctor

    findings = list(doctor.examine())
    wrong = [each for each in findings if each.status == "wrong"]
    if options.json:
        print_json({"ok": not wrong, "findings": [asdict(each) for each in findings]})
        return 1 if wrong else 0
    width = max(len(each.name) for each in findings)
    for each in findings:
        print(
            f"{each.status.upper() if each.status == 'wrong' else each.status:5}  {each.name:{width}}  {each.found}"
        )
    for each in findings:
        if each.advice:
            print(f"\n{each.name}: {each.advice}")
    print(
        f"\n{len(wrong)} of {len(findings)} findings are wrong" if wrong else "\nnothing is wrong"
    )
    return 1 if wrong else 0

"""``fpemu COMMAND ...``: exit status 0 fine, 1 a check failed, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from fpemu import __version__
from fpemu.cli import info, show, sum, train
from fpemu.errors import FpemuError

COMMANDS = (show, info, sum, train)


class _Parser(argparse.ArgumentParser):
    """Errors in one line: what, which value, what is allowed, where to read more."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fpemu: error: {message} (see: {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = _Parser(prog="fpemu", description="Low-precision arithmetic, visible and exact.")
    top.add_argument("--version", action="version", version=f"fpemu {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        options = parser().parse_args(arguments)
        return options.run(options)
    except FpemuError as error:
        message = " ".join(str(error).split())
        print(f"fpemu: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fpemu: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone; not our error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

"""``fpemu COMMAND ...``: exit status 0 fine, 1 a check failed, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from typing import NoReturn

from fpemu import __version__
from fpemu.cli import bench, doctor, explain, info, matmul, policy, show, sum, table, train, verify
from fpemu.cli.options import say
from fpemu.errors import FpemuError

COMMANDS = (show, explain, info, table, sum, matmul, train, policy, verify, bench, doctor)


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
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options = parser().parse_args(arguments)
            status = options.run(options)
            sys.stdout.flush()
            return status
    except FpemuError as error:
        say(f"fpemu: error: {' '.join(str(error).split())}")
        return 2
    except MemoryError as error:
        say(f"fpemu: error: not enough memory: {error}; use smaller data, layers or batches")
        return 2
    except KeyboardInterrupt:
        say("fpemu: interrupted")
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone; not our error
        _discard_output()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            raise
        _discard_output()
        say(f"fpemu: error: cannot write the output: {error.strerror}")
        return 1


def _discard_output() -> None:
    """Let Python's own flush at exit find nothing to fail on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(f"fpemu: warning: {' '.join(str(message).split())}")

"""Arguments and output that several commands share."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

from fpemu.errors import ArgumentError


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_json(value: object) -> None:
    """Print `value` as standard JSON: infinities and NaN become strings."""
    print(json_text(value))


def json_text(value: object) -> str:
    """`value` as standard JSON, to be read by people, too."""
    return json.dumps(_standard(value), indent=2)


def _standard(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _standard(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(v) for v in value]
    return value


def say(line: str) -> None:
    """A line on standard error, which may be closed."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def names(text: str) -> list[str]:
    """The names in a comma-separated list, blanks aside."""
    return [name.strip() for name in text.split(",")]


def decimal_number(text: str, name: str) -> float:
    """`text` as a number (1024, 0.5, 2^-20), or an `ArgumentError` that names the option."""
    from fpemu.policy.values import number

    try:
        return number(text)
    except ArgumentError as error:
        raise ArgumentError(f"{name}: {error}") from None


def allow_negative_numbers(parser: argparse.ArgumentParser) -> None:
    """Let argparse take ``-0.1``, ``-inf`` and ``-2^-25`` for numbers, not for options."""
    parser._negative_number_matcher = _Negative()  # type: ignore[assignment]


class _Negative:
    @staticmethod
    def match(text: str) -> bool:
        return text[:1] == "-" and (text[1:2].isdigit() or text[1:4] in ("inf", "nan"))


def integer(text: str, name: str, *, low: int, high: int) -> int:
    """`text` as an integer from `low` to `high`, or an `ArgumentError` that says so."""
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ArgumentError(f"{name} must be an integer from {low} to {high}, got {text!r}")
    return value


def read_array(name: str) -> Any:
    """The array in an .npy file: with its own format, if fpemu saved it. `ArgumentError` if there is
    none to be read."""
    from fpemu import arrays

    try:
        return arrays.load(name)
    except OSError as error:
        raise ArgumentError(f"cannot read {name!r}: {error.strerror or error}") from None


def write_text(name: str, text: str) -> None:
    """Write a file whole or not at all; `ArgumentError` where it cannot be."""
    path = Path(name)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ArgumentError(f"cannot write {name!r}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)

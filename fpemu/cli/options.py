"""Arguments and output that several commands share."""

from __future__ import annotations

import argparse
import json
import math

from fpemu.errors import ArgumentError


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def print_json(value: object) -> None:
    """Print `value` as standard JSON: infinities and NaN become strings."""
    print(json.dumps(_standard(value), indent=2))


def _standard(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _standard(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_standard(v) for v in value]
    return value


def integer(text: str, name: str, *, low: int, high: int) -> int:
    """`text` as an integer from `low` to `high`, or an `ArgumentError` that says so."""
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise ArgumentError(f"{name} must be an integer from {low} to {high}, got {text!r}")
    return value

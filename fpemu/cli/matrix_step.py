"""``fpemu explain matrix-step A B --unit a100 --c 1 --svg window.svg``: one step of a matrix unit."""

from __future__ import annotations

import argparse
from typing import Any

from fpemu.cli.options import names, read_array, write_text
from fpemu.errors import ArgumentError


def told(options: argparse.Namespace, settings: dict[str, Any]) -> Any:
    """The explanation; with ``--svg`` its picture is written, too."""
    from fpemu.explaining import explain

    for name, value in settings.items():
        if value is not None:
            raise ArgumentError(
                f"--{name.replace('_', '-')} does not go with matrix-step: a unit's own rules hold"
            )
    vectors = options.words[1:]
    if len(vectors) != 2:
        raise ArgumentError(
            "matrix-step takes two vectors, for example: explain matrix-step 1,-1,2^-10 1,1,2^-15 "
            "--unit a100, or two .npy files"
        )
    a, b = map(vector, vectors)
    scales = None
    if options.scales_a is not None or options.scales_b is not None:
        if options.scales_a is None or options.scales_b is None:
            raise ArgumentError("--scales-a and --scales-b go together")
        scales = (vector(options.scales_a), vector(options.scales_b))
    c = "0" if options.c is None else options.c
    unit = options.unit or ("b200 tcgen05" if scales else "h100")
    found = explain.matrix_step(a, b, c, unit, f=options.format, scales=scales)
    if options.svg:
        if not found.svg:
            raise ArgumentError(
                "there is no picture where NaN or infinities decide; leave out --svg"
            )
        write_text(options.svg, found.svg)
    return found


def vector(text: str) -> Any:
    """The numbers of a .npy file, flat, or of a list as 1,-1,2^-10."""
    if text.endswith(".npy"):
        return read_array(text).reshape(-1)
    return names(text)

"""``fpemu verify [FORMAT...]``: check this installation's kernels against independent judges."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import asdict
from pathlib import Path

from fpemu import text
from fpemu.cli.options import add_json, print_json, say
from fpemu.errors import ArgumentError, unknown
from fpemu.formats import NAMED, as_format


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("verify", help="check the kernels against the exact reference")
    parser.add_argument("formats", nargs="*", help="names; default: all")
    parser.add_argument(
        "--op", action="append", help="decode, encode, convert, add, ... (default all)"
    )
    parser.add_argument(
        "--exhaustive",
        action="store_true",
        help="all modes and values, and all 2^32 float32 inputs of each narrowing (long)",
    )
    parser.add_argument(
        "--jobs", type=int, help="processes (default: one, with --exhaustive one per core)"
    )
    parser.add_argument(
        "--peers", action="store_true", help="instead: where other libraries installed here differ"
    )
    parser.add_argument(
        "--units",
        action="store_true",
        help="instead: matrix units, and against MMA-Sim where mmasim is installed; with --exhaustive on "
        "100,000 sums each (half an hour of processor time)",
    )
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="instead: matrix units against this machine's GPU, through CuPy (not yet run on hardware)",
    )
    parser.add_argument(
        "--record",
        metavar="DIR",
        help="with --gpu: write what the chip computed to files, which fpemu.cuda.replay reads",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a row per check and the counts; exit status 1 if any result was wrong."""
    from fpemu import verify

    if options.peers:
        return _peers(options.json)
    if options.gpu:
        return _gpu(options)
    if options.record:
        raise ArgumentError("--record goes with --gpu")
    formats = [as_format(name) for name in options.formats] or list(NAMED.values())
    operations = options.op or list(verify.OPERATIONS)
    for op in operations:
        if op not in verify.OPERATIONS:
            raise unknown("operation", op, verify.OPERATIONS)
    jobs = options.jobs or (os.cpu_count() or 1 if options.exhaustive else 1)
    if jobs < 1:
        raise ArgumentError(f"--jobs must be at least 1, got {jobs}")
    if options.units:
        planned = verify.unit_checks(options.exhaustive)
    else:
        planned = verify.checks(formats, operations, exhaustive=options.exhaustive)
    started, done = time.perf_counter(), 0
    outcomes: list[verify.Outcome] = []
    try:
        for label, found in verify.run(planned, jobs):
            done += 1
            wrong = verify.total(found).wrong
            elapsed = time.perf_counter() - started
            say(f"{done}/{len(planned)} {label}: {wrong} wrong ({elapsed:.0f} s)")
            outcomes += found
    except KeyboardInterrupt:
        say("interrupted: results so far follow")
    outcomes.append(verify.total(outcomes))
    if options.json:
        print_json([asdict(outcome) for outcome in outcomes])
    else:
        names = ("format", "op", "setting", "judge", "exact", "rounded", "overflowed", "wrong")
        print(text.table(names, [[str(getattr(o, n)) for n in names] for o in outcomes]))
        for outcome in outcomes[:-1]:
            if outcome.first_wrong:
                print(f"{outcome.format} {outcome.op} {outcome.setting}: {outcome.first_wrong}")
        print(f"{time.perf_counter() - started:.0f} s")
    if done < len(planned):
        return 130
    return 1 if outcomes[-1].wrong else 0


def _peers(as_json: bool) -> int:
    """Print where other libraries differ; exit status 1 if the kernels do."""
    from fpemu.verify import peers

    answers = list(peers.answers())
    if as_json:
        print_json([{**asdict(a), "differs": a.differs} for a in answers])
    else:
        header = ("library", "question", "input", "answer", "right", "")
        rows = [
            [
                a.library,
                a.question,
                a.x,
                repr(a.theirs),
                repr(a.right),
                "" if a.differs else "agrees",
            ]
            for a in answers
        ]
        print(text.table(header, rows, left=True))
    return 1 if any(peers.differ(a.ours, a.right) for a in answers) else 0


def _gpu(options: argparse.Namespace) -> int:
    """Print a row per kernel; exit status 1 if the chip and the emulation differ."""
    from fpemu import cuda
    from fpemu.verify import gpu

    device = cuda.device()
    say(f"{device.facts['name']}, compared as fpemu's {cuda.chip_of(device.facts)}")
    if options.record:
        _make(options.record)
    found = []
    for row in gpu.rows(
        device, count=100_000 if options.exhaustive else 10_000, folder=options.record
    ):
        found.append(row)
        say(f"{row.kernel}: {'refused' if row.refused else f'{row.mismatches} mismatches'}")
    if options.json:
        print_json({"device": device.facts, "kernels": [asdict(row) for row in found]})
    else:
        header = ("kernel", "instruction", "probes", "samples", "NaN", "mismatches")
        table = [
            [r.kernel, r.instruction, str(r.probes), str(r.samples), r.nans, _said(r)]
            for r in found
        ]
        print(text.table(header, table))
        for row in found:
            if row.refused or row.first:
                print(f"{row.kernel} ({row.instruction}): {row.refused or row.first}")
    return 1 if any(row.wrong for row in found) else 0


def _make(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"cannot make the folder {folder!r}: {error.strerror}") from None


def _said(row) -> str:
    said = "refused" if row.refused else str(row.mismatches)
    return f"{said} (not decisive)" if row.library else said

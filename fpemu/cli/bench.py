"""``fpemu bench``: rounding and arithmetic against copying, NumPy and the peers installed here; and what
the loops of products are compiled to."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from fpemu import text
from fpemu.cli.options import add_json, print_json, say
from fpemu.errors import UnsupportedError, unknown


def add_parser(commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("bench", help="measure speed as ratios, side by side")
    parser.add_argument(
        "tables",
        nargs="*",
        help="quantize, elementwise, trace, start, matmul, units, train, assembly (default: all)",
    )
    parser.add_argument(
        "--size", type=int, default=4_000_000, help="elements per array (default 4 million)"
    )
    parser.add_argument(
        "--n",
        type=int,
        default=512,
        help="rows of square matrices (default 512); units: (n/2, n) @ (n, n/2)",
    )
    parser.add_argument("--repeats", type=int, default=15, help="measurements per figure")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a table per kind of measurement; ratios above their target are marked, never errors."""
    from fpemu.bench import arrays as bench
    from fpemu.bench import loops, products, training, units
    from fpemu.bench.peers import LeftOut

    tables = (*bench.TABLES, "matmul", "units", "train", "assembly")
    chosen = tuple(options.tables) or tables
    for name in chosen:
        if name not in tables:
            raise unknown("table", name, tables)
    planned = list(bench.rows(chosen, max(options.size, 1), max(options.repeats, 1)))
    if "matmul" in chosen:
        planned += products.rows(max(options.n, 1), min(max(options.repeats, 1), 5))
    if "units" in chosen:
        planned += units.rows(max(options.n, 1), min(max(options.repeats, 1), 5))
    if "train" in chosen:
        planned += training.rows(max(options.repeats, 1))
    measured, left_out, interrupted, machine = [], [], False, bench.machine()
    if "assembly" in chosen:
        try:
            planned += loops.rows()
            machine["compiled for"] = " ".join(loops.processor())
        except UnsupportedError as error:
            if options.tables:
                raise
            left_out.append(f"assembly ({error})")
    if "matmul" in chosen:
        left_out += [f"{name} (not installed)" for name in products.contenders()[1]]
    try:
        for number, (label, measure) in enumerate(planned, 1):
            say(f"{number}/{len(planned)} {label}")
            try:
                measured.append(measure())
            except LeftOut as error:
                if str(error) not in left_out:
                    left_out.append(str(error))
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted: results so far follow")
    if options.json:
        found = {"machine": machine, "left_out": left_out}
        print_json([found | {"rows": [asdict(row) for row in measured]}])
    else:
        for name in chosen:
            if name == "matmul":
                _print_products([row for row in measured if row.table.startswith(name)])
            elif name == "train":
                _print_training([row for row in measured if row.table == name])
            elif name == "units":
                _print_units([row for row in measured if row.table == name])
            else:
                _print([row for row in measured if row.table == name])
        for name in left_out:
            print(f"left out: {name}")
        facts = (f"{key} {value}" for key, value in machine.items())
        print(", ".join(facts))
    return 130 if interrupted else 0


def _print_products(rows) -> None:
    """The products beside each other, and then those that were measured in pairs."""
    header = ["matmul", "operands", "accumulation", "threads", "10^9/s", "ratio", "4096 ones"]
    cells = [
        [
            *(r.what, r.format, r.mode, str(r.threads or "own"), f"{1 / r.ns_per_element:.3f}"),
            *(f"{r.ratio:.2f}", f"{r.ones:g}"),
        ]
        for r in rows
        if r.table == "matmul"
    ]
    print(text.table(header, cells))
    print("10^9/s: multiply-adds; ratio: speed relative to NumPy float16")
    print("4096 ones: their sum, which tells whether every step is rounded to the format\n")
    pairs = [
        [r.mode, str(r.threads), r.against, f"{r.ratio:.2f}"]
        for r in rows
        if r.table == "matmul pairs"
    ]
    if pairs:
        print(text.table(["fpemu", "threads", "relative to", "speed"], pairs), end="\n\n")


def _print_units(rows) -> None:
    """One line for each unit: fpemu on one thread and on all, and how many times MMA-Sim's speed that is."""
    if not rows:
        return
    counts = sorted({row.threads for row in rows})
    cells = []
    for label in dict.fromkeys(row.mode for row in rows):
        ours = {r.threads: r for r in rows if r.mode == label and r.what == "fpemu"}
        theirs = [r for r in rows if r.mode == label and r.what == "MMA-Sim"]
        cells.append(
            [
                label,
                *(f"{1 / ours[c].ns_per_element:.3f}" if c in ours else "-" for c in counts),
                f"{ours[1].ratio:.2f}",
                f"{1 / theirs[0].ratio:.0f}" if theirs else "-",
            ]
        )
    speeds = [f"10^9/s, {count} thread{'s' if count > 1 else ''}" for count in counts]
    print(text.table(["matrix unit", *speeds, "loop", "MMA-Sim"], cells))
    print("10^9/s: multiply-adds; loop: speed on one thread relative to a plain float32 loop's")
    print("MMA-Sim: speed on one thread relative to MMA-Sim's\n")


def _print_training(rows) -> None:
    if not rows:
        return
    cells = [
        [r.what, r.format, str(r.threads), f"{r.ns_per_element / 1e6:.1f}", f"{r.ratio:.2f}", "4"]
        for r in rows
    ]
    print(text.table(["training step", "policy", "threads", "ms", "ratio", "target"], cells))
    print("ratio: time relative to PyTorch's step in FP32 on as many threads\n")


def _print(rows) -> None:
    if not rows:
        return
    if rows[0].table == "start":
        cells = [[row.what, f"{row.ratio:.2f}"] for row in rows]
        print(text.table(["fresh process", "seconds"], cells), end="\n\n")
        return
    if rows[0].table == "assembly":
        cells = [
            [
                *(r.what, r.kernel, str(r.bits), str(r.elements), str(r.turn)),
                *(f"{r.instructions:.1f}", r.uses),
            ]
            for r in rows
        ]
        header = ["loop", "kernel", "bits", "elements/instr.", "per turn", "instr./element", "uses"]
        print(text.table(header, cells))
        print("bits: of the narrowest vectors that anything in the loop is computed in\n")
        return
    if rows[0].table == "trace":
        cells = [[r.what, r.against, f"{r.ratio:.2f}", f"{r.ns_per_element:.3f}"] for r in rows]
        header = ["what", "relative to", "ratio", "ns/element"]
        print(text.table(header, cells), end="\n\n")
        return
    header = [rows[0].table, "format", "rounding", "ratio", "target", "ns/element"]
    cells = [
        [
            row.what,
            row.format,
            row.mode,
            f"{row.ratio:.2f}",
            "-" if row.target is None else f"{row.target:g}",
            f"{row.ns_per_element:.3f}",
        ]
        for row in rows
    ]
    print(text.table(header, cells))
    print(f"ratio: time relative to {rows[0].against}, one thread\n")

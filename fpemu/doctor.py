"""What fpemu finds on this machine: versions, processor, arithmetic, kernel cache, a self-check.

Each finding is "fine", a "note" (slower or unusual, but right) or "wrong", with what to do.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from fpemu import __version__, exact
from fpemu.errors import FpemuError, MissingExtraError, UnsupportedError
from fpemu.formats import BF16, E4M3, E5M2, FP16, TF32
from fpemu.reals import is_nan

REQUIRED = ("numpy", "numba", "llvmlite", "ml_dtypes")
OPTIONAL = (
    *("matplotlib", "scikit-learn", "mlxtend", "tqdm", "torch", "cupy", "cupy-cuda12x", "gmpy2"),
    *("gfloat", "hypothesis", "jupyterlab"),
)
VARIABLES = (
    *("NUMBA_NUM_THREADS", "NUMBA_DISABLE_JIT", "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME"),
    *("NUMBA_CPU_FEATURES", "OMP_NUM_THREADS"),
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, how it is ("fine", "note", "wrong"), what to do."""

    name: str
    found: str
    status: str = "fine"
    advice: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything; a part that breaks is a finding, too, and the rest is still looked at."""
    for part in PARTS:
        try:
            yield from part()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            advice = str(error) if isinstance(error, FpemuError) else REINSTALL
            yield Finding(part.__name__.replace("_", " "), said, "wrong", advice)


REINSTALL = "reinstall fpemu and what it needs: pip install --force-reinstall fpemu"


def versions() -> Iterator[Finding]:
    """fpemu, Python, what is required and what is optional."""
    yield Finding("fpemu", f"{__version__} in {Path(__file__).parent}")
    yield Finding("python", f"{platform.python_version()} ({platform.platform()})")
    for name in REQUIRED:
        version = _version(name)
        if version is None:
            yield Finding(name, "not installed", "wrong", f"run: pip install {name}")
        else:
            yield Finding(name, version)
    there = {name: _version(name) for name in OPTIONAL}
    found = ", ".join(f"{name} {version}" for name, version in there.items() if version)
    yield Finding("optional", found or "none installed")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def processor() -> Iterator[Finding]:
    """The processor as the compiler of the kernels sees it."""
    from fpemu.kernels import processor

    name, features = processor.target()
    known = [f for f in ("f16c", "fma", "avx2", "avx512f", "neon") if f in features]
    wide = "with " + ", ".join(known) if known else "without F16C and AVX2"
    yield Finding("processor", f"{platform.machine()}, {name}, {wide}")


def threads() -> Iterator[Finding]:
    """How many threads there are."""
    import numba

    cores = os.cpu_count()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    kernels = numba.get_num_threads()
    yield Finding("threads", f"{kernels} for kernels, {usable} of {cores} cores usable")


def variables() -> Iterator[Finding]:
    """Environment variables that change what the kernels do."""
    for name in VARIABLES:
        value = os.environ.get(name)
        if value is not None and name == "NUMBA_DISABLE_JIT" and value not in ("", "0"):
            advice = "the kernels need the compiler; run: unset NUMBA_DISABLE_JIT"
            yield Finding(name, value, "wrong", advice)
        elif value is not None:
            yield Finding(name, value)


def halved(x: np.ndarray) -> np.ndarray:
    """Half of `x`, computed at run time by the processor."""
    return x / x.dtype.type(2)


def subnormals(half: Callable[[np.ndarray], np.ndarray] = halved) -> Iterator[Finding]:
    """Whether this process has flush-to-zero switched on, as packages built with -ffast-math do."""
    for dtype in (np.float32, np.float64):
        lost = half(np.array([np.finfo(dtype).tiny]))[0] == 0
        name = f"subnormals of {np.dtype(dtype).name}"
        if lost:
            advice = (
                "something in this process switched flush-to-zero on, often a library built with "
                "-ffast-math: import fpemu without it, or set the processor's mode back"
            )
            yield Finding(name, "flushed to zero", "wrong", advice)
        else:
            yield Finding(name, "kept")


def added(a: float, b: float) -> float:
    """a + b, computed at run time by the processor."""
    return float((np.array([a]) + np.array([b]))[0])


def direction(add: Callable[[float, float], float] = added) -> Iterator[Finding]:
    """Whether the processor still rounds to nearest even.

    Two ties, of which one goes down and the other up, and the first one's mirror: no other mode
    of the processor gets all three.
    """
    eps, half = 2.0**-52, 2.0**-53
    right = add(1.0, half) == 1 and add(1 + eps, half) == 1 + 2 * eps and add(-1.0, -half) == -1
    if right:
        yield Finding("rounding", "to nearest even")
    else:
        advice = "something changed the processor's rounding mode (fesetround): set it back"
        yield Finding("rounding", "not to nearest even", "wrong", advice)


def cache() -> Iterator[Finding]:
    """Where compiled kernels are kept, how much there is, and whether it can be written."""
    from fpemu.kernels import codec

    where = getattr(codec.decode.stats, "cache_path", None)
    advice = (
        "set NUMBA_CACHE_DIR to a folder that can be written; until then every process compiles"
    )
    if where is None:
        yield Finding("kernel cache", "none", "note", advice)
        return
    folder = Path(where)
    kept = list(folder.glob("*.nb[ic]")) if folder.is_dir() else []
    size = sum(path.stat().st_size for path in kept)
    found = f"{folder}, {len(kept)} files, {size / 1e6:.1f} MB"
    if writeable(folder):
        yield Finding("kernel cache", f"{found}, writeable")
    else:
        yield Finding("kernel cache", f"{found}, not writeable", "note", advice)


def writeable(folder: Path) -> bool:
    """Whether a file can be made in `folder`, or where it would be made itself."""
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def gpu() -> Iterator[Finding]:
    """What `fpemu.cuda` would run on; nothing else needs it."""
    from fpemu import cuda

    try:
        device = cuda.device()
        chip = cuda.chip_of(device.facts)
    except MissingExtraError:
        yield Finding("GPU", "not looked for: CuPy is not installed, and only fpemu.cuda needs it")
    except UnsupportedError as error:
        yield Finding("GPU", str(error), "note")
    else:
        facts = "; ".join(f"{name} {value}" for name, value in device.facts.items())
        yield Finding("GPU", f"fpemu's {chip}: {facts}")


NUMBERS = (0.1, -1.0 - 2.0**-11 - 2.0**-40, 464.0, 465.0, 65520.0, 2.0**-25, 3e-8, -0.0, 1e-40)
MODES = ("nearest_even", "toward_negative", "to_odd")


def self_check() -> Iterator[Finding]:
    """A handful of conversions by the kernels, against the exact reference."""
    from fpemu.convert import encode, quantize

    count, wrong = 0, []
    for f in (FP16, BF16, TF32, E4M3, E5M2):
        for mode in MODES:
            got = quantize(list(NUMBERS), f, rounding=mode)
            codes = encode(list(NUMBERS), f, rounding=mode)
            for x, value, code in zip(NUMBERS, got.tolist(), codes.tolist(), strict=True):
                want = exact.round_to(x, f, rounding=mode)
                count += 1
                same = is_nan(value) if is_nan(want) else value == want
                if not same or code != exact.encode(want, f):
                    wrong.append(f"{x!r} in {f.name}, {mode}: {value!r}, want {want!r}")
    if wrong:
        advice = "delete the kernel cache and run: fpemu verify; if that fails, too, report it"
        found = f"{len(wrong)} of {count} conversions are wrong: {wrong[0]}"
        yield Finding("self-check", found, "wrong", advice)
    else:
        yield Finding("self-check", f"{count} conversions equal the exact reference")


# The cache after the self-check, which fills it.
PARTS = (versions, processor, threads, variables, gpu, subnormals, direction, self_check, cache)

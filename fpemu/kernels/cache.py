"""How a kernel is compiled, and when its compiled form on disk may be used again.

Numba stamps a cached function with the date of the file that defines it, and so would go on
using an old `matmul` after its rounding step, in another file, was mended. Our stamp is a digest
of all kernel sources.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from numba import config, njit

from fpemu.errors import UnsupportedError


@functools.cache
def source_digest() -> str:
    """A digest of every source file in this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _forgiving(access):
    """Make a damaged, truncated or full cache a miss: the kernel is compiled instead."""

    def forgiving(*arguments):
        try:
            return access(*arguments)
        except Exception:
            return None

    return forgiving


def kernel(function):
    """Compile `function` on first call, without the GIL, cached on disk where that is safe."""
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        raise UnsupportedError("fpemu's kernels need Numba's compiler: unset NUMBA_DISABLE_JIT")
    compiled = njit(nogil=True, error_model="numpy")(function)
    try:
        compiled.enable_caching()
        cache = compiled._cache  # type: ignore[attr-defined]
        cache._cache_file._source_stamp = source_digest()
        cache.load_overload = _forgiving(cache.load_overload)
        cache.save_overload = _forgiving(cache.save_overload)
    except (AttributeError, RuntimeError):
        # No folder to write to, or a Numba whose cache looks different: compile every time.
        return njit(nogil=True, error_model="numpy")(function)
    return compiled

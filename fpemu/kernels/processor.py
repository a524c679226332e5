"""What the processor that Numba compiles for can do: the host's, unless Numba was told otherwise."""

from __future__ import annotations

import functools


@functools.cache
def target() -> tuple[str, frozenset[str]]:
    """Its name as LLVM knows it, and the names of its features."""
    from numba.core.registry import cpu_target

    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    return name, frozenset(f[1:] for f in features.split(",") if f.startswith("+"))


def has(*features: str) -> bool:
    """Whether it has all of these, for example "f16c" (conversion to half precision) or "fma"."""
    return target()[1].issuperset(features)

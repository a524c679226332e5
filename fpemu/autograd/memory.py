"""Memory of steps that come again: what one step has freed, the next one takes."""

from __future__ import annotations

import functools

import numpy as np

_LARGEST = 2**25 - 2**16  # below 32 MiB, up to which the C library goes along


@functools.cache
def keep_freed() -> None:
    """Let the C library keep memory that is freed, some tens of megabytes, for whoever asks next.

    A step of training frees all its intermediate arrays and soon allocates as many. The GNU library
    would hand them back to the system in between, and each page that comes anew costs a microsecond or
    two: a quarter of a small network's step. It raises its limits once a large block has been
    freed (mallopt(3), M_MMAP_THRESHOLD and M_TRIM_THRESHOLD); none of the block's pages is ever touched.
    With other libraries nothing happens.
    """
    np.empty(_LARGEST, np.uint8)

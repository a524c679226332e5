"""Numba kernels: plain numbers and arrays in, arrays out.

Nothing here knows of formats, arrays or policies. `step.py` holds the one rounding step; every
other file calls it. No fastmath anywhere: reassociation or flush-to-zero would change bits.
"""

"""Floats seen as integers: bit casts that LLVM turns into nothing at all."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _bit_cast(source, target, llvm_target):
    @intrinsic
    def cast(typingcontext, value):
        if value != source:
            return None

        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], llvm_target)

        return target(source), generate

    return cast


bits32 = _bit_cast(types.float32, types.int32, ir.IntType(32))
float32_of = _bit_cast(types.int32, types.float32, ir.FloatType())
bits64 = _bit_cast(types.float64, types.int64, ir.IntType(64))
float64_of = _bit_cast(types.int64, types.float64, ir.DoubleType())


def _shift32(build):
    """A shift of int32 by int32 that stays 32 bits wide: Numba's own goes through 64, which halves
    the width of vectors. The count must be 0 to 31."""

    @intrinsic
    def shift(typingcontext, value, count):
        if value != types.int32 or count != types.int32:
            return None

        def generate(context, builder, signature, arguments):
            return build(builder, *arguments)

        return types.int32(types.int32, types.int32), generate

    return shift


left32 = _shift32(lambda builder, value, count: builder.shl(value, count))
right32 = _shift32(lambda builder, value, count: builder.lshr(value, count))

SIGN32 = np.int32(-(2**31))
MAGNITUDE32 = np.int32(0x7FFFFFFF)
EXPONENT32 = np.int32(0x7F800000)
NAN32 = np.int32(0x7FC00000)
SIGN64 = np.int64(-(2**63))
MAGNITUDE64 = np.int64(0x7FFFFFFFFFFFFFFF)
EXPONENT64 = np.int64(0x7FF0000000000000)
NAN64 = np.int64(0x7FF8000000000000)

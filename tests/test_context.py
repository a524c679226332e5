"""`arithmetic` blocks: nested, in threads, in tasks; what traps say."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import same

import fpemu as fp
from fpemu import elementwise, exact
from fpemu.formats import NAMED
from fpemu.rounding import ROUNDING, SATURATION, SUBNORMALS

MODES = [mode for mode in ROUNDING if mode != "stochastic"]
UP, DOWN = 1.0009765625, 1.0  # 1 + 2**-24 in FP16, up and down


def test_two_threads_have_settings_and_counts_of_their_own():
    barrier = threading.Barrier(2)

    def work(rounding: str, times: int):
        results = []
        with fp.arithmetic(rounding=rounding) as ctx, fp.trace() as t:
            x = fp.array([1.0], "fp16")
            for _ in range(times):
                barrier.wait(timeout=20)
                results.append((x + 2.0**-24).item())
        return results, ctx.flags, t.count("inexact", op="add")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        up = pool.submit(work, "toward_positive", 50)
        down = pool.submit(work, "toward_negative", 50)
        assert up.result() == ([UP] * 50, {"inexact"}, 50)
        assert down.result() == ([DOWN] * 50, {"inexact"}, 50)
    assert (fp.array([1.0], "fp16") + 2.0**-24).item() == DOWN


def test_tasks_keep_their_own_settings_across_awaits():
    async def work(rounding: str) -> list[float]:
        results = []
        with fp.arithmetic(rounding=rounding):
            for _ in range(20):
                results.append((fp.array(1.0, "fp16") + 2.0**-24).item())
                await asyncio.sleep(0)
        return results

    async def both():
        return await asyncio.gather(work("toward_positive"), work("toward_zero"))

    assert asyncio.run(both()) == [[UP] * 20, [DOWN] * 20]


def test_a_block_may_be_entered_again_and_ends_after_an_error():
    block = fp.arithmetic(rounding="toward_positive")
    for _ in range(2):
        with block, block:
            assert fp.quantize(1 + 2.0**-20, "fp16") == UP
    with pytest.raises(RuntimeError), block:
        raise RuntimeError
    assert fp.quantize(1 + 2.0**-20, "fp16") == DOWN


def test_what_is_not_set_stays_as_it_is_around():
    with fp.arithmetic(rounding="toward_positive", saturation="finite"):
        with fp.arithmetic(subnormals="ftz"):
            assert fp.quantize([1e9, 1 + 2.0**-20, 1e-7], "fp16").tolist() == [65504.0, UP, 0.0]
        assert fp.quantize(1e-7, "fp16") > 0


def test_a_trap_shows_operation_operands_result_and_place():
    x = fp.array([1.0, 60000.0], "fp16")
    with fp.arithmetic(traps=["overflow"]) as ctx:
        with pytest.raises(fp.TrapError) as caught:
            x * 2.0
        assert str(caught.value) == (
            "multiply signalled overflow, which this arithmetic block traps: "
            "0 11110 1101010011 (60000.0) and 0 10000 0000000000 (2.0) at index (1,) gave "
            "0 11111 0000000000 (inf); change the operands, or remove it from traps=['overflow']"
        )
        with pytest.raises(fp.TrapError, match=r"add at layer/bias signalled overflow"):
            elementwise.apply("add", x._values, x._values, f=fp.FP16, place="layer/bias")
        with pytest.raises(fp.TrapError, match=r"100000.0 gave 0 11111 0000000000 \(inf\)"):
            fp.quantize(100000.0, "fp16")
        with pytest.raises(fp.TrapError, match=r"sum signalled overflow.*60000.0. . .* gave .*inf"):
            fp.sum(fp.array([60000.0, 60000.0], "fp16"))
    assert ctx.flags == {"inexact", "overflow"}
    with fp.arithmetic(traps="invalid"), pytest.raises(fp.TrapError) as caught:
        fp.array([Fraction(2) ** 3000, 0.0], fp.p3109(14, 1)) / 0.0
    assert "(0.0) and 0 0000000000000 (0.0) at index (1,) gave 1 0000000000000 (nan)" in str(
        caught.value
    )


def test_flags_belong_to_the_innermost_block_and_stay_until_cleared():
    """As in Python's decimal: flags are sticky, and are set even if the exception is trapped."""
    x = fp.array([1.0], "fp16")
    with fp.arithmetic() as outer:
        with fp.arithmetic() as inner:
            x + 2.0**-24
        assert inner.flags == {"inexact"}
        assert outer.flags == set()
        x / 0.0
        x + 0.0
        assert outer.flags == {"divide_by_zero"}
        outer.flags.clear()
        fp.sum(fp.array([2048.0, 1.0], "fp16"))
        assert outer.flags == {"inexact"}


@given(data=st.data())
def test_arrays_under_random_settings_are_the_reference_element_by_element(data):
    f = data.draw(st.sampled_from([g for g in NAMED.values() if g.has_nan and g.bits <= 32]))
    settings = {
        "rounding": data.draw(st.sampled_from(MODES)),
        "saturation": data.draw(st.sampled_from(sorted(SATURATION))),
        "subnormals": data.draw(st.sampled_from(sorted(SUBNORMALS))),
    }
    op = data.draw(st.sampled_from(sorted(op for op in exact.OPERANDS if exact.OPERANDS[op] == 2)))
    code = st.integers(0, (1 << f.bits) - 1)
    shape = data.draw(st.sampled_from([(1,), (4,), (2, 3)]))
    a, b = (
        np.array([exact.decode(data.draw(code), f) for _ in range(np.prod(shape))]).reshape(shape)
        for _ in range(2)
    )
    x, y = fp.array(a, f), fp.array(b, f)
    with fp.arithmetic(**settings):
        got = fp.compute(op, x, y)
        with fp.trace(ranges=True, exponents=True) as t:
            watched = fp.compute(op, x, y)
    for i in np.ndindex(shape):
        want = exact.compute(op, float(a[i]), float(b[i]), f=f, **settings)
        assert same(got[i].item(), want), (op, a[i], b[i], settings)
        assert same(watched[i].item(), want)
    assert t.count("values", op=op, format=f.name) == got.size

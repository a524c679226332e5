"""`Array`: one rounding per operation, nothing leaves unseen."""

from __future__ import annotations

import xml.etree.ElementTree
from decimal import Decimal
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same, same

import fpemu as fp
from fpemu import exact
from fpemu.formats import NAMED

OPERATIONS = {
    "add": (np.add, exact.add),
    "subtract": (np.subtract, exact.subtract),
    "multiply": (np.multiply, exact.multiply),
    "divide": (np.divide, exact.divide),
}


@pytest.mark.parametrize("op", OPERATIONS)
@given(data=st.data())
def test_operations_are_the_exact_result_rounded_once(op, data):
    f = fp.as_format(data.draw(st.sampled_from([n for n in NAMED if fp.as_format(n).has_nan])))
    codes = st.integers(0, (1 << f.bits) - 1)
    a, b = (fp.decode(np.uint64([data.draw(codes)]), f) for _ in range(2))
    numpys, reference = OPERATIONS[op]
    got = numpys(fp.array(a, f), fp.array(b, f))
    assert got.format == f
    assert same(got, reference(float(a[0]), float(b[0]), f))


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("name", ["e4m3", "e5m2"])
def test_every_pair_of_fp8_agrees_with_ml_dtypes(op, name):
    dtype = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}[name]
    every = np.arange(256, dtype=np.uint8)
    a, b = every[:, None], every[None, :]
    numpys, _ = OPERATIONS[op]
    got = numpys(fp.array(fp.decode(a, name), name), fp.array(fp.decode(b, name), name))
    with np.errstate(all="ignore"):
        want = numpys(a.view(dtype), b.view(dtype)).astype(np.float32)
    assert_same(got, want, np.broadcast_to(a, want.shape))


@pytest.mark.parametrize("name", ["fp16", "bf16", "e4m3", "e5m2"])
def test_sqrt_of_every_code_agrees_with_the_reference(name):
    f = fp.as_format(name)
    x = fp.decode(np.arange(1 << f.bits), f)
    want = [exact.sqrt(float(v), f) for v in x]
    assert_same(np.sqrt(fp.array(x, f)), want, x)


def test_scalars_and_lists_are_rounded_to_the_arrays_format_first():
    x = fp.array([1.0, 2.0], fp.FP16)
    assert (x + 0.0001).tolist() == [1.0, 2.0]
    assert (0.1 * x).tolist() == [0.0999755859375, 0.199951171875]
    assert (x - [1, 2]).tolist() == [0, 0]
    assert (1 / fp.array([0.0, 3.0], fp.E4M3)).tolist()[1] == 0.34375
    assert (np.float16([1, 2]) + x).tolist() == [2, 4]


def test_comparisons_are_exact_and_plain():
    x = fp.array([1.0, np.nan, -0.0], fp.BF16)
    assert (x == [1.0, 1.0, 0.0]).tolist() == [True, False, True]
    assert (x < 1.001).tolist() == [False, False, True]  # 1.001 rounds to 1.0 in BF16
    assert np.isnan(x).tolist() == [False, True, False]
    assert bool(fp.array(1.0, fp.FP16) == 1)


def test_negation_and_absolute_value():
    x = fp.array([0.0, -1.5], fp.FP16)
    assert_same(-x, [-0.0, 1.5], x)
    assert_same(abs(x), [0.0, 1.5], x)
    assert_same(-fp.array([0.0, 1.5], fp.E4M3FNUZ), [0.0, -1.5], x)
    assert_same(np.negative(x), [-0.0, 1.5], x)


def test_arrays_are_immutable():
    x = fp.array([1.0, 2.0], fp.FP16)
    with pytest.raises(AttributeError, match="immutable"):
        x.format = fp.BF16
    with pytest.raises(TypeError):
        x[0] = 3.0
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(x)[0] = 3.0
    x.to_numpy()[0] = 3.0
    assert x.tolist() == [1.0, 2.0]
    source = np.float32([1, 2])
    held = fp.asarray(source)
    source[0] = 9
    assert held.tolist() == [1.0, 2.0]


def test_views_shapes_and_iteration():
    x = fp.array(np.arange(6), fp.E5M2).reshape(2, 3)
    assert (x.shape, x.ndim, x.size, len(x)) == ((2, 3), 2, 6, 2)
    assert x.T.shape == (3, 2)
    assert x[1].tolist() == [3, 4, 5]
    assert x[1, 2].item() == 5
    assert [row.tolist() for row in x] == [[0, 1, 2], [3, 4, 5]]
    assert x.codes.dtype == np.uint8
    assert fp.decode(x.codes, x.format).tolist() == x.tolist()
    with pytest.raises(TypeError, match="0-d Array"):
        iter(x[0, 0])
    with pytest.raises(TypeError):
        len(x[0, 0])


def test_dtypes_say_the_format():
    assert fp.asarray(np.array([1.5], ml_dtypes.float8_e4m3fn)).format == fp.E4M3
    assert fp.asarray(np.float32(1)).format == fp.FP32
    assert fp.asarray([1, 2]).format == fp.FP64
    with pytest.raises(fp.ArgumentError, match="dtype int64 has no format of its own; say which"):
        fp.asarray(np.arange(3))


def test_repr_is_what_one_would_type():
    x = fp.array([0.1, np.inf], fp.FP16)
    inf = np.inf
    again = eval(repr(x), {"fp": fp, "inf": inf})
    assert again.tolist() == x.tolist()
    assert "<100x100 values>" in repr(fp.array(np.zeros((100, 100)), fp.FP16))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: x + fp.array([1.0], fp.BF16),
            "add of fp16 and bf16: arrays of different formats",
        ),
        (lambda x: x + np.float64(0.1), "add of fp16 and fp64"),
        (
            lambda x: np.arctan(x),
            "numpy.arctan is not supported on an fpemu Array; allowed: absolute, add",
        ),
        (lambda x: np.add.reduceat(x, [0]), "numpy.add.reduceat is not supported"),
        (lambda x: np.add(x, x, out=np.zeros(2)), "numpy.add"),
        (lambda x: np.median(x), "numpy.median is not supported on an fpemu Array: it would comp"),
        (lambda x: np.convolve(x, x), "numpy.convolve is not supported"),
        (lambda x: np.std(x), "use fp.sum, fp.dot or fp.matmul"),
        (lambda x: np.einsum("i->", x), "numpy.einsum of fpemu Arrays takes two operands"),
    ],
)
def test_what_is_not_right_is_refused(call, message):
    with pytest.raises(fp.FpemuError) as caught:
        call(fp.array([1.0, 2.0], fp.FP16))
    assert message in str(caught.value)


def test_foreign_operands_get_their_turn():
    class Foreign:
        __array_ufunc__ = None

        def __radd__(self, other):
            return "mine"

    assert fp.array([1.0], fp.FP16) + Foreign() == "mine"


def test_operands_of_many_kinds():
    x = fp.array([1.0, 2.0], "bf16")
    assert (x + ml_dtypes.bfloat16(1)).tolist() == [2.0, 3.0]
    assert (Decimal("0.1") + x).tolist() == [1.1015625, 2.09375]  # 0.1 is 0.10009765625 in BF16
    assert (x * Fraction(1, 2)).tolist() == [0.5, 1.0]
    assert (x - (1, 1)).tolist() == [0.0, 1.0]
    assert (+x).tolist() == x.tolist()
    assert int(x[1]) == 2
    with pytest.raises(fp.ArgumentError, match="dtype bool has no format of its own"):
        x + np.True_
    with pytest.raises(fp.ArgumentError, match="add of bf16 and fp32"):
        x + np.float32(1)


def test_methods_are_numpys_functions():
    x = fp.array([[3.0, 1.0], [2.0, 4.0]], "e4m3")
    assert (x.max().item(), x.min().item(), x.max(axis=0).tolist()) == (4.0, 1.0, [3.0, 4.0])
    assert x.ravel().tolist() == [3.0, 1.0, 2.0, 4.0]
    assert x.transpose(1, 0).tolist() == x.T.tolist() == [[3.0, 2.0], [1.0, 4.0]]
    assert x.sum(0).tolist() == [5.0, 5.0]


def test_notebooks_show_values_codes_and_coloured_bits():
    x = fp.array([[1.5, -0.0], [np.nan, 448.0]], "e4m3")
    page = x._repr_html_()
    parsed = xml.etree.ElementTree.fromstring(f"<div>{page}</div>")
    cells = ["".join(cell.itertext()) for cell in parsed.iter("td")]
    assert cells[:4] == ["(0, 0)", "1.5", "0x3c", "00111100"]
    assert {"(1, 1)", "448.0", "0x7e", "-0.0", "nan"} <= set(cells)
    titles = [span.get("title") for span in parsed.iter("span")]
    assert titles[:3] == ["sign", "exponent", "fraction"]
    assert "... 36 more" in fp.array(np.zeros((10, 10)), "fp16")._repr_html_()
    assert "1.5" in fp.array(1.5, "fp16")._repr_html_()

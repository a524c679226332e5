"""All of NumPy's ufuncs and dispatched functions on Arrays: right, or refused; nothing leaves unseen."""

from __future__ import annotations

import itertools
import json
import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_same

import fpemu as fp
from fpemu import exact
from fpemu.arrays import functions
from fpemu.arrays.functions import FUNCTIONS
from fpemu.arrays.ufuncs import UFUNCS
from fpemu.cli.main import main

X = fp.array([[1.5, -2.0, 0.25], [3.0, 0.0, -0.5]], "fp16")
V = fp.array([3.0, 1.0, 2.0, 2.0], "fp16")
EVERY_UFUNC = sorted(
    {getattr(np, n) for n in dir(np) if isinstance(getattr(np, n), np.ufunc)},
    key=lambda u: u.__name__,
)
DISPATCHED = type(np.sum)
NAMESPACES = (np, np.linalg, np.fft, np.strings, np.char, np.lib.stride_tricks, np.lib.scimath)
EVERY_FUNCTION = sorted(
    {
        getattr(space, n)
        for space in NAMESPACES
        for n in dir(space)
        if isinstance(getattr(space, n), DISPATCHED)
    },
    key=lambda f: (f.__module__, f.__name__),
)


def assert_nothing_plain(result, name: str) -> None:
    """No floating-point number may come out but in an Array."""
    if isinstance(result, (tuple, list)):
        for r in result:
            assert_nothing_plain(r, name)
    else:
        kind = getattr(getattr(result, "dtype", None), "kind", "")
        assert kind not in "fcO" or kind == "", f"{name} gave {result!r}"
        assert not isinstance(result, (float, complex)), f"{name} gave {result!r}"


def test_every_ufunc_is_right_or_refused():
    assert len(EVERY_UFUNC) > 80
    assert set(UFUNCS) <= set(EVERY_UFUNC)
    for ufunc in EVERY_UFUNC:
        operands = (V,) if ufunc.nin == 1 else (V, np.arange(4)) if ufunc is np.ldexp else (V, V)
        if ufunc in (np.matvec, np.vecmat):
            operands = (X, V[:3]) if ufunc is np.matvec else (V[:2], X)
        with fp.trace() as t:
            try:
                result = ufunc(*operands)
            except fp.UnsupportedError:
                assert ufunc not in UFUNCS
            else:
                assert ufunc in UFUNCS
                assert_nothing_plain(result, ufunc.__name__)
        assert t.count("escaped") == 0, ufunc


@pytest.mark.parametrize("method", ["reduce", "accumulate", "outer", "at", "reduceat"])
def test_every_method_of_every_ufunc_is_right_or_refused(method):
    for ufunc in EVERY_UFUNC:
        if ufunc.nin != 2 or ufunc.nout != 1 or ufunc.signature:
            continue
        arguments = {"outer": (V, V), "at": (V, [0], V[:1]), "reduceat": (V, [0, 2])}
        with fp.trace() as t:
            try:
                result = getattr(ufunc, method)(*arguments.get(method, (V,)))
            except (fp.FpemuError, ValueError):
                pass
            else:
                assert method in ("reduce", "accumulate", "outer")
                assert_nothing_plain(result, f"{ufunc.__name__}.{method}")
        assert t.count("escaped") == 0, ufunc


# Arguments that fit one function or another.
ATTEMPTS = [
    *((X,), (V,), (X, X), (V, V), ([X, X],), ([V, V],), (V[:2], X), (X, V[:3])),
    *((X, 1), (V, 1), (V, 2), (X, 0), (X, 0, 1), (X, (3, 2)), (X, (2, 2, 3)), (V, [1], V[:1])),
    *((V > 1, V), (V > 1, V, 0.0), (V, V, V), ([V > 1], [V]), (np.array([0, 1, 0, 1]), [V, V])),
    *((V, 0, 5), (V, [0, 2]), (V, [0], 7.5), (V, np.array([0, 1, 1, 0]), 0), ("i,i", V, V)),
    *((X, [[0], [1]], 1), (X[None], 1, 0), (X, [1, 0]), (None, V), (fp.array([0, 1], "fp16"), V)),
    (fp.array(np.ones((2, 2, 2)), "fp16"), 2),
]


def outcome(function, dispatched: list) -> tuple[set[str], list]:
    """Which of "right" and "refused" came out of the attempts that reached us, and the results.

    NumPy does not look for Arrays inside the lists that most functions take: those leave, counted.
    """
    seen, results = set(), []
    for arguments in ATTEMPTS:
        if function is np.save:
            arguments = ("nowhere/at/all.npy", V)
        dispatched.clear()
        result, said = None, ""
        with fp.trace() as t, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy, about odd arguments
            try:
                result, said = function(*arguments), "right"
            except fp.UnsupportedError:
                said = "refused"
            except (fp.ArgumentError, FileNotFoundError):
                said = "argument"
            except (TypeError, ValueError, IndexError, AttributeError):
                pass  # NumPy's own complaint about arguments, before it asks us
        if dispatched:
            assert t.count("escaped") == 0, (function.__name__, arguments)
            seen.add(said)
            results += [result] if said == "right" else []
    return seen, results


def test_every_dispatched_function_is_right_or_refused(monkeypatch):
    dispatched = []
    honest = functions.apply

    def noted(function, args, kwargs):
        dispatched.append(function)
        return honest(function, args, kwargs)

    monkeypatch.setattr(functions, "apply", noted)
    assert len(EVERY_FUNCTION) > 250
    asked = 0
    for function in EVERY_FUNCTION:
        seen, results = outcome(function, dispatched)
        asked += bool(seen)
        if function in FUNCTIONS:
            assert "right" in seen or function is np.save, function.__name__
        else:
            assert "right" not in seen, (function.__name__, results)
        for result in results:
            if function not in (np.isclose, np.allclose):
                assert_nothing_plain(result, function.__name__)
    assert asked > 240
    assert set(FUNCTIONS) <= set(EVERY_FUNCTION)


# -- values: moving changes none -------------------------------------------------------------------

MOVES = [
    lambda x: np.reshape(x, (3, 2)),
    lambda x: np.ravel(x),
    lambda x: np.transpose(x),
    lambda x: np.concatenate([x, x], axis=1),
    lambda x: np.stack([x, x]),
    lambda x: np.vstack([x, x]),
    lambda x: np.block([[x, x], [x, x]]),
    lambda x: np.roll(x, 1),
    lambda x: np.flip(x, 0),
    lambda x: np.tile(x, 2),
    lambda x: np.take(x, [2, 0], axis=1),
    lambda x: np.sort(x, axis=1),
    lambda x: np.unique(x),
    lambda x: np.pad(x, 1),
    lambda x: np.pad(x, 1, mode="reflect"),
    lambda x: np.pad(x, 1, constant_values=2),
    lambda x: np.where(np.equal(x, 0), 4.0, x),
    lambda x: np.select([np.greater(x, 1)], [x], 9),
    lambda x: np.clip(x, -1, 2),
    lambda x: np.broadcast_to(x, (2, 2, 3)),
    lambda x: np.diag(np.diagonal(x)),
    lambda x: np.insert(x, 0, 5, axis=1),
    lambda x: np.append(x, x),
    lambda x: np.repeat(x, 2, axis=0),
    lambda x: np.full_like(x, 3),
    lambda x: np.max(x, axis=0),
    lambda x: np.min(x, axis=1, keepdims=True),
    lambda x: np.ptp(x),
    lambda x: np.tril(x),
    lambda x: np.compress([True, False], x, axis=0),
    lambda x: np.expand_dims(x, 0),
    lambda x: np.atleast_3d(x),
    lambda x: np.ldexp(x, 3),
    lambda x: np.modf(x)[0],
    lambda x: np.sign(x),
    lambda x: np.maximum.reduce(x),
    lambda x: np.minimum.accumulate(x, axis=1),
]


@pytest.mark.parametrize("move", MOVES)
def test_functions_that_change_no_value_do_what_numpy_does(move):
    got, want = move(X), move(X.to_numpy())
    assert got.format == fp.FP16
    assert_same(got.to_numpy(), np.broadcast_to(want, got.shape), got.to_numpy())
    assert got.shape == np.shape(want)


def test_questions_are_answered_as_numpy_does():
    for ask in (np.argmax, np.argsort, np.count_nonzero, np.any, np.flatnonzero, np.shape):
        assert np.array_equal(ask(V), ask(V.to_numpy()))
    assert np.array_equal(np.searchsorted(fp.array([1, 2, 3], "fp16"), V), [2, 0, 1, 1])
    assert np.isin(V, [2.0]).tolist() == [False, False, True, True]
    assert np.allclose(V, V)
    assert not np.array_equal(V, np.sort(V))
    assert np.logical_and(V, [0, 1, 1, 1]).tolist() == [False, True, True, True]


def test_numbers_are_rounded_to_the_format_before_they_are_placed():
    assert np.where([True, False], fp.array([1.0, 2.0], "e4m3"), 0.3).tolist() == [1.0, 0.3125]
    assert np.full_like(fp.array([1.0], "bf16"), 0.1).tolist() == [0.10009765625]
    assert np.insert(fp.array([1.0], "e5m2"), 0, 0.3).tolist() == [0.3125, 1.0]
    assert np.concatenate([fp.array([1.0], "e4m3"), [0.3]]).tolist() == [1.0, 0.3125]
    with fp.trace() as t:
        np.where([True, False], fp.array([1.0, 2.0], "e4m3"), 0.3)
    assert t.count("inexact") == 1
    assert np.nan_to_num(fp.array([math.inf, math.nan], "fp16")).tolist() == [65504.0, 0.0]


# -- reductions: each step rounded, in order ---------------------------------------------------------


def fold(op: str, values, f: fp.Format):
    total = values[0]
    for v in values[1:]:
        total = exact.compute(op, total, v, f=f)
    return total


@given(
    values=st.lists(st.floats(-300, 300, width=16), min_size=1, max_size=9),
    name=st.sampled_from(["fp16", "bf16", "e5m2"]),
)
def test_products_and_partial_results_are_those_of_the_loop(values, name):
    f = fp.as_format(name)
    x = fp.array(values, f)
    numbers = x.tolist()
    assert_same(np.prod(x).to_numpy(), fold("multiply", numbers, f), 0)
    sums = [fold("add", numbers[: i + 1], f) for i in range(len(numbers))]
    assert_same(np.cumsum(x).to_numpy(), sums, numbers)
    assert_same(np.add.accumulate(x).to_numpy(), sums, numbers)
    assert_same(np.sum(x).to_numpy(), exact.total(numbers, f), 0)
    differences = [exact.subtract(b, a, f) for a, b in itertools.pairwise(numbers)]
    assert_same(np.diff(x).to_numpy(), differences, differences)


def test_reductions_take_axes_where_initial_and_keepdims():
    ones = fp.array(np.ones((4096, 2)), "fp16")
    assert np.sum(ones, axis=0).tolist() == [2048.0, 2048.0]
    assert np.sum(ones).tolist() == 2048.0
    assert np.sum(ones, axis=1, keepdims=True).shape == (4096, 1)
    assert np.sum(X, axis=(0, 1)).item() == 2.25
    assert np.sum(X, where=X > 0).item() == 4.75
    assert np.sum(X, initial=100).item() == 102.25
    assert np.add.reduce(X, axis=0, keepdims=True).shape == (1, 3)
    assert np.max(X, axis=0, initial=2.0).tolist() == [3.0, 2.0, 2.0]
    assert np.prod(fp.array([], "fp16")).item() == 1.0
    assert np.nansum(fp.array([1.0, math.nan], "fp16")).item() == 1.0
    assert np.nanmax(fp.array([1.0, math.nan], "fp16")).item() == 1.0
    assert math.isnan(np.max(fp.array([1.0, math.nan], "fp16")).item())
    with pytest.raises(fp.ArgumentError, match=r"maximum.reduce of nothing.*give initial="):
        np.max(fp.array([], "fp16"))
    with pytest.raises(fp.ArgumentError, match="axis 2 is out of bounds"):
        np.sum(X, axis=2)


def test_floor_division_is_the_floor_of_the_exact_quotient():
    x, y = fp.array([7.0, -7.0, 1.0, 0.5], "fp16"), fp.array([2.0, 2.0, -math.inf, 0.25], "fp16")
    assert (x // y).tolist() == [3.0, -4.0, -1.0, 2.0]
    assert [v.tolist() for v in divmod(x, 2.0)] == [[3.0, -4.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.5]]
    # 33 * 2**70 / 3 is an integer plus nothing, one third more is not: both far above 2**53.
    a, b = fp.array([2.0**100], "fp32"), fp.array([3.0], "fp32")
    for mode in ("toward_positive", "toward_negative", "nearest_even"):
        with fp.arithmetic(rounding=mode):
            want = exact.round_to(2**100 // 3, fp.FP32, rounding=mode)
            assert (a // b).tolist() == [want]


def test_in_place_operators_make_new_arrays():
    x = y = fp.array([1.0, 2.0], "fp16")
    x += 1
    x *= 2
    x //= 3
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [1.0, 2.0])
    plain = np.zeros(2)
    with pytest.raises(fp.UnsupportedError, match=r"numpy\.add with out= is not supported"):
        plain += y


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: np.add(V, V, where=V > 1),
            r"use numpy.where\(mask, numpy.add\(...\), otherwise\)",
        ),
        (lambda: np.add(V, V, dtype=np.float64), "with dtype is not supported"),
        (lambda: np.sum(V, dtype=np.float64), "with dtype is not supported"),
        (lambda: np.sum(V, out=np.zeros(())), "with out= is not supported"),
        (lambda: np.add.at(V, [0], 1), "which is immutable; allowed: plain calls, reduce"),
        (lambda: np.copyto(V, 0), "an Array is immutable"),
        (lambda: np.average(V), r"use fp.mean, or fp.sum"),
        (lambda: np.pad(V, 1, mode="mean"), "allowed: constant, edge"),
        (lambda: np.round(V, 2), "rounds to integers only"),
        (lambda: np.concatenate([V, V.astype("bf16")]), "concatenate of fp16 and bf16"),
        (lambda: V[V], "an Array cannot be an index"),
        (lambda: np.reshape(V, (3, 3)), "cannot reshape array of size 4"),
        (lambda: np.take(V, [9]), "index 9 is out of bounds"),
        (lambda: np.linalg.norm(V), r"numpy.linalg.norm is not supported"),
        (lambda: np.fft.fft(V), r"numpy.fft.fft is not supported"),
        (lambda: np.ldexp(V, V), "ldexp takes integers"),
        (lambda: np.clip(V, 0, 1, out=np.zeros(4)), "with out= is not supported"),
    ],
)
def test_refusals_say_what_to_do(call, message):
    with pytest.raises(fp.FpemuError, match=message):
        call()


# -- the way out, and back in --------------------------------------------------------------------------


def test_leaving_is_exact_and_counted():
    x = fp.array([0.1, 2.0], "fp16")
    with fp.trace() as t:
        plain = np.asarray(x)
        again = np.array([x, x])
    assert plain.tolist() == x.tolist() == again[1].tolist()
    assert t.count("escaped") == 6
    assert t.count("escaped", format="fp16") == 6
    with fp.trace() as t:
        fp.quantize(x, "bf16"), fp.array([x, x], "fp16"), fp.encode(x, "fp16"), x + 1, repr(x)
        fp.next_up(x, "fp16"), fp.classify(x, "fp16"), x.to_numpy(), x.tolist(), float(x[0])
    assert t.count("escaped") == 0


def test_the_table_is_printed(capsys):
    assert main(["info", "--numpy"]) == 0
    out = capsys.readouterr().out
    assert "0 escaping silently" in out
    assert re.search(r"^sum +function +rounded +fp.sum: from \+0", out, re.M)
    assert re.search(r"^arctan +ufunc +refused$", out, re.M)
    assert main(["info", "--numpy", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in found["functions"]}
    assert {u.__name__ for u in UFUNCS} <= names
    assert found["counts"]["refused"] == sum(
        row["support"] == "refused" for row in found["functions"]
    )
    assert len(found["functions"]) > 300


# -- found by a review ---------------------------------------------------------------------------------


def test_options_that_would_leave_the_format_are_refused():
    for call in (
        lambda: np.concatenate([V, V], dtype=np.float16),
        lambda: np.stack([V, V], dtype=int, casting="unsafe"),
        lambda: np.add(V, np.ma.array([1.0, 2.0, 3.0, 4.0], mask=[1, 0, 0, 0])),
        lambda: fp.array(np.ma.array([1.0], mask=[1]), "fp16"),
        lambda: np.array2string(V, 2),
    ):
        with pytest.raises(fp.UnsupportedError):
            call()


def test_keepdims_may_be_any_truth_and_axes_come_in_any_order():
    for yes in (1, True, np.True_):
        assert np.sum(X, axis=0, keepdims=yes).shape == (1, 3)
        assert np.mean(X, axis=0, keepdims=yes).shape == (1, 3)
    z = fp.array(np.random.default_rng(0).normal(size=(30, 40)) * 100, "fp16")
    assert np.sum(z, axis=(1, 0)).item() == np.sum(z, axis=(0, 1)).item() == fp.sum(z).item()


def test_lists_of_arrays_keep_their_format_or_are_refused():
    b = V.astype("bf16")
    assert fp.asarray([V, V]).format == fp.FP16
    assert fp.sum([b, b]).format == fp.BF16
    with fp.trace() as t:
        fp.asarray([V, V])
        np.where([V, V], V, 1.0)
    assert t.count("escaped") == 0
    with pytest.raises(
        fp.ArgumentError, match="a list of arrays of bf16 and fp16 has no one format"
    ):
        fp.asarray([V, b])
    with pytest.raises(fp.ArgumentError, match="add of fp16 and bf16"):
        np.add(V, [b[0], 1, 2, 3])


def test_formats_without_zero_and_beyond_float64():
    e8 = fp.array([1.0, 2.0], "e8m0")
    padded = np.pad(e8, 1)
    assert np.isnan(padded).tolist() == [True, False, False, True]  # as zeros_like: it has no zero
    assert padded.codes.tolist() == [255, 127, 128, 255]
    assert np.isnan(fp.sum(e8[:0]).item())
    with pytest.raises(fp.UnsupportedError, match="tril fills with zeros, and e8m0 has none"):
        np.tril(e8.reshape(1, 2))
    with pytest.raises(fp.ArgumentError, match="e8m0 has no zero to pad with"):
        fp.conv2d(e8.reshape(1, 1, 1, 2), e8.reshape(1, 1, 1, 2), padding=1)
    wide = fp.array([3, math.nan, 1], fp.p3109(15, 1))
    for function in (np.sign, np.frexp, np.modf, np.spacing, np.sort, np.argmin, np.unique):
        with pytest.raises(fp.UnsupportedError, match=r"beyond float64|use fp\.ulp"):
            function(wide)
    assert np.sort(wide[::2]).tolist() == [1.0, 4.0]  # 3 is a tie that goes to the even code


def test_errors_of_shapes_are_ours():
    for call in (
        lambda: np.logical_and(V, [1, 2]),
        lambda: np.ldexp(V, [1, 2]),
        lambda: np.heaviside(V, [1, 2]),
        lambda: V.transpose(0, 0),
        lambda: np.diff(V, n=-1),
        lambda: fp.sum(X, axis=(0, 1)),
        lambda: fp.sum(X, axis=True),
    ):
        with pytest.raises(fp.ArgumentError):
            call()

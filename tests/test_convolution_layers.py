"""Convolutions in training: every value against loops of NumPy's float16 or of the reference, by places."""

from __future__ import annotations

import convolution_terms as terms
import numpy as np
import pytest
from convolution_terms import Moves
from oracles import assert_same

import fpemu as fp
from fpemu import exact, nn
from fpemu.accumulation import threads
from fpemu.autograd import draws, places
from fpemu.autograd.operations import CONV1D, CONV2D, CONV_TRANSPOSE2D
from fpemu.exact import matrix_units
from fpemu.linalg import patches
from fpemu.linalg.geometry import Geometry

rng = np.random.default_rng(8)
HALF = "weights=fp16 activations=fp16 gradients=fp16 accumulate=fp16"


def half(*shape: int) -> fp.Array:
    return fp.array(rng.standard_normal(shape), "fp16")


def passes(policy: str, operation, inputs, grad, place="layers.0", needed=(True, True, True), **o):
    """Result and gradients of an operation under a policy."""
    with fp.Policy.parse(policy):
        site = places.site(place, operation.name, tuple(v.format for v in inputs))
        y, saved = operation.forward(site, *inputs, **o)
        return y, *operation.backward(site, saved, grad, needed[: len(inputs)])


def options_of(m: Moves):
    return {"stride": m.stride, "padding": m.before, "dilation": m.dilation, "groups": m.groups}


PLAIN = Moves(before=(1, 1))
ODD = Moves((2, 1), (1, 2), None, (1, 2), 2)


# -- FP16, every product and sum: NumPy's float16, one after another --------------------------------


@pytest.mark.parametrize("m", [PLAIN, ODD])
def test_a_half_precision_convolution_is_the_loop(m):
    x, w, b = half(2, 2, 5, 6), half(4, 2 // m.groups, 3, 2), half(4)
    size = Geometry((3, 2), m.stride, m.before, m.dilation).convolved((5, 6))
    g = half(2, 4, *size)
    y, to_x, to_w, to_b = passes(HALF, CONV2D, (x, w, b), g, **options_of(m))
    v = [a.to_numpy() for a in (x, w, b, g)]
    want = terms.summed(terms.forward(v[0], v[1], size, m), (2, 4, *size), terms.in_halves)
    want = np.float16(want) + np.float16(v[2]).reshape(1, -1, 1, 1)
    assert_same(y, want.astype(float), want)
    want = terms.summed(terms.stamped(v[3], v[1], (5, 6), m), x.shape, terms.in_halves)
    assert_same(to_x, want, want)
    want = terms.summed(terms.lying(v[0], v[3], w.shape, m), w.shape, terms.in_halves)
    assert_same(to_w, want, want)
    # The bias gradient: images, then rows, then columns.
    sums = [terms.in_halves([(1.0, e) for e in v[3][:, o].reshape(-1)]) for o in range(4)]
    assert_same(to_b, np.array(sums), sums)


def test_a_half_precision_transposed_convolution_is_the_loop():
    m, more = Moves((2, 2), (1, 0), None, (1, 1), 2), (1, 0)
    x, w, b = half(2, 4, 3, 3), half(4, 1, 3, 2), half(2)
    size = Geometry((3, 2), m.stride, m.before).transposed((3, 3), more)
    g = half(2, 2, *size)
    y, to_x, to_w, _ = passes(
        HALF, CONV_TRANSPOSE2D, (x, w, b), g, **options_of(m), output_padding=more
    )
    v = [a.to_numpy() for a in (x, w, b, g)]
    want = terms.summed(terms.stamped(v[0], v[1], size, m), g.shape, terms.in_halves)
    want = np.float16(want) + np.float16(v[2]).reshape(1, -1, 1, 1)
    assert_same(y, want.astype(float), want)
    want = terms.summed(terms.forward(v[3], v[1], (3, 3), m), x.shape, terms.in_halves)
    assert_same(to_x, want, want)
    want = terms.summed(terms.lying(v[3], v[0], w.shape, m), w.shape, terms.in_halves)
    assert_same(to_w, want, want)


def test_sequences_are_images_of_one_row():
    x, w, b, g = half(2, 4, 9), half(6, 2, 3), half(6), half(2, 6, 4)
    flat = passes(HALF, CONV1D, (x, w, b), g, stride=2, padding=1, dilation=2, groups=2)
    rows = [v.reshape((*v.shape[:2], 1, v.shape[2])) for v in (x, w, g)]
    options = {"stride": (1, 2), "padding": (0, 1), "dilation": (1, 2), "groups": 2}
    images = passes(HALF, CONV2D, (rows[0], rows[1], b), rows[2], **options)
    for one, other in zip(flat, images, strict=True):
        assert one.tolist() == other.reshape(one.shape).tolist()
    assert [v.shape for v in flat] == [g.shape, x.shape, w.shape, b.shape]


@pytest.mark.parametrize(("kernel", "dilation"), [((3, 2), (1, 1)), ((2, 4), (3, 1))])
def test_same_padding_puts_the_odd_one_at_the_end(kernel, dilation):
    x, w = half(1, 1, 5, 4), half(1, 1, *kernel)
    g = half(1, 1, 5, 4)
    total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    before = tuple(n // 2 for n in total)
    after = tuple(n - n // 2 for n in total)
    m = Moves(before=before, after=after, dilation=dilation)
    got = passes(HALF, CONV2D, (x, w), g, padding="same", dilation=dilation)
    v = [a.to_numpy() for a in (x, w, g)]
    for one, placed in zip(
        got,
        (
            terms.forward(v[0], v[1], (5, 4), m),
            terms.stamped(v[2], v[1], (5, 4), m),
            terms.lying(v[0], v[2], w.shape, m),
        ),
        strict=True,
    ):
        want = terms.summed(placed, one.shape, terms.in_halves)
        assert_same(one, want, want)
    y, *_ = passes(HALF, CONV2D, (half(1, 1, 5, 5), half(1, 1, 3, 3)), half(1, 1, 3, 3),
                   padding="valid")  # fmt: skip
    assert y.shape == (1, 1, 3, 3)


# -- formats by role -----------------------------------------------------------------------------------

MIXED = "weights=e4m3 activations=bf16 gradients=e5m2 outputs=fp32"


def rounded(x: fp.Array, f: fp.Format) -> np.ndarray:
    return np.vectorize(lambda v: exact.round_to(float(v), f), otypes=[float])(x.to_numpy())


@pytest.mark.parametrize("m", [PLAIN, ODD])
def test_operands_are_cast_by_role(m):
    x, w, b = (
        fp.array(rng.standard_normal(n), "fp32")
        for n in ((2, 2, 4, 5), (2, 2 // m.groups, 2, 2), 2)
    )
    size = Geometry((2, 2), m.stride, m.before, m.dilation).convolved((4, 5))
    g = fp.array(rng.standard_normal((2, 2, *size)), "fp32")
    policy = f"{MIXED} accumulate=bf16"
    y, to_x, to_w, to_b = passes(policy, CONV2D, (x, w, b), g, **options_of(m))
    assert {v.format for v in (y, to_x, to_w, to_b)} == {fp.FP32}
    xs, ws, gs = rounded(x, fp.BF16), rounded(w, fp.E4M3), rounded(g, fp.E5M2)

    def judge(pairs):
        total = 0.0
        for p, q in pairs:
            value, _ = exact.exact_result("multiply", p, q)
            total = exact.add(total, exact.round_to(value, fp.BF16), fp.BF16)
        return total

    want = terms.summed(terms.forward(xs, ws, size, m), y.shape, judge)
    for o, bias in enumerate(b.tolist()):
        bias = exact.round_to(bias, fp.BF16)
        want[:, o] = np.vectorize(lambda t, bias=bias: exact.add(float(t), bias, fp.BF16))(
            want[:, o]
        )
    assert_same(y, want, want)
    want = terms.summed(terms.stamped(gs, ws, (4, 5), m), x.shape, judge)
    assert_same(to_x, want, want)
    want = terms.summed(terms.lying(xs, gs, w.shape, m), w.shape, judge)
    assert_same(to_w, want, want)


@pytest.mark.parametrize("unit", ["h100 wgmma", "h100 mma", "a100 mma accumulator=fp16"])
@pytest.mark.parametrize("operation", [CONV2D, CONV_TRANSPOSE2D])
def test_a_matrix_unit_makes_all_three_products(unit, operation):
    """In FP8 of two kinds where the unit multiplies them, by the reference."""
    fp8 = not unit.startswith("a100")
    kinds = (fp.E4M3, fp.E5M2) if fp8 else (fp.FP16, fp.FP16)
    policy = f"weights={kinds[0].name} activations={kinds[0].name} gradients={kinds[1].name} outputs=fp32"
    policy += f" accumulate='{unit}'"
    m = Moves((2, 1), (1, 0), None, (1, 1), 2)
    x, w = (fp.array(rng.standard_normal(n), kinds[0]) for n in ((2, 4, 4, 4), (4, 2, 3, 2)))
    turned = operation is CONV_TRANSPOSE2D
    geometry = Geometry((3, 2), m.stride, m.before)
    size = geometry.transposed((4, 4), (0, 0)) if turned else geometry.convolved((4, 4))
    g = fp.array(rng.standard_normal((2, 4, *size)), kinds[1])
    got = passes(policy, operation, (x, w), g, **options_of(m))
    v = [a.to_numpy() for a in (x, w, g)]
    below, above = (v[2], v[0]) if turned else (v[0], v[2])
    roads = (
        (terms.stamped if turned else terms.forward)(v[0], v[1], size, m),
        (terms.forward if turned else terms.stamped)(v[2], v[1], (4, 4), m),
        terms.lying(below, above, w.shape, m),
    )
    formats = [(w, x), (w, g), (x, g) if turned else (g, x)]
    for one, placed, (rows, columns) in zip(got, roads, formats, strict=True):
        instruction = fp.MatrixUnit.parse(unit).on(rows.format, columns.format)

        def judge(pairs, instruction=instruction):
            a, b = zip(*pairs, strict=True)
            return matrix_units.matrix_unit(a, b, 0.0, instruction)

        want = terms.summed(placed, one.shape, judge)
        assert_same(one, want, want)


def test_the_functions_take_two_formats_where_a_matrix_unit_does():
    x, w = (
        fp.array(rng.standard_normal((1, 2, 3, 3)), "e5m2"),
        fp.array(rng.standard_normal((3, 2, 2, 2)), "e4m3"),
    )
    y = fp.conv2d(x, w, accumulate="h100 wgmma")
    patch = x[0, :, :2, 1:].reshape(1, 8)
    want = fp.matmul(w.reshape(3, 8), patch.T, accumulate="h100 wgmma")
    assert y[0, :, 0, 1].tolist() == want[:, 0].tolist()
    assert fp.conv2d_input(x.shape, w, y.astype("e5m2"), accumulate="h100 wgmma").shape == x.shape
    with pytest.raises(
        fp.ArgumentError, match="conv2d of e5m2 and e4m3: operands must share a format"
    ):
        fp.conv2d(x, w, accumulate="fp32")
    with pytest.raises(fp.UnsupportedError, match="does not multiply"):
        fp.conv2d(
            x, w.astype("fp16"), accumulate=fp.MatrixUnit.parse("h100 wgmma").on("e4m3", "e5m2")
        )


def test_a_rule_for_one_pass_only():
    x, w, g = half(2, 1, 4, 4), half(2, 1, 3, 3), half(2, 2, 2, 2)
    base = passes(f"{HALF} outputs=fp32", CONV2D, (x, w), g)
    text = f"{HALF} outputs=fp32; */weight_grad/input: format=e4m3"
    other = passes(text, CONV2D, (x, w), g)
    low = fp.array(rounded(x, fp.E4M3), "fp16")
    assert other[2].tolist() == passes(f"{HALF} outputs=fp32", CONV2D, (low, w), g)[2].tolist()
    assert other[2].tolist() != base[2].tolist()
    assert [v.tolist() for v in other[:2]] == [v.tolist() for v in base[:2]]
    text = f"{HALF} outputs=fp32; */input_grad/accumulate: accumulate='fp32 kahan'"
    kahan = passes(text, CONV2D, (x, w), g)
    want = fp.conv2d_input(x.shape, w, g, accumulate="fp32 kahan", out="fp32")
    assert kahan[1].tolist() == want.tolist() != base[1].tolist()


def test_scaled_operands_of_convolutions_are_scaled_back():
    small = fp.array(np.ldexp(rng.standard_normal((1, 2, 5, 5)), -30), "fp32")
    layer = nn.Conv2d(2, 3, 3, bias=False)
    with fp.policies["fp8_hybrid"]:
        y = layer(fp.Tensor(small)).numpy()
    with fp.policies["fp32"]:
        want = layer(fp.Tensor(small)).numpy()
    assert np.abs(y - want).max() < 0.1 * np.abs(want).max()
    assert np.abs(want).max() < 2.0**-26  # unscaled, E4M3 would make zeros of them


# -- places --------------------------------------------------------------------------------------------


def test_every_rounding_of_a_convolution_has_its_place():
    x, w, b = (fp.array(rng.standard_normal(n), "fp32") for n in ((2, 1, 4, 4), (3, 1, 2, 2), 3))
    g = fp.array(rng.standard_normal((2, 3, 3, 3)), "fp32")
    policy = "weights=fp16 activations=bf16 gradients=e5m2 accumulate=fp16"
    with fp.trace() as t:
        passes(policy, CONV2D, (x, w, b), g)
    values = {row["place"]: row["values"] for row in t.to_dicts()}
    outputs, pixels, weights = 2 * 3 * 9, 2 * 16, 3 * 4
    assert values == {
        "layers.0/forward/input": pixels,
        "layers.0/forward/weight": weights,
        "layers.0/forward/accumulate": outputs * 4 * 2,  # a product and a sum for each term
        "layers.0/forward/bias": 3,
        "layers.0/forward/bias_add": outputs,
        "layers.0/forward/output": outputs,
        "layers.0/backward/output_grad": outputs,
        "layers.0/input_grad/accumulate": pixels * 3 * 4 * 2,
        "layers.0/input_grad/output": pixels,
        "layers.0/weight_grad/accumulate": weights * 2 * 9 * 2,
        "layers.0/weight_grad/output": weights,
        "layers.0/bias_grad/accumulate": outputs * 2,
        "layers.0/bias_grad/output": 3,
    }


def test_watching_changes_no_bit_and_batches_count_as_images_do(monkeypatch):
    x, w, b, g = half(3, 2, 6, 6), half(4, 2, 3, 3), half(4), half(3, 4, 6, 6)

    def run():
        with fp.trace() as t:
            found = passes(HALF, CONV2D, (x, w, b), g, padding=1)
        return [v.tolist() for v in found], t.to_dicts()

    plain = [v.tolist() for v in passes(HALF, CONV2D, (x, w, b), g, padding=1)]
    together, rows = run()
    monkeypatch.setattr(patches, "NEAR_BYTES", 1)
    alone, same = run()
    assert plain == together == alone
    assert rows == same


# -- many images at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    ["fp16", "fp32", "bf16 pairwise:4", "fp16 kahan", "fp16 rounding=toward_zero", "h100 mma",
     "fp16 ring:3", "fp16 rounding=stochastic seed=3"],
)  # fmt: skip
def test_images_together_have_the_bits_of_images_alone(monkeypatch, model):
    x, w, g = half(5, 4, 7, 6), half(6, 2, 3, 2), half(5, 6, 4, 6)
    options = {"stride": (2, 1), "padding": (1, 1), "groups": 2, "dilation": (1, 2)}
    g = half(*fp.conv2d(x, w, **options).shape)
    calls = []
    run = patches.run
    spy = lambda a, b, *more, **how: (calls.append(b.shape), run(a, b, *more, **how))[1]  # noqa: E731
    monkeypatch.setattr(patches, "run", spy)

    def everything():
        calls.clear()
        y = fp.conv2d(x, w, accumulate=model, **options)
        back = fp.conv2d_input(x.shape, w, g, accumulate=model, **options)
        return (y.tolist(), back.tolist()), len(calls)

    together, few = everything()
    monkeypatch.setattr(patches, "NEAR_BYTES", 1)
    alone, many = everything()
    assert together == alone
    by_place = "ring" in model or "stochastic" in model
    assert few == (2 * 5 * 2 if by_place else 2 * 2)  # by image and group, or by group
    assert many >= 2 * 5 * 2
    # One image is what it is alone, unless it draws for itself.
    if "stochastic" not in model:
        assert fp.conv2d(x[3:4], w, accumulate=model, **options).tolist() == together[0][3:4]


@pytest.mark.parametrize("policy", [HALF, "fp16_master", "bf16 rounding=stochastic"])
def test_two_threads_change_no_bit(monkeypatch, policy):
    x, w, b, g = half(4, 3, 9, 9), half(5, 3, 3, 3), half(5), half(4, 5, 9, 9)
    results = []
    monkeypatch.setattr(threads, "_LEAST_WORK", 0)
    for count in (1, 2):
        monkeypatch.setattr(threads, "threads", lambda count=count: count)
        with draws.block(seed=1, step=1):
            results.append([v.tolist() for v in passes(policy, CONV2D, (x, w, b), g, padding=1)])
    assert results[0] == results[1]


def test_random_bits_are_those_of_the_place():
    x, w, g = half(2, 1, 5, 5), half(2, 1, 3, 3), half(2, 2, 3, 3)
    policy = f"{HALF} rounding=stochastic"

    def drawn(place="layers.0", step=1):
        with draws.block(seed=4, step=step):
            return [v.tolist() for v in passes(policy, CONV2D, (x, w), g, place)]

    with draws.block(seed=4, step=1):
        seed = draws.key("layers.0/forward/accumulate")
    want = fp.conv2d(x, w, accumulate=f"fp16 rounding=stochastic seed={seed}")
    assert drawn()[0] == want.tolist()
    assert drawn() == drawn()
    for other in (drawn("layers.1"), drawn(step=2)):
        assert all(a != b for a, b in zip(drawn(), other, strict=True))


# -- planted bugs ------------------------------------------------------------------------------------------


def test_kernels_not_reversed_are_caught(monkeypatch):
    right = Geometry.spread

    def reversed_again(self, images, size):
        return right(self, images, size)[..., ::-1, ::-1]

    monkeypatch.setattr(Geometry, "spread", reversed_again)
    with pytest.raises(AssertionError):
        test_a_half_precision_convolution_is_the_loop(PLAIN)


def test_images_mixed_up_are_caught(monkeypatch):
    """The columns of a batch read as if channels came after images."""
    right = np.moveaxis
    wrong = lambda x, a, b: x.reshape(b_shape(x)) if (a, b) == (1, 0) else right(x, a, b)  # noqa: E731
    b_shape = lambda x: (x.shape[1], x.shape[0], *x.shape[2:])  # noqa: E731
    monkeypatch.setattr(patches.np, "moveaxis", wrong)
    with pytest.raises((AssertionError, ValueError)):
        test_images_together_have_the_bits_of_images_alone(monkeypatch, "fp16")


def test_a_weight_gradient_in_another_order_is_caught(monkeypatch):
    right = patches._lying
    monkeypatch.setattr(patches, "_lying", lambda view: right(view[:, :, :, ::-1]))
    with pytest.raises(AssertionError):
        test_a_half_precision_convolution_is_the_loop(ODD)


# -- layers ------------------------------------------------------------------------------------------------


def test_layers_have_pytorchs_keys_layouts_and_bounds():
    fp.manual_seed(1)
    layers = {
        nn.Conv2d(4, 6, (3, 2), groups=2): ((6, 2, 3, 2), 12),
        nn.Conv1d(4, 6, 5): ((6, 4, 5), 20),
        nn.ConvTranspose2d(4, 6, 3, groups=2): ((4, 3, 3, 3), 27),
        nn.Conv2d(50, 40, 3): ((40, 50, 3, 3), 450),
    }
    for layer, (shape, fan_in) in layers.items():
        state = layer.state_dict()
        assert {k: v.shape for k, v in state.items()} == {
            "weight": shape,
            "bias": (layer.channels[1],),
        }
        for drawn in state.values():
            assert np.abs(drawn).max() <= fan_in**-0.5
            assert drawn.std() > 0
    largest = state["weight"]  # of 18000
    assert np.abs(largest).max() > 0.999 * 450**-0.5
    assert abs(largest.std() / (450**-0.5 / 3**0.5) - 1) < 0.02
    assert list(nn.Conv2d(1, 1, 1, bias=False).state_dict()) == ["weight"]
    fp.manual_seed(1)
    again = nn.Conv2d(4, 6, (3, 2), groups=2).state_dict()["weight"]
    assert again.tolist() == next(iter(layers)).state_dict()["weight"].tolist()
    shown = repr(nn.Conv2d(4, 6, 3, 2, padding="valid", groups=2, bias=False))
    assert shown == "Conv2d(4, 6, kernel_size=3, stride=2, padding=valid, groups=2, bias=False)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Conv2d(0, 2, 3), "Conv2d's in_channels must be a positive integer, got 0"),
        (lambda: nn.Conv1d(1, 2.5, 3), "Conv1d's out_channels must be a positive integer, got 2.5"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups must divide the 3 channels and the 4 filters"),
        (lambda: nn.Conv2d(1, 1, 0), "kernel_size must be an integer of at least 1"),
        (lambda: nn.Conv1d(1, 1, (3, 3)), "options of sequences are one integer, got (3, 3)"),
        (lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"), "padding='same' needs stride 1"),
        (lambda: nn.Conv2d(1, 1, 3, padding="full"), "must be integers, 'valid' or 'same', got 'full'"),
        (lambda: nn.Conv2d(1, 1, 3, padding_mode="reflect"), "pads with zeros only"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, padding="same"), "padding must be integers, got 'same'"),
        (lambda: nn.Conv2d(10**5, 10**5, 3), "would have 90000000000 weights"),
        (
            lambda: nn.Conv2d(1, 1, 3)(np.zeros((1, 4, 4), np.float32)),
            "conv2d takes input (N, C, H, W) and weights (O, C / groups, kh, kw), got shapes (1, 4, 4)",
        ),
        (
            lambda: nn.Conv2d(2, 1, 3)(np.zeros((1, 3, 4, 4), np.float32)),
            "take 2 channels, the images have 3",
        ),
        (
            lambda: nn.ConvTranspose2d(2, 1, 3)(np.zeros((1, 3, 4, 4), np.float32)),
            "take 2 channels, the images have 3",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises((fp.ArgumentError, fp.UnsupportedError)) as caught:
        call()
    assert message in str(caught.value)

"""Layers rounded where they say: bits against the exact reference, step by step."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from oracles import assert_same
from recipes import Recipe

import fpemu as fp
from fpemu import exact, nn
from fpemu.autograd import draws, places
from fpemu.autograd import operations as table
from fpemu.autograd.operations import batch_norm
from fpemu.autograd.tensor import Tensor

rng = np.random.default_rng(3)
POLICIES = [
    "fp16",
    "weights=bf16 activations=fp16 gradients=e5m2 accumulate=fp32 inner=bf16",
    "weights=e4m3 activations=e4m3 gradients=e5m2 accumulate=fp32 outputs=bf16 saturation=finite",
    "fp16 inner='bf16 pairwise:2' rounding=toward_zero subnormals=ftz loss=bf16",
    "bf16 inner=fp16 rounding=to_odd loss=e5m2",
]
SHAPE = (3, 2, 2)


def numbers(shape, f=fp.FP16) -> fp.Array:
    return fp.array(rng.standard_normal(shape), f)


class Judge:
    """What a policy makes of numbers, by the exact reference."""

    def __init__(self, text: str) -> None:
        self.policy = fp.Policy.parse(text)
        self.site = self.policy.site("here")
        self.settings = {
            name: getattr(self.policy, name) for name in ("rounding", "saturation", "subnormals")
        }

    def recipe(self) -> Recipe:
        return Recipe(self.site.inner("anywhere"))

    def rounded(self, x, f: fp.Format) -> np.ndarray:
        """Numbers rounded to `f`."""
        x = np.asarray(x, object)
        flat = [exact.round_to(v, f, **self.settings) for v in x.reshape(-1).tolist()]
        return np.array(flat).reshape(x.shape)

    def number(self, x, f: fp.Format) -> float:
        """A constant of the program, rounded to nearest whatever the mode."""
        return float(exact.round_to(x, f, saturation=self.policy.saturation))

    def handed(self, x, role: str) -> tuple[np.ndarray, fp.Format]:
        """What leaves an operation as the role's value; x is a pair of values and format."""
        f = self.policy.outputs or getattr(self.policy, role)
        return (x[0] if x[1] == f else self.rounded(x[0], f)), f

    def step(self, f: fp.Format):
        """One operation on single numbers, rounded to `f`."""

        def step(op, *operands):
            value, _ = exact.exact_result(op, *operands, rounding=self.policy.rounding)
            return exact.round_to(value, f, **self.settings)

        return step


def pair(x: fp.Array, *shape: int):
    return x.to_numpy().astype(float).reshape(shape or x.shape), x.format


def by_channel(x):
    values, f = x
    return np.moveaxis(values, 1, 0).reshape(values.shape[1], -1), f


def from_channels(x, shape):
    return np.moveaxis(x[0].reshape(shape[1], shape[0], -1), 1, 0).reshape(shape), x[1]


def scale(recipe, v, eps=1e-5):
    rounded = recipe.step("convert", (np.full((1, 1), eps), fp.FP64))
    return recipe.function("rsqrt", recipe.step("add", v, rounded))


def through_mean(recipe, g, n, r):
    a = recipe.mean(g, 1)
    b = recipe.mean(recipe.step("multiply", g, n), 1)
    u = recipe.step("subtract", g, a)
    return recipe.step("multiply", recipe.step("subtract", u, recipe.step("multiply", n, b)), r)


def affine(recipe, n, w, b):
    return recipe.step("add", recipe.step("multiply", n, w), b)


@pytest.mark.parametrize("text", POLICIES)
def test_batch_norm_is_its_recipe(text):
    judge = Judge(text)
    x, g = numbers(SHAPE), numbers(SHAPE, fp.E5M2)
    w, b = numbers(2, fp.FP32), numbers(2, fp.FP32)
    running = [Tensor(numbers(2, fp.BF16)), Tensor(fp.array([0.5, 2.0], fp.BF16))]
    before = [t.data.tolist() for t in running]
    y, saved = table.BATCH_NORM.forward(
        judge.site, x, w, b, running=tuple(running), momentum=0.3, training=True
    )
    recipe, rows = judge.recipe(), by_channel(pair(x))
    mu = recipe.mean(rows, 1)
    d = recipe.step("subtract", rows, mu)
    r = scale(recipe, recipe.mean(d, 1, squares=True))
    n = recipe.step("multiply", d, r)
    weight, bias = (judge.handed(pair(p, 2, 1), "weights") for p in (w, b))
    want = from_channels(affine(recipe, n, weight, bias), SHAPE)
    assert_same(y.to_numpy(), judge.handed(want, "activations")[0], x.to_numpy())
    # The running statistics, in BF16 whatever the policy.
    squares, f = recipe.total(d, 1, squares=True)
    unbiased = judge.rounded([[Fraction(v) / 5] for v in squares.reshape(-1)], f)
    step, keep, take = (judge.step(fp.BF16), *(judge.number(v, fp.BF16) for v in (0.7, 0.3)))
    for t, old, new in zip(running, before, (mu[0], unbiased), strict=True):
        for i in range(2):
            kept, part = step("multiply", keep, old[i]), step("multiply", take, float(new[i, 0]))
            assert_same(t.data.tolist()[i], step("add", kept, part), i)
        assert t.data.format == fp.BF16
    to_x, to_w, to_b = table.BATCH_NORM.backward(judge.site, saved, g, (True, True, True))
    above = by_channel(pair(g))
    want = through_mean(recipe, recipe.step("multiply", above, weight), n, r)
    want = judge.handed(from_channels(want, SHAPE), "gradients")
    assert_same(to_x.to_numpy(), want[0], g.to_numpy())
    total = recipe.total(recipe.step("multiply", above, n), 1)
    assert_same(to_w.to_numpy(), judge.handed(total, "gradients")[0], "weight")
    assert_same(to_b.to_numpy(), judge.handed(recipe.total(above, 1), "gradients")[0], "bias")


def test_the_judge_catches_a_biased_variance(monkeypatch):
    right = batch_norm._update
    monkeypatch.setattr(batch_norm, "_update", lambda *args: right(*args[:-1], args[-1] + 1))
    with pytest.raises(AssertionError, match="differ"):
        test_batch_norm_is_its_recipe("fp16")


@pytest.mark.parametrize("text", POLICIES)
def test_group_and_layer_norm_are_their_recipe(text):
    judge = Judge(text)
    shape = (2, 4, 3)
    x, g, w, b = numbers(shape), numbers(shape, fp.E5M2), numbers(4), numbers(4, fp.FP32)
    y, saved = table.GROUP_NORM.forward(judge.site, x, w, b, groups=2)
    recipe, rows = judge.recipe(), pair(x, 4, 6)
    d = recipe.step("subtract", rows, recipe.mean(rows, 1))
    r = scale(recipe, recipe.mean(d, 1, squares=True))
    n = recipe.step("multiply", d, r)
    weight, bias = (judge.handed(pair(p, 1, 4, 1), "weights") for p in (w, b))
    want = affine(recipe, (n[0].reshape(shape), n[1]), weight, bias)
    assert_same(y.to_numpy(), judge.handed(want, "activations")[0], x.to_numpy())
    to_x, to_w, _ = table.GROUP_NORM.backward(judge.site, saved, g, (True, True, True))
    above, f = recipe.step("multiply", pair(g), weight)
    want = judge.handed(through_mean(recipe, (above.reshape(4, 6), f), n, r), "gradients")
    assert_same(to_x.to_numpy(), want[0].reshape(shape), g.to_numpy())
    products = recipe.step("multiply", pair(g), (n[0].reshape(shape), n[1]))
    want = judge.handed(recipe.total(by_channel(products), 1), "gradients")
    assert_same(to_w.to_numpy(), want[0], "weight")
    # With one group, no parameters and one axis it is a layer norm.
    one, _ = table.GROUP_NORM.forward(judge.site, x, groups=1)
    other, _ = table.LAYER_NORM.forward(judge.site, x, shape=(4, 3))
    assert_same(one.to_numpy(), other.to_numpy(), x.to_numpy())


@pytest.mark.parametrize("text", POLICIES)
@pytest.mark.parametrize("name", ["gelu", "silu", "leaky_relu"])
def test_activations_are_their_recipe(name, text):
    judge = Judge(text)
    x, g = numbers(12), numbers(12, fp.E5M2)
    operation = table.TABLE[name]
    y, saved = operation.forward(judge.site, x)
    (to_x,) = operation.backward(judge.site, saved, g, (True,))
    f = judge.site.rule("inner", "anywhere").format
    step = judge.step(f)
    c = lambda v: judge.number(v, f)  # noqa: E731
    read = lambda v: float(judge.rounded(v, f)) if f != x.format else v  # noqa: E731
    for v, h, got, back in zip(x.tolist(), g.tolist(), y.tolist(), to_x.tolist(), strict=True):
        if name == "gelu":
            e = step("erf", step("multiply", v, c(math.sqrt(0.5))))
            half = step("multiply", 0.5, step("add", 1.0, e))
            want = step("multiply", v, half)
            bell = step("exp", step("multiply", -0.5, step("multiply", v, v)))
            density = step("multiply", bell, c(1 / math.sqrt(2 * math.pi)))
            slope = step("multiply", h, step("add", half, step("multiply", v, density)))
        elif name == "silu":
            s = step("sigmoid", read(v))
            want = step("multiply", v, s)
            rest = step("add", 1.0, step("multiply", v, step("subtract", 1.0, s)))
            slope = step("multiply", h, step("multiply", s, rest))
        else:  # rounded once, straight to the result's format
            factor = Fraction(1 if v > 0 else c(0.01))
            want, slope = Fraction(v) * factor, Fraction(h) * factor
        now = fp.FP64 if name == "leaky_relu" else f
        want = judge.handed((np.array([want]), now), "activations")[0]
        slope = judge.handed((np.array([slope]), now), "gradients")[0]
        assert_same([got, back], [*want, *slope], [v, h])


@pytest.mark.parametrize("text", POLICIES)
def test_gradients_of_an_embedding_are_added_in_order(text):
    judge = Judge(text)
    weight = fp.array(rng.standard_normal((4, 3)), fp.FP32)
    indices = np.array([[2, 0, 2], [2, 3, 0], [2, 2, 3]])
    y, saved = table.EMBEDDING.forward(judge.site, weight, indices=indices, padding_idx=3)
    copies = judge.handed(pair(weight), "weights")
    assert_same(y.to_numpy(), judge.handed((copies[0][indices], copies[1]), "activations")[0], "y")
    g = numbers((3, 3, 3), fp.BF16)
    (to_w,) = table.EMBEDDING.backward(judge.site, saved, g, (True,))
    f = judge.policy.outputs or judge.policy.gradients
    step, want = judge.step(f), np.zeros((4, 3))
    for row, piece in zip(indices.reshape(-1), g.to_numpy().reshape(-1, 3), strict=True):
        for j in range(3):
            if row != 3:
                term = float(judge.rounded(float(piece[j]), f))
                want[row, j] = step("add", want[row, j], term)
    assert to_w.format == f
    assert_same(to_w.to_numpy(), want, "gradient")


def test_many_uses_of_a_row_swamp_and_are_counted():
    site = fp.Policy.parse("weights=fp16 activations=fp16 gradients=e5m2").site("here")
    weight = fp.array(np.ones((2, 1)), fp.FP16)
    _, saved = table.EMBEDDING.forward(site, weight, indices=np.zeros(20, int))
    with fp.trace() as t:
        ones = fp.array(np.ones((20, 1)), fp.E5M2)
        (to_w,) = table.EMBEDDING.backward(site, saved, ones, (True,))
    assert to_w.tolist() == [[8.0], [0.0]]  # 8 + 1 is a tie, and 8 the even neighbour
    assert t.count("swamped", "here/weight_grad/sum", "gradients") == 12


def test_one_working_copy_of_a_row_however_often_it_is_used():
    table_ = fp.array(rng.standard_normal((50, 1)), fp.FP32)
    with draws.block(1, 1):
        site = fp.Policy.parse("bf16 rounding=stochastic").site("here")
        y, _ = table.EMBEDDING.forward(site, table_, indices=np.arange(100) % 50)
    assert_same(y.to_numpy()[:50], y.to_numpy()[50:], "copies")
    assert (y.to_numpy()[:50] != fp.quantize(table_.to_numpy(), "bf16")).any()


def test_dropout_follows_from_seed_step_and_place():
    x = Tensor(np.float32(rng.standard_normal(1000)), requires_grad=True)

    def run(seed, step, place="drop", before=0):
        layer = nn.Dropout(0.3)
        layer.set_place(place)
        with draws.block(seed, step):
            for _ in range(before):
                layer(x)
            return layer(x).numpy() != 0

    first = run(1, 1)
    assert (run(1, 1) == first).all()
    for other in (run(2, 1), run(1, 2), run(1, 1, "elsewhere"), run(1, 1, before=1)):
        assert 300 < np.count_nonzero(other != first) < 540  # 2 p (1 - p) of them: 420
    assert abs(first.mean() - 0.7) < 0.06


@pytest.mark.parametrize("text", POLICIES)
def test_what_dropout_keeps_is_scaled_with_one_rounding(text):
    judge = Judge(text)
    x, g = numbers(40), numbers(40, fp.E5M2)
    y, factors = table.DROPOUT.forward(judge.site, x, p=0.3)
    (to_x,) = table.DROPOUT.backward(judge.site, factors, g, (True,))
    number = judge.number(1 / 0.7, judge.site.rule("inner", "constant").format)
    kept = factors.to_numpy() != 0
    assert set(factors.to_numpy()[kept]) == {number}
    for v, role, got in ((x, "activations", y), (g, "gradients", to_x)):
        exact_ = [Fraction(a) * Fraction(number) for a in v.tolist()]
        want = judge.rounded(exact_, judge.policy.outputs or getattr(judge.policy, role))
        assert_same(got.to_numpy()[kept], want[kept], v.to_numpy()[kept])
    assert not y.to_numpy()[~kept].any()


def test_dropout_in_use_and_at_the_ends():
    x = np.float32([1.0, -2.0])
    layer = nn.Dropout(1.0)
    assert layer(x).numpy().tolist() == [0.0, 0.0]
    assert nn.Dropout(0.0)(x).numpy().tolist() == x.tolist()
    assert layer.eval()(x).numpy().tolist() == x.tolist()


@pytest.mark.parametrize("text", POLICIES)
@pytest.mark.parametrize("name", ["mse_loss", "huber_loss", "binary_cross_entropy_with_logits"])
def test_losses_round_every_step_in_their_format(name, text):
    judge = Judge(text)
    f = judge.policy.loss
    step, c = judge.step(f), lambda v: judge.number(v, f)
    read = lambda v: float(judge.rounded(v, f)) if f != fp.FP16 else v  # noqa: E731
    x, t = numbers((2, 3)), fp.array(rng.random((2, 3)) * 2, fp.FP16)
    losses, slopes = [], []
    for a, b in zip(x.reshape(-1).tolist(), t.reshape(-1).tolist(), strict=True):
        a, b = read(a), (c(b) if name.startswith("binary") else read(b))
        d = step("subtract", a, b)
        if name == "mse_loss":
            losses.append(step("multiply", d, d))
            slopes.append(step("multiply", 2.0, d))
        elif name == "huber_loss":
            near = abs(d) <= 0.5
            inside = step("multiply", 0.5, step("multiply", d, d))
            losses.append(inside if near else step("multiply", 0.5, step("subtract", abs(d), 0.25)))
            slopes.append(d if near else math.copysign(0.5, d))
        else:
            s = step("subtract", min(a, 0.0), step("log1p", step("exp", -abs(a))))
            losses.append(step("subtract", step("multiply", c(1 - b), a), s))
            slopes.append(step("subtract", step("sigmoid", a), b))
    total = 0.0
    for v in losses:
        total = step("add", total, v)
    want = step("divide", total, 6.0)
    operation = table.TABLE[name]
    with judge.policy:
        if name == "mse_loss":
            loss, saved = operation.forward(judge.site, x, t)
        elif name == "huber_loss":
            loss, saved = operation.forward(judge.site, x, t, delta=0.5)
        else:
            targets = [[judge.number(v, f) for v in row] for row in t.tolist()]
            loss, saved = operation.forward(judge.site, x, targets=targets)
    assert_same(loss.item(), want, name)
    factor = step("divide", 1.0, 6.0)
    to_x, *_ = operation.backward(judge.site, saved, fp.array(1.0, f), (True, True))
    back = [[step("multiply", v, factor) for v in slopes]]
    assert_same(to_x.to_numpy(), judge.handed((np.array(back), f), "gradients")[0], name)


def test_smoothed_and_weighted_cross_entropy_step_by_step():
    f, weight = fp.BF16, np.array([0.5, 2.0, 1.0])
    judge = Judge("fp16 loss=bf16")
    step, c = judge.step(f), lambda v: judge.number(v, f)
    z, targets = fp.array(rng.standard_normal((3, 3)), fp.BF16), np.array([1, 0, -100])
    loss, _ = table.CROSS_ENTROPY.forward(
        judge.site, z, targets=targets, weight=weight, label_smoothing=0.3
    )
    total = 0.0
    for row, target in zip(z.tolist(), targets, strict=True):
        shifted = [step("subtract", v, max(row)) for v in row]
        summed = 0.0
        for v in shifted:
            summed = step("add", summed, step("exp", v))
        log = step("log", summed)
        own = step(
            "multiply",
            step("subtract", log, shifted[max(target, 0)]),
            weight[target] if target >= 0 else 0.0,
        )
        everything = 0.0
        for v, w in zip(shifted, weight, strict=True):
            everything = step("add", everything, step("multiply", step("subtract", log, v), w))
        if target < 0:
            everything = 0.0
        parts = step("multiply", own, c(0.7)), step("multiply", everything, c(0.3 / 3))
        total = step("add", total, step("add", *parts))
    assert loss.item() == step("divide", total, 2.5)


# -- places ----------------------------------------------------------------------------------------


def seen(model, *inputs, policy="fp16", **options) -> set[str]:
    with fp.trace() as t, fp.Policy.parse(policy):
        y = model(*inputs, **options)
        (y[0] if isinstance(y, tuple) else y).sum().backward()
    return {row["place"] for row in t.to_dicts()}


def test_every_step_of_a_transformer_layer_has_its_place():
    model = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    found = seen(model, np.float32(rng.standard_normal((1, 3, 4))))
    for place in (
        "self_attn.in_proj/forward/accumulate",
        "self_attn.scale/forward/output",
        "self_attn.scores/forward/accumulate",
        "self_attn.scores/left_grad/accumulate",
        "self_attn.softmax/forward/softmax",
        "self_attn.softmax/input_grad/softmax",
        "self_attn.dropout/forward/output",
        "self_attn.values/right_grad/accumulate",
        "self_attn.out_proj/weight_grad/accumulate",
        "norm1/forward/normalize",
        "norm2/weight_grad/sum",
        "linear1/forward/accumulate",
        "dropout1/forward/output",
        "add/forward/output",
        "add_2/forward/output",
    ):
        assert f"layers.0.{place}" in found


def test_recurrent_cells_name_their_steps():
    x = np.float32(rng.standard_normal((2, 3)))
    found = seen(nn.Sequential(nn.GRUCell(3, 4)), x)
    for place in ("input", "hidden", "r_sum", "z", "reset", "n", "difference", "keep", "output"):
        assert any(p.startswith(f"layers.0.{place}/forward") for p in found), place
    found = seen(nn.Sequential(nn.LSTMCell(3, 4)), x)
    for place in ("input", "hidden", "gates", "i", "f", "g", "o", "keep", "new", "cell", "output"):
        assert any(p.startswith(f"layers.0.{place}/forward") for p in found), place


def test_one_place_can_be_other_than_the_rest():
    """Scores accumulated in FP16, all else in FP32: a Transformer's softmax overflows there first."""
    model = nn.MultiheadAttention(4, 1, batch_first=True)
    x = Tensor(np.float32(rng.standard_normal((1, 3, 4))))

    def run(text):
        with fp.Policy.parse(text):
            return model(x, x, x)[0].numpy()

    base = run("fp32")
    assert_same(run("fp32; *.nothing/forward/accumulate: accumulate=fp16"), base, "base")
    assert (run("fp32; *.scores/forward/accumulate: accumulate=bf16") != base).any()
    assert (run("fp32; *.softmax/forward/softmax: accumulate=bf16") != base).any()


def test_watching_changes_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.GELU(), nn.Linear(4, 3))
    x = np.float32(rng.standard_normal((6, 3)))

    def run():
        model.zero_grad()
        with fp.policies["fp16"]:
            nn.cross_entropy(model(x), [0, 1, 2, 0, 1, 2], label_smoothing=0.1).backward()
        return [p.grad.to_numpy() for p in model.parameters()]

    plain = run()
    with fp.trace():
        watched = run()
    for a, b in zip(plain, watched, strict=True):
        assert_same(a, b, "gradients")


def test_masked_scores_in_formats_with_and_without_infinity():
    for f, want in ((fp.FP16, -math.inf), (fp.E4M3, -448.0)):
        x = fp.array(np.ones((1, 2)), f)
        site = places.site("here")
        y, _ = table.MASKED_FILL.forward(site, x, mask=np.array([True, False]), value=-math.inf)
        assert y.tolist() == [[want, 1.0]]


def test_random_steps_repeat_with_their_seed():
    model = nn.Sequential(nn.LayerNorm(4), nn.GELU(), nn.Softmax())
    x = np.float32(rng.standard_normal((3, 4)))

    def run(seed):
        with fp.Policy.parse("bf16 accumulate=bf16 rounding=stochastic"), draws.block(seed, 1):
            return model(x).numpy()

    assert_same(run(1), run(1), "same")
    assert (run(1) != run(2)).any()


def test_a_python_number_takes_the_format_of_the_tensor_that_it_meets():
    x = Tensor(fp.array([3.0], fp.E4M3))
    with fp.Policy.parse("fp32"):
        for y, want in ((x * 0.1, 3 * 0.1015625), (0.1 - x, 0.1015625 - 3), (1 / x, 1 / 3)):
            assert y.item() == fp.quantize(want, "fp32")


# -- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.BatchNorm1d(3)(np.ones((1, 3))), "needs more than one value"),
        (lambda: nn.BatchNorm1d(3)(np.ones((2, 4))), "input has 4 channels"),
        (lambda: nn.BatchNorm2d(3)(np.ones((2, 3))), "takes inputs of 4 dimensions"),
        (lambda: nn.BatchNorm1d(0), "num_features must be a positive integer, got 0"),
        (lambda: nn.LayerNorm(3)(np.ones((2, 4))), "whose last axes have this shape, got (2, 4)"),
        (lambda: nn.LayerNorm(3, eps=-1), "eps must be a finite number from 0 to inf, got -1"),
        (lambda: nn.GroupNorm(2, 3), "2 groups do not divide 3 channels"),
        (lambda: nn.Dropout(1.5), "p must be a finite number from 0 to 1, got 1.5"),
        (lambda: nn.Embedding(3, 2)([3]), "number 3 is out of range; allowed: 0 to 2"),
        (lambda: nn.Embedding(3, 2)([0.5]), "embedding takes integers"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx must be from -3 to 2"),
        (lambda: nn.GELU("sine"), "unknown approximation 'sine'"),
        (lambda: nn.MultiheadAttention(4, 3), "3 heads do not divide embed_dim 4"),
        (lambda: nn.MultiheadAttention(4, 2)(*[np.ones((2, 3))] * 3), "with E = 4"),
        (lambda: nn.LSTMCell(3, 2)(np.ones((2, 4))), "takes input of shape (batch, 3)"),
        (lambda: nn.Flatten(2)(np.ones((2, 3))), "does not fit shape (2, 3)"),
        (lambda: nn.mse_loss(np.ones(3), np.ones(2)), "of one shape with elements"),
        (lambda: nn.mse_loss(np.ones(3), np.ones(3), reduction="all"), "unknown reduction 'all'"),
        (lambda: nn.huber_loss(np.ones(3), np.ones(3), delta=0), "delta must be positive"),
        (lambda: nn.cross_entropy(np.ones((1, 2)), [0], label_smoothing=2), "from 0 to 1, got 2"),
        (lambda: nn.cross_entropy(np.ones((1, 2)), [0], weight=[1.0]), "one weight per class"),
        (lambda: nn.CrossEntropyLoss(reduction="all"), "unknown reduction 'all'"),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="x"), "unknown activation 'x'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(fp.ArgumentError) as caught:
        call()
    assert message in str(caught.value)

"""Optimizers step by step: against loops of exact operations, one number at a time."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from oracles import assert_same

import fpemu as fp
from fpemu import events, exact, optim
from fpemu.optim import steps as steps_module
from fpemu.optim import update

POLICY = "weights={0} activations={0} gradients={0} accumulate={0}"


def r(op, *xs, f):
    """One exact operation, rounded once."""
    value, _ = exact.exact_result(op, *xs)
    return exact.round_to(value, f)


def constant(x, f):
    return exact.round_to(float(x), f)


def values_of(f, shape=(4, 3), count=4, seed=0, scale=0.3):
    """A weight and a sequence of gradients, zeros and values far apart among them."""
    rng = np.random.default_rng(seed)
    weight = fp.array(rng.standard_normal(shape), f)
    gradients = []
    for _ in range(count):
        g = rng.standard_normal(shape) * scale * 10.0 ** rng.integers(-3, 1, shape)
        g[rng.random(shape) < 0.1] = 0.0
        gradients.append(fp.array(g, f))
    return weight, gradients


def trained(make, weight, gradients, policy, **step):
    p = fp.Tensor(weight, requires_grad=True, name="layers.0/weight")
    optimizer = make([p])
    for g in gradients:
        p.grad = g
        with fp.Policy.parse(policy):
            optimizer.step(**step)
    return p, optimizer


def each(weight, gradients, one):
    """`one` number after another through a loop of its own."""
    flat = weight.reshape(-1).tolist()
    columns = [g.reshape(-1).tolist() for g in gradients]
    results = [one(w, [c[i] for c in columns]) for i, w in enumerate(flat)]
    return np.array(results, float).reshape(weight.shape)


# -- formulas, each operation rounded once ---------------------------------------------------------


def sgd_loop(f, fm=None, lr=0.1, momentum=0.9, dampening=0.0, decay=0.0, nesterov=False):
    fm = fm or f

    def one(w, gradients):
        velocity = None
        for g in gradients:
            if decay:
                g = r("add", g, r("multiply", w, constant(decay, f), f=f), f=f)
            if velocity is None:
                velocity = exact.round_to(g, fm)
            else:
                faded = r("multiply", velocity, constant(momentum, f), f=f)
                share = r("multiply", g, constant(1 - dampening, f), f=f) if dampening else g
                velocity = r("add", faded, share, f=fm)
            d = velocity
            if nesterov:
                d = r("add", g, r("multiply", velocity, constant(momentum, f), f=f), f=f)
            w = r("subtract", w, r("multiply", d, constant(lr, f), f=f), f=f)
        return w

    return one


def adam_loop(f, fm=None, fv=None, lr=0.01, b1=0.9, b2=0.99, eps=1e-4, decay=0.0, largest=False):
    fm, fv = fm or f, fv or f

    def one(w, gradients):
        m = v = top = 0.0
        for t, g in enumerate(gradients, 1):
            if decay:  # decoupled
                w = r("multiply", w, constant(1 - lr * decay, f), f=f)
            change = r("multiply", r("subtract", g, m, f=f), constant(1 - b1, f), f=f)
            m = r("add", m, change, f=fm)
            scaled = r("multiply", g, constant(1 - b2, f), f=f)
            square = r("multiply", scaled, g, f=f)
            v = r("add", r("multiply", v, constant(b2, f), f=f), square, f=fv)
            top = max(top, v)
            root = r("sqrt", top if largest else v, f=f)
            root = r("divide", root, constant((1 - b2 ** float(t)) ** 0.5, f), f=f)
            root = r("add", root, constant(eps, f), f=f)
            m_scaled = r("multiply", m, constant(lr / (1 - b1 ** float(t)), f), f=f)
            w = r("subtract", w, r("divide", m_scaled, root, f=f), f=f)
        return w

    return one


def rmsprop_loop(f, lr=0.05, alpha=0.75, eps=1e-3, momentum=0.5):
    def one(w, gradients):
        square = mean = velocity = 0.0
        for g in gradients:
            scaled = r("multiply", g, constant(1 - alpha, f), f=f)
            faded = r("multiply", square, constant(alpha, f), f=f)
            square = r("add", faded, r("multiply", scaled, g, f=f), f=f)
            change = r("multiply", r("subtract", g, mean, f=f), constant(1 - alpha, f), f=f)
            mean = r("add", mean, change, f=f)
            spread = r("subtract", square, r("multiply", mean, mean, f=f), f=f)
            root = r("add", r("sqrt", spread, f=f), constant(eps, f), f=f)
            faded = r("multiply", velocity, constant(momentum, f), f=f)
            velocity = r("add", faded, r("divide", g, root, f=f), f=f)
            w = r("subtract", w, r("multiply", velocity, constant(lr, f), f=f), f=f)
        return w

    return one


def adagrad_loop(f, lr=0.1, slower=0.5, eps=1e-3, start=0.25):
    def one(w, gradients):
        total = constant(start, f)
        for t, g in enumerate(gradients):
            total = r("add", total, r("multiply", g, g, f=f), f=f)
            root = r("add", r("sqrt", total, f=f), constant(eps, f), f=f)
            scaled = r("multiply", g, constant(lr / (1 + t * slower), f), f=f)
            w = r("subtract", w, r("divide", scaled, root, f=f), f=f)
        return w

    return one


LOOPS = {
    "sgd": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.03, dampening=0.25),
        lambda f: sgd_loop(f, decay=0.03, dampening=0.25),
    ),
    "nesterov": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda f: sgd_loop(f, nesterov=True),
    ),
    "adam": (
        lambda p: optim.Adam(p, lr=0.01, betas=(0.9, 0.99), eps=1e-4, amsgrad=True),
        lambda f: adam_loop(f, largest=True),
    ),
    "adamw": (
        lambda p: optim.AdamW(p, lr=0.01, betas=(0.9, 0.99), eps=1e-4, weight_decay=0.5),
        lambda f: adam_loop(f, decay=0.5),
    ),
    "rmsprop": (
        lambda p: optim.RMSprop(p, lr=0.05, alpha=0.75, eps=1e-3, momentum=0.5, centered=True),
        rmsprop_loop,
    ),
    "adagrad": (
        lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.5, eps=1e-3, initial_accumulator_value=0.25),
        adagrad_loop,
    ),
}


@pytest.mark.parametrize("f", [fp.FP16, fp.BF16, fp.E5M2, fp.FP32], ids=str)
@pytest.mark.parametrize("name", LOOPS)
def test_pure_formats_agree_with_a_loop_of_exact_operations(name, f):
    make, loop = LOOPS[name]
    weight, gradients = values_of(f, shape=(40,))
    p, _ = trained(make, weight, gradients, POLICY.format(f))
    assert_same(p.data.to_numpy(), each(weight, gradients, loop(f)), weight.to_numpy())


def test_a_first_step_of_adam_in_fp16_divides_zero_by_zero():
    """eps = 1e-8 is zero in FP16."""
    weight, zero = fp.array([1.0], "fp16"), [fp.array([0.0], "fp16")]
    p, _ = trained(lambda p: optim.Adam(p), weight, zero, "fp16")
    assert np.isnan(p.data.item())
    p, _ = trained(lambda p: optim.Adam(p, eps=1e-4), weight, zero, "fp16")
    assert p.data.item() == 1.0


@pytest.mark.parametrize(("fm", "fv"), [(fp.BF16, fp.FP16), (fp.E5M2, fp.BF16)])
def test_moments_in_formats_of_their_own(fm, fv):
    weight, gradients = values_of(fp.FP32)
    policy = f"fp32 momentum={fm} variance={fv}"
    p, adam = trained(
        lambda p: optim.Adam(p, lr=0.01, betas=(0.9, 0.99), eps=1e-4), weight, gradients, policy
    )
    want = each(weight, gradients, adam_loop(fp.FP32, fm, fv))
    assert_same(p.data.to_numpy(), want, weight.to_numpy())
    state = adam.state[p]
    assert (state["exp_avg"].format, state["exp_avg_sq"].format) == (fm, fv)
    p, _ = trained(lambda p: optim.SGD(p, lr=0.1, momentum=0.9), weight, gradients, policy)
    want = each(weight, gradients, sgd_loop(fp.FP32, fm))
    assert_same(p.data.to_numpy(), want, weight.to_numpy())


@pytest.mark.parametrize("f", [fp.FP16, fp.BF16, fp.E4M3], ids=str)
def test_an_update_in_fp32_is_rounded_when_it_is_stored(f):
    weight, gradients = values_of(f)

    def one(w, gs):
        velocity = None
        for g in gs:
            moved = g
            if velocity is not None:
                moved = r(
                    "add", r("multiply", velocity, constant(0.9, fp.FP32), f=fp.FP32), g, f=fp.FP32
                )
            velocity = exact.round_to(moved, f)  # kept; the update goes on with what it has at hand
            step = r("multiply", moved, constant(0.1, fp.FP32), f=fp.FP32)
            w = exact.round_to(r("subtract", w, step, f=fp.FP32), f)
        return w

    policy = POLICY.format(f) + " update_in=fp32"
    p, sgd = trained(lambda p: optim.SGD(p, lr=0.1, momentum=0.9), weight, gradients, policy)
    assert_same(p.data.to_numpy(), each(weight, gradients, one), weight.to_numpy())
    assert sgd.state[p]["momentum_buffer"].format == p.data.format == f


def test_a_narrow_update_of_wide_weights_is_rounded_to_the_weights_format():
    weight, gradients = values_of(fp.FP32)

    def one(w, gs):
        for g in gs:
            g = exact.round_to(g, fp.BF16)
            w = r("subtract", w, r("multiply", g, constant(0.1, fp.BF16), f=fp.BF16), f=fp.FP32)
        return w

    p, _ = trained(lambda p: optim.SGD(p, lr=0.1), weight, gradients, "fp32 update_in=bf16")
    assert_same(p.data.to_numpy(), each(weight, gradients, one), weight.to_numpy())


def test_loss_scales_that_are_no_powers_of_two_are_divided_out_with_one_rounding():
    """FP32 gradients of BF16 weights: the quotient is not rounded on the way, watched or not."""
    rng = np.random.default_rng(3)
    weight = fp.array(np.zeros(4000), "bf16")
    gradient = fp.array(rng.standard_normal(4000), "fp32")
    want = [r("divide", g, float(np.float32(3.0)), f=fp.BF16) for g in gradient.tolist()]
    make, step = (lambda p: optim.SGD(p, lr=1.0)), {"divide_by": 3.0}
    p, _ = trained(make, weight, [gradient], "bf16", **step)
    assert_same(-p.data.to_numpy(), want, gradient.to_numpy())
    with fp.trace():
        q, _ = trained(make, weight, [gradient], "bf16", **step)
    assert_same(p.data.to_numpy(), q.data.to_numpy(), gradient.to_numpy())


def test_a_fused_product_is_rounded_with_its_sum():
    f = fp.BF16
    weight, gradients = values_of(f, shape=(60,))

    def one(w, gs):
        velocity = None
        for g in gs:
            if velocity is None:
                velocity = g
            else:
                faded = r("multiply", velocity, constant(0.9, f), f=f)
                velocity = r("fma", g, constant(0.75, f), faded, f=f)
            w = r("fma", velocity, -constant(0.1, f), w, f=f)
        return w

    make = lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.25, fma=True)  # noqa: E731
    p, _ = trained(make, weight, gradients, "bf16")
    want = each(weight, gradients, one)
    assert_same(p.data.to_numpy(), want, weight.to_numpy())
    assert (want != each(weight, gradients, sgd_loop(f, dampening=0.25))).any()


@pytest.mark.parametrize("rule", ["kahan", "stochastic", "remainder"])
def test_decoupled_decay_of_bf16_weights_is_kept_by_wide_updates(rule):
    """1 - 1e-3 * 0.5 is 1 in BF16: 400 such steps shrink the weight to 0.8187, or not at all."""
    weight, gradients = fp.array(np.full(400, 1.0), "bf16"), [fp.array(np.zeros(400), "bf16")] * 400
    make = lambda p: optim.AdamW(p, lr=1e-3, weight_decay=0.5)  # noqa: E731
    p, _ = trained(make, weight, gradients, f"bf16 update={rule} update_in=fp32")
    assert abs(p.data.to_numpy().mean() - 0.9995**400) < 0.004
    q, _ = trained(make, weight, gradients, "bf16")
    assert (q.data.to_numpy() == 1.0).all()


def test_parameters_without_a_name_draw_apart():
    weight = fp.array(np.full(100, 1.5), "bf16")
    pair = [fp.Tensor(weight, requires_grad=True) for _ in range(2)]
    for p in pair:
        p.grad = fp.array(np.full(100, 1.0), "bf16")
    with fp.Policy.parse("bf16 update=stochastic"):
        optim.SGD(pair, lr=2.0**-8).step()
    assert pair[0].data.tolist() != pair[1].data.tolist()


# -- update rules -----------------------------------------------------------------------------------

E = 2.0**-10
KAHAN = [  # weight and compensation after each of 16 steps of 2**-10 down from 1 (optimi, recorded)
    *[(1, -E), (1, -2 * E), (0.99609375, E), (0.99609375, 0), (0.99609375, -E)],
    *[(0.9921875, 2 * E), (0.9921875, E), (0.9921875, 0), (0.9921875, -E), (0.9921875, -2 * E)],
    *[(0.98828125, E), (0.98828125, 0), (0.98828125, -E), (0.984375, 2 * E), (0.984375, E)],
    (0.984375, 0),
]


def bf16_run(policy, lr, g, count):
    """Weight (and compensation) after each step from 1 with a gradient that stays."""
    p = fp.Tensor(fp.array([1.0], "bf16"), requires_grad=True, name="l/weight")
    sgd, seen = optim.SGD([p], lr=lr), []
    for _ in range(count):
        p.grad = fp.array([g], "bf16")
        with fp.Policy.parse(policy):
            sgd.step()
        kept = sgd.state[p].get("compensation")
        seen.append((p.data.item(), kept.item() if kept is not None else None))
    return seen


def check_kahan():
    assert bf16_run("bf16 update=kahan", E, 1.0, 16) == KAHAN
    upward = [w for w, _ in bf16_run("bf16 update=kahan", E, -1.0, 16)]
    assert upward == [1.0] * 4 + [1.0078125] * 7 + [1.015625] * 5
    assert bf16_run("bf16 update=kahan", E, -1.0, 16)[-1] == (1.015625, 0.0)


def test_recorded_updates_of_bf16_weights():
    assert {w for w, _ in bf16_run("bf16", E, 1.0, 16)} == {1.0}
    assert {w for w, _ in bf16_run("bf16", 2 * E, 1.0, 4)} == {1.0}
    check_kahan()


@pytest.mark.parametrize("f", [fp.BF16, fp.FP16, fp.E5M2], ids=str)
def test_kahan_agrees_with_a_loop_of_exact_operations(f):
    weight, gradients = values_of(f, count=8)

    def one(w, gs):
        c = 0.0
        for g in gs:
            c = r("subtract", c, r("multiply", g, constant(0.03, f), f=f), f=f)
            new = r("add", w, c, f=f)
            c = r("add", c, r("subtract", w, new, f=f), f=f)
            w = new
        return w

    policy = POLICY.format(f) + " update=kahan"
    p, _ = trained(lambda p: optim.SGD(p, lr=0.03), weight, gradients, policy)
    assert_same(p.data.to_numpy(), each(weight, gradients, one), weight.to_numpy())


def test_stochastic_rounding_of_updates_is_unbiased():
    """4000 weights, 25 steps of 1/8 of a last place each: the mean moves as it would in FP32."""
    n, count, place = 4000, 25, 2.0**-7
    weight = fp.array(np.full(n, 1.5), "bf16")
    gradients = [fp.array(np.full(n, -1.0), "bf16")] * count
    make = lambda p: optim.SGD(p, lr=place / 8)  # noqa: E731
    p, _ = trained(make, weight, gradients, "bf16 update=stochastic")
    moved = (p.data.to_numpy().astype(float) - 1.5) / place
    # Each step adds 1 with probability 1/8: n * count Bernoulli trials.
    sigma = np.sqrt(count * 0.125 * 0.875 / n)
    assert abs(moved.mean() - count * 0.125) < 4 * sigma
    assert abs(moved.var() - count * 0.125 * 0.875) < 0.25
    plain, _ = trained(make, weight, gradients, "bf16")
    assert (plain.data.to_numpy() == 1.5).all()


def test_stochastic_updates_agree_with_the_reference_decision():
    from fpemu.autograd import draws

    weight, gradients = values_of(fp.BF16, count=1)
    with fp.arithmetic(seed=5):
        p, _ = trained(lambda p: optim.SGD(p, lr=0.01), weight, gradients, "bf16 update=stochastic")
    with fp.arithmetic(seed=5):
        chance = draws.chance("layers.0/update/weight/result/1")
    want = []
    pairs = zip(weight.reshape(-1).tolist(), gradients[0].reshape(-1).tolist(), strict=True)
    for i, (w, g) in enumerate(pairs):
        step = r("multiply", g, constant(0.01, fp.BF16), f=fp.BF16)
        value, _ = exact.exact_result("subtract", w, step)
        want.append(exact.round_to(value, fp.BF16, away=chance.away(i)))
    assert_same(p.data.to_numpy(), want, weight.to_numpy())


def test_random_bits_depend_on_seed_place_and_step():
    from fpemu.autograd import draws

    weight, gradients = values_of(fp.BF16, shape=(200,), count=1)

    def after(seed, name="l/weight", before=0):
        p = fp.Tensor(weight, requires_grad=True, name=name)
        sgd = optim.SGD([p], lr=0.01)
        sgd.steps = before
        p.grad = gradients[0]
        with fp.Policy.parse("bf16 update=stochastic"), draws.block(seed, 0):
            sgd.step()
        return p.data.tolist()

    assert after(1) == after(1)
    assert after(1) != after(2)
    assert after(1) != after(1, "m/weight")
    assert after(1) != after(1, before=1)


@pytest.mark.parametrize(
    "make", [lambda p: optim.SGD(p, lr=0.01, momentum=0.9), lambda p: optim.AdamW(p)]
)
def test_a_bf16_weight_and_its_remainder_are_an_fp32_master_weight(make):
    start, gradients = values_of(fp.BF16, shape=(40, 50), count=12)
    plain, one = trained(make, start.astype(fp.FP32), gradients, "bf16_master")
    split, other = trained(make, start, gradients, "bf16 update=remainder")
    assert plain.data.format == fp.FP32
    assert split.data.format == fp.BF16
    joined = update.join(split.data, other.state[split]["remainder"])
    assert joined.codes.tobytes() == plain.data.codes.tobytes()
    working = fp.array(plain.data, fp.BF16, rounding="nearest_away")
    assert working.codes.tobytes() == split.data.codes.tobytes()
    for key, kept in one.state[plain].items():
        if isinstance(kept, fp.Array):
            assert kept.codes.tobytes() == other.state[split][key].codes.tobytes()


def test_training_with_remainders_is_training_with_masters():
    """The working copies are rounded to nearest, ties away: 16 bits can undo no other rounding."""
    from fpemu import nn

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    models = []
    for policy in (
        "bf16 update=remainder",
        "bf16_master; */forward/weight: rounding=nearest_away; */bias: rounding=nearest_away",
    ):
        fp.manual_seed(0)
        model = nn.mlp([5, 8, 3])
        model.store_in("bf16")
        fp.train(model, (x, y), policy=policy, epochs=3, batch_size=8)
        models.append(model)
    for split, plain in zip(*(m.parameters() for m in models), strict=True):
        assert split.data.format == fp.BF16
        assert plain.data.format == fp.FP32
        working = fp.array(plain.data, fp.BF16, rounding="nearest_away")
        assert working.codes.tobytes() == split.data.codes.tobytes()


def test_every_fp32_number_survives_the_split():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 32, 100_000, dtype=np.uint32)
    ends = [0, 1 << 31, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x3F808000, 1, 0x8000]
    x = fp.Array(fp.decode(np.concatenate([codes, np.uint32(ends)]), fp.FP32), fp.FP32)
    weight, low = update.split(x)
    assert update.join(weight, low).codes.tobytes() == x.codes.tobytes()
    nearest = fp.array(x, fp.BF16, rounding="nearest_away")
    assert weight.codes.tobytes() == nearest.codes.tobytes()


# -- counting ---------------------------------------------------------------------------------------

MAKERS = {
    "SGD": lambda p: optim.SGD(p, lr=1e-3),
    "Adam": lambda p: optim.Adam(p, lr=1e-3),
    "AdamW": lambda p: optim.AdamW(p, lr=1e-3, weight_decay=0.0),
    "RMSprop": lambda p: optim.RMSprop(p, lr=1e-4),
    "Adagrad": lambda p: optim.Adagrad(p, lr=1e-3),
}


@pytest.mark.parametrize("name", MAKERS)
def test_absorbed_updates_are_counted_in_each_optimizer(name):
    """1 - 0.001 in BF16 is 1, but 0.001 - 0.001 is not 0.001; where the gradient is 0 nothing is lost."""
    weight = fp.array([1.0, 0.001, 1.0, -1.0], "bf16")
    gradient = fp.array([0.5, 0.5, 0.0, np.inf], "bf16")
    with fp.trace() as t:
        trained(MAKERS[name], weight, [gradient], "bf16")
    at = {"op": "absorbed", "place": "layers.0/update/weight"}
    assert t.count("values", **at) == t.count("values", op="absorbed") == 4
    assert t.count("nonzero", **at) == 2
    assert t.count("swamped", **at) == 1


@pytest.mark.parametrize(
    ("rule", "absorbed"), [("plain", 1), ("kahan", 0), ("remainder", 0), ("stochastic", 1)]
)
def test_absorbed_means_that_nothing_was_kept(rule, absorbed):
    """2**-40 is below what any chance of 24 bits notices; Kahan and the remainder take 2**-12."""
    tiny = 2.0**-40 if rule == "stochastic" else 2.0**-12
    weight, gradient = fp.array([1.0], "bf16"), fp.array([tiny], "bf16")
    with fp.trace() as t:
        trained(lambda p: optim.SGD(p, lr=1.0), weight, [gradient], f"bf16 update={rule}")
    assert t.count("swamped", op="absorbed") == absorbed
    assert t.count("nonzero", op="absorbed") == 1


def test_a_learning_rate_of_zero_absorbs_nothing_and_lost_decay_counts():
    weight, gradient = fp.array([1.0], "bf16"), fp.array([0.0], "bf16")
    with fp.trace() as t:
        p = fp.Tensor(weight, requires_grad=True)
        sgd = optim.SGD([p], lr=0.1)
        sgd.lr, p.grad = 0.0, fp.array([1.0], "bf16")
        sgd.step()
    assert (t.count("nonzero", op="absorbed"), t.count("swamped", op="absorbed")) == (0, 0)
    with fp.trace() as t:
        trained(lambda p: optim.AdamW(p, lr=1e-3), weight, [gradient], "bf16")
    assert (t.count("nonzero", op="absorbed"), t.count("swamped", op="absorbed")) == (1, 1)


POLICIES = [
    "fp16",
    "bf16_master momentum=bf16 variance=e5m2",
    "bf16 update=kahan update_in=fp32",
    "bf16 update=stochastic",
    "bf16 update=stochastic update_in=fp32",
    "bf16 update=remainder",
    "fp16 rounding=stochastic",
    "bf16 rounding=toward_zero subnormals=ftz+daz",
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", LOOPS)
def test_watching_and_saving_change_no_bit(name, policy):
    """With a trace open other code runs; after three steps a new optimizer goes on from the state."""
    make = LOOPS[name][0]
    storage = fp.Policy.parse(policy).storage
    weight, gradients = values_of(fp.BF16, shape=(6,), count=6)
    weight = weight.astype(storage)
    straight, first = trained(make, weight, gradients, policy)
    with fp.trace():
        half, before = trained(make, weight, gradients[:3], policy)
    state = pickle.loads(pickle.dumps(before.state_dict()))
    p = fp.Tensor(half.data, requires_grad=True, name=half.name)
    after = optim.SGD([p]) if isinstance(before, optim.SGD) else type(before)([p])
    after.load_state_dict(state)
    for g in gradients[3:]:
        p.grad = g
        with fp.Policy.parse(policy), fp.trace() as t:
            after.step()
    assert p.data.codes.tobytes() == straight.data.codes.tobytes()
    assert written(after.state_dict()) == written(first.state_dict())
    assert {row["op"] for row in t.to_dicts()} == {"update", "absorbed"}
    assert all(row["place"].startswith("layers.0/update/weight") for row in t.to_dicts())


def written(state) -> str:
    return json.dumps(state, default=lambda v: v.tolist(), sort_keys=True)


def test_a_policy_can_say_something_of_one_place_of_an_update():
    weight, gradients = values_of(fp.BF16, count=2)
    make = lambda p: optim.SGD(p, lr=0.1)  # noqa: E731
    base, _ = trained(make, weight, gradients, "bf16")
    same, _ = trained(make, weight, gradients, "bf16; layers.1/update/*: rounding=toward_zero")
    assert base.data.tolist() == same.data.tolist()
    p, _ = trained(make, weight, gradients, "bf16; */update/weight/step: format=fp32")

    def one(w, gs):
        for g in gs:
            w = r("subtract", w, r("multiply", g, constant(0.1, fp.BF16), f=fp.FP32), f=fp.BF16)
        return w

    assert_same(p.data.to_numpy(), each(weight, gradients, one), weight.to_numpy())
    q, _ = trained(make, weight, gradients, "fp32; layers.0: update=kahan")
    assert q.data.format == fp.BF16
    assert base.data.tolist() != q.data.tolist()
    wide, _ = trained(make, weight, gradients, "bf16; */update/*: format=fp32")
    assert wide.data.format == fp.BF16  # weights are not stored otherwise at one place


# -- a bug is caught -------------------------------------------------------------------------------


def forgetful_kahan(steps, weight, step, state):
    compensation = state.get("compensation")
    if compensation is None:
        compensation = steps.zeros(weight.shape, role="stored")
    compensation = steps.minus(compensation, step, where="compensation", role="result")
    new = steps("add", weight, compensation, where="result", role="result")
    lost = steps("subtract", new, weight, where="lost", role="result")  # the wrong way round
    compensation = steps("add", compensation, lost, where="correction", role="result")
    steps.keep(state, "compensation", compensation, "stored")
    return new


def test_a_wrong_sign_in_the_compensation_is_caught(monkeypatch):
    monkeypatch.setitem(update.RULES, "kahan", forgetful_kahan)
    with pytest.raises(AssertionError):
        check_kahan()


@pytest.mark.parametrize("name", LOOPS)
def test_a_product_that_is_not_rounded_is_caught(name, monkeypatch):
    honest = steps_module.Steps.add_product

    def fused(self, *operands, **options):
        self.fma = True
        return honest(self, *operands, **options)

    monkeypatch.setattr(steps_module.Steps, "add_product", fused)
    with pytest.raises(AssertionError):
        test_pure_formats_agree_with_a_loop_of_exact_operations(
            name, fp.FP32 if name == "adagrad" else fp.FP16
        )


def test_biased_random_bits_are_caught(monkeypatch):
    monkeypatch.setitem(update.RULES, "stochastic", update.plain)
    with pytest.raises(AssertionError):
        test_stochastic_rounding_of_updates_is_unbiased()


# -- what is refused -------------------------------------------------------------------------------


def parameter(f="fp32"):
    return fp.Tensor(fp.array([1.0], f), requires_grad=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Adam([]), "Adam has no parameters to train"),
        (lambda: optim.Adam([1.0]), "Adam takes a model's parameters (tensors), got 1.0"),
        (lambda: optim.Adam([parameter()] * 2, lr=1), "a parameter is given twice; one"),
        (lambda: optim.Adam([{"lr": 1.0}]), 'a group is a dict with "params", got'),
        (
            lambda: optim.Adam([{"params": parameter(), "momentum": 1}]),
            "unknown option of Adam 'mo",
        ),
        (
            lambda: optim.Adam([parameter()], betas=(0.9, 1)),
            "betas[1] must be at least 0 and below",
        ),
        (lambda: optim.Adam([parameter()], eps=-1), "eps must be at least 0 and finite, got -1"),
        (lambda: optim.SGD([parameter()], lr=float("nan")), "lr must be a positive finite number"),
        (lambda: optim.SGD([parameter()], nesterov=True), "nesterov=True needs momentum > 0 and"),
        (lambda: optim.RMSprop([parameter()], alpha=1.0), "alpha must be at least 0 and below 1"),
        (
            lambda: optim.Adagrad([parameter()], lr_decay=True),
            "lr_decay must be at least 0 and fin",
        ),
        (lambda: optim.StepLR(optim.SGD([parameter()]), 0), "step_size must be a positive integer"),
        (lambda: optim.LinearLR(optim.SGD([parameter()]), 0.0), "start_factor must be above 0"),
        (lambda: optim.StepLR(None, 1), "a schedule takes an optimizer of fpemu.optim, got None"),
        (
            lambda: optim.StepLR(optim.SGD([parameter()]), 1, last_epoch=3),
            "has no initial_lr to go",
        ),
        (
            lambda: optim.clip_grad_norm_([parameter()], -1),
            "max_norm must be at least 0 and finite",
        ),
        (
            lambda: optim.clip_grad_norm_([parameter()], 1, norm_type=0),
            "norm_type must be a positive",
        ),
        (
            lambda: optim.clip_grad_norm_([parameter()], 1, accumulate="h100 mma"),
            "a norm is no product; name a format",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(fp.ArgumentError) as caught:
        make()
    assert message in str(caught.value)


def test_remainders_belong_to_bf16_weights():
    weight, gradients = values_of(fp.FP16, count=1)
    for policy, message in [
        ("fp16 update=remainder", "this weight is stored in fp16; use weights=bf16 master=none"),
        ("bf16 update=remainder update_in=bf16", "is computed in FP32, not update_in=bf16"),
    ]:
        f = fp.Policy.parse(policy).storage
        with pytest.raises(fp.ArgumentError) as caught:
            trained(lambda p: optim.SGD(p), weight.astype(f), gradients, policy)
        assert message in str(caught.value)


def test_a_state_that_does_not_fit_changes_nothing():
    weight, gradients = values_of(fp.FP32, count=1)
    p, adam = trained(lambda p: optim.Adam(p, lr=0.5), weight, gradients, "fp32")
    state, before = adam.state_dict(), written(adam.state_dict())
    q = fp.Tensor(np.ones(2, np.float32), requires_grad=True)
    for other, given, message in [
        (optim.Adam([p, q]), state, "groups of [1] parameters, the optimizer of [2]"),
        (optim.SGD([p]), state, "unknown state of SGD 'exp_avg'"),
        (optim.Adam([q]), state, "exp_avg of parameter 0 has shape (4, 3), the parameter (2,)"),
        (optim.Adam([p]), {"state": {}}, "the state of an optimizer lacks ['param_groups']"),
        (adam, {**state, "state": {5: {}}}, "the state has a parameter 5 that is in none"),
        (
            adam,
            {**state, "param_groups": [{"params": [0], "lr": -1.0}]},
            "lr must be a positive finite number, got -1.0",
        ),
    ]:
        kept = written(other.state_dict())
        with pytest.raises(fp.ArgumentError) as caught:
            other.load_state_dict(given)
        assert message in str(caught.value)
        assert written(other.state_dict()) == kept
    assert written(adam.state_dict()) == before


# -- clipping ---------------------------------------------------------------------------------------


def test_clipping_agrees_with_a_loop_of_exact_operations():
    f = fp.FP16
    _, gradients = values_of(f, shape=(5,), count=2, scale=3.0)
    parameters = []
    for i, g in enumerate(gradients):
        p = fp.Tensor(g, requires_grad=True, name=f"layers.{i}/weight")
        p.grad = g
        parameters.append(p)

    def norm(xs):
        total = 0.0
        for x in xs:
            total = r("add", total, r("multiply", x, x, f=f), f=f)
        return r("sqrt", total, f=f)

    whole = norm([norm(g.tolist()) for g in gradients])
    margin = r("add", whole, constant(1e-6, f), f=f)
    factor = r("divide", constant(0.7, f), margin, f=f)
    with fp.trace() as t:
        got = optim.clip_grad_norm_(parameters, 0.7, accumulate="fp16")
    assert got.tolist() == whole
    for p, g in zip(parameters, gradients, strict=True):
        want = [r("multiply", x, factor, f=f) for x in g.tolist()]
        assert_same(p.grad.to_numpy(), want, g.to_numpy())
    places = {row["place"] for row in t.to_dicts()}
    assert {"layers.0/clip/weight/sum", "layers.1/clip/weight/result", "clip/total/norm"} <= places
    assert {row["op"] for row in t.to_dicts()} == {"clip"}


def test_squares_overflow_in_fp16_and_not_in_fp32():
    p = fp.Tensor(fp.array([300.0, 400.0], "fp16"), requires_grad=True)
    p.grad = p.data
    assert optim.clip_grad_norm_(p, 1000.0).tolist() == 500.0
    assert p.grad.tolist() == [300.0, 400.0]
    assert optim.clip_grad_norm_(p, 1.0, accumulate="fp16").tolist() == np.inf
    assert p.grad.tolist() == [0.0, 0.0]
    assert optim.clip_grad_norm_([fp.Tensor([1.0])], 1.0).tolist() == 0.0


def test_clipped_values_are_counted():
    p = fp.Tensor(fp.array([0.0] * 4, "bf16"), requires_grad=True, name="l/weight")
    p.grad = fp.array([3.0, -4.0, 0.5, np.nan], "bf16")
    with fp.trace() as t:
        optim.clip_grad_value_(p, 1.001)
    assert p.grad.tolist()[:3] == [1.0, -1.0, 0.5]
    assert np.isnan(p.grad.tolist()[3])
    assert t.count("saturated", place="l/clip/weight/value", op="clip") == 2


def test_nothing_is_counted_when_nobody_watches():
    weight, gradients = values_of(fp.BF16, count=1)
    with fp.trace() as t, events.paused():
        trained(lambda p: optim.Adam(p), weight, gradients, "bf16 update=kahan")
    assert t.to_dicts() == []

"""Every rounding has a place, and a policy can say something of each: formats, models, modes, streams."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import assert_same

import fpemu as fp
from fpemu import exact, nn
from fpemu.autograd import draws, places
from fpemu.autograd.operations import LINEAR
from fpemu.autograd.tensor import Tensor

rng = np.random.default_rng(5)
X = fp.array(rng.standard_normal((3, 8)), fp.FP16)
W = fp.array(rng.standard_normal((4, 8)), fp.FP16)
B = fp.array(np.zeros(4), fp.FP16)
G = fp.array(rng.standard_normal((3, 4)), fp.FP16)


def layer(policy: str, place: str = "layers.0"):
    """A linear layer's result and gradients under a policy."""
    with fp.Policy.parse(policy):
        site = places.site(place, "linear", (fp.FP16,) * 3)
        y, saved = LINEAR.forward(site, X, W, B)
        return y, *LINEAR.backward(site, saved, G, (True, True, True))


BASE = "weights=fp16 activations=fp16 gradients=fp16 outputs=fp32"


@pytest.mark.parametrize("model", ["fp16 pairwise:2", "bf16 kahan", "fp32 blocked:4"])
def test_an_accumulation_model_is_that_of_all_products(model):
    y, to_x, to_w, to_b = layer(f"{BASE} accumulate='{model}'")
    want = fp.matmul(X, W.T, accumulate=model, out=fp.FP32)
    assert_same(y.to_numpy(), want.to_numpy(), model)
    assert_same(to_x.to_numpy(), fp.matmul(G, W, accumulate=model, out=fp.FP32).to_numpy(), model)
    assert_same(to_w.to_numpy(), fp.matmul(G.T, X, accumulate=model, out=fp.FP32).to_numpy(), model)
    ones = fp.array(np.ones((1, 3)), fp.FP16)
    total = fp.matmul(ones, G, accumulate=model, out=fp.FP32)[0]
    assert_same(to_b.to_numpy(), total.to_numpy(), model)


@pytest.mark.parametrize("unit", ["h100 wgmma", "v100 mma", "mi200", "a100 mma accumulator=fp16"])
def test_a_matrix_unit_is_that_of_all_products(unit):
    y, to_x, to_w, _ = layer(f"{BASE} accumulate='{unit}'")
    assert_same(y.to_numpy(), fp.matmul(X, W.T, accumulate=unit, out=fp.FP32).to_numpy(), unit)
    assert_same(to_x.to_numpy(), fp.matmul(G, W, accumulate=unit, out=fp.FP32).to_numpy(), unit)
    assert_same(to_w.to_numpy(), fp.matmul(G.T, X, accumulate=unit, out=fp.FP32).to_numpy(), unit)


def test_a_model_for_one_pass():
    base = layer(f"{BASE} accumulate=fp32")
    other = layer(f"{BASE} accumulate=fp32; */weight_grad/accumulate: accumulate='fp16 kahan'")
    want = fp.matmul(G.T, X, accumulate="fp16 kahan", out=fp.FP32)
    assert_same(other[2].to_numpy(), want.to_numpy(), 0)
    assert (other[2].to_numpy() != base[2].to_numpy()).any()
    for i in (0, 1, 3):
        assert_same(other[i].to_numpy(), base[i].to_numpy(), i)


def test_formats_of_one_place_and_of_one_module():
    y = layer(f"{BASE} accumulate=fp32; layers.0/forward/weight: format=e4m3")[0]
    want = fp.matmul(
        X.astype(fp.FP32), W.astype(fp.E4M3).astype(fp.FP32).T, accumulate="fp32 product=fp32"
    )
    assert_same(y.to_numpy(), want.to_numpy(), 0)
    same = layer(f"{BASE} accumulate=fp32; layers.1/forward/weight: format=e4m3")[0]
    assert_same(same.to_numpy(), layer(f"{BASE} accumulate=fp32")[0].to_numpy(), 0)
    low = layer("fp32; layers.0: weights=e5m2 activations=e5m2")[0]
    assert low.format == fp.E5M2
    assert layer("fp32; layers.0: weights=e5m2 activations=e5m2", "layers.1")[0].format == fp.FP32


def test_the_first_override_that_matches_counts():
    text = "fp32; layers.*.a: activations=bf16; layers.0.*: activations=fp16 weights=fp16"
    policy = fp.Policy.parse(text)
    assert policy.at("layers.0.a").activations == fp.BF16
    assert policy.at("layers.0.a").weights == fp.FP32
    assert policy.at("layers.0.b").weights == fp.FP16
    assert fp.Policy.parse(str(policy)) == policy


def test_an_operand_rounded_for_one_product_only():
    """The weight gradient reads inputs in E4M3, rounded from what came in, the forward pass in FP16."""
    _, _, to_w, _ = layer(f"{BASE} accumulate=fp32; */weight_grad/input: format=e4m3")
    inputs = X.astype(fp.E4M3).astype(fp.FP32)
    assert_same(to_w.to_numpy(), fp.matmul(G.astype(fp.FP32).T, inputs).to_numpy(), 0)


@pytest.mark.parametrize("mode", ["toward_zero", "to_odd", "toward_positive"])
def test_modes_of_everything_and_of_one_place(mode):
    y = layer(f"weights=fp16 activations=bf16 gradients=fp16 accumulate=fp16 rounding={mode}")[0]
    for n, o in np.ndindex(3, 4):
        total = 0.0
        x = [exact.round_to(v, fp.BF16, rounding=mode) for v in X[n].tolist()]
        for a, b in zip(x, W[o].tolist(), strict=True):
            product = exact.multiply(a, b, fp.FP16, rounding=mode)
            total = exact.add(total, product, fp.FP16, rounding=mode)
        total = exact.add(total, 0.0, fp.FP16, rounding=mode)
        assert_same(y[n, o].item(), exact.round_to(total, fp.BF16, rounding=mode), (n, o))
    base = "weights=fp16 activations=bf16 gradients=fp16 accumulate=fp32"
    one = layer(f"{base}; */forward/output: rounding={mode}")[0]
    wide = layer(f"{base} outputs=fp32; */forward/input: format=bf16")[0]
    assert_same(one.to_numpy(), fp.quantize(wide.to_numpy(), "bf16", rounding=mode), 0)


def test_random_bits_depend_on_seed_place_and_step_only():
    text = "bf16 rounding=stochastic"

    def drawn(seed, step, place="layers.0", first=False):
        with draws.block(seed, step):
            if first:
                layer(text, "layers.7")
            return layer(text, place)[0].tolist()

    assert drawn(1, 1) == drawn(1, 1, first=True)
    others = [drawn(1, 2), drawn(2, 1), drawn(1, 1, "layers.1")]
    assert all(other != drawn(1, 1) for other in others)


def test_lists_of_operations_cast_inputs_and_gradients_follow_them():
    lists = "weights=fp16 activations=fp16 gradients=fp16 low=linear fp32=exp promote=add leave=*"
    with fp.Policy.parse(lists):
        x = Tensor(fp.array(rng.standard_normal((2, 3)), fp.FP32), requires_grad=True)
        model = nn.Linear(3, 2)
        y = model(x)
        assert y.format == fp.FP16
        assert y.exp().format == fp.FP32
        assert (y + x[:, :2]).format == fp.FP32
        assert y.tanh().format == fp.FP16
        y.exp().sum().backward()
    assert x.grad.format == model.weight.grad.format == fp.FP32


def test_places_of_operations_in_a_model_of_ones_own():
    class Model(nn.Module):
        def __init__(self):
            self.first = nn.Linear(2, 2)

        def forward(self, x):
            return (x + self.first(x)) + x

    model = Model()
    with fp.trace() as t, fp.policies["fp16"]:
        model(np.ones((1, 2), np.float32))
    found = {row["place"] for row in t.to_dicts()}
    assert {"model.add/forward/output", "model.add_2/forward/output"} <= found
    assert "model.first/forward/accumulate" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fp16; layers.0", "policy override 'layers.0' is not understood; write pattern: role="),
        ("fp16; layers.0: weight=fp16", "unknown policy role in the override 'layers.0' 'weight'"),
        ("fp16; a/b: weights=fp16", "unknown setting of places in the override 'a/b' 'weights'"),
        ("fp16; a: weights=fp16 weights=bf16", "'weights' is given twice in the override 'a'"),
        ("fp16 update=fast", "unknown update 'fast'"),
        ("fp16 inner='h100 mma'", "a matrix unit adds products, and nothing else"),
        ("fp16 accumulate='fp32 out=fp16'", "drop out="),
        ("fp16 rounding=up", "unknown rounding 'up'"),
    ],
)
def test_what_is_wrong_with_an_override(text, message):
    with pytest.raises(fp.ArgumentError) as caught:
        fp.Policy.parse(text)
    assert message in str(caught.value)


# -- one role in one pass -----------------------------------------------------------------------


def gradients_of(policy: str):
    """The three gradients of the layer, as NumPy arrays."""
    return [g.to_numpy() for g in layer(policy)[1:]]


FP32_SUMS = f"{BASE} accumulate=fp32"


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("activations.weight_grad=e4m3", "*/weight_grad/input: format=e4m3"),
        ("activations.backward=e4m3", "*/weight_grad/input: format=e4m3"),
        ("weights.input_grad=e4m3", "*/input_grad/weight: format=e4m3"),
        ("weights.backward=e4m3", "*/input_grad/weight: format=e4m3"),
        ("gradients.input_grad=e5m2", "*/input_grad/output_grad: format=e5m2"),
        ("gradients.weight_grad=e5m2", "*/weight_grad/output_grad: format=e5m2"),
        ("accumulate.forward=fp16", "*/forward/accumulate: format=fp16"),
        (
            "accumulate.input_grad='bf16 kahan'",
            "*/input_grad/accumulate: accumulate='bf16 kahan'",
        ),
        ("accumulate.bias_grad=bf16", "*/bias_grad/accumulate: accumulate=bf16"),
        ("accumulate.backward=bf16", "*_grad/accumulate: accumulate=bf16"),
        ("outputs.forward=bf16", "*/forward/output: format=bf16"),
        ("outputs.weight_grad=bf16", "*/weight_grad/output: format=bf16"),
        ("outputs.backward=bf16", "*_grad/output: format=bf16"),
    ],
)
def test_a_pass_is_the_places_in_it(key, place):
    ours, theirs = layer(f"{FP32_SUMS} {key}"), layer(f"{FP32_SUMS}; {place}")
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert_same(a.to_numpy(), b.to_numpy(), i)
        assert a.format == b.format
    plain = layer(FP32_SUMS)
    assert any((a.to_numpy() != b.to_numpy()).any() for a, b in zip(ours, plain, strict=True))


def test_a_format_and_a_unit_of_one_pass_against_products_alone():
    text = f"{FP32_SUMS} activations.weight_grad=bf16 gradients.weight_grad=bf16 "
    to_w = gradients_of(text + "accumulate.weight_grad='h100 wgmma' accumulate.backward=fp16")[1]
    g, x = G.astype(fp.BF16), X.astype(fp.BF16)
    want = fp.matmul(g.T, x, accumulate="h100 wgmma", out=fp.FP32)
    assert_same(to_w, want.to_numpy(), 0)


def test_places_before_passes_before_roles():
    text = (
        f"{FP32_SUMS} accumulate.weight_grad=bf16; layers.0/weight_grad/accumulate: accumulate=fp16"
    )
    want = layer(f"{BASE} accumulate=fp16")[2].to_numpy()
    assert_same(gradients_of(text)[1], want, 0)
    of_module = gradients_of(f"{FP32_SUMS} accumulate.weight_grad=bf16; layers.0: accumulate=fp16")
    assert_same(of_module[1], want, 0)


def test_sums_that_a_line_of_places_names_change_no_operand():
    ours = gradients_of(f"{FP32_SUMS}; */weight_grad/*: accumulate=bf16")[1]
    theirs = gradients_of(f"{FP32_SUMS}; */weight_grad/accumulate: accumulate=bf16")[1]
    assert_same(ours, theirs, 0)


def test_inner_sums_are_sums_too_but_no_matrix_units():
    def total(line):
        with fp.Policy.parse(f"fp16 accumulate=fp32 outputs=fp32; {line}"):
            return Tensor(X).sum().data.to_numpy()

    want = fp.sum(X, accumulate="bf16 kahan", out=fp.FP32).to_numpy()
    assert_same(total("*/forward/sum: accumulate='bf16 kahan'"), want, 0)
    assert_same(total("*sum/*: accumulate='h100 wgmma'"), total("*/nothing: format=bf16"), 1)
    assert total("*/nothing: format=bf16") != want


def test_a_list_stands_before_passes():
    ours = layer(f"{FP32_SUMS} fp32=linear accumulate.forward=bf16 weights.forward=e4m3")
    for i, (a, b) in enumerate(zip(ours, layer(f"{FP32_SUMS} fp32=linear"), strict=True)):
        assert_same(a.to_numpy(), b.to_numpy(), i)


def test_an_operand_of_a_pass_that_nothing_is_said_of_is_read_as_it_was_rounded():
    """Stochastic rounding shows it: a second rounding would draw again."""
    text = "weights=e4m3 activations=e4m3 gradients=fp16 outputs=fp32 rounding=stochastic"
    with fp.trace() as t, draws.block(1, 1):
        layer(f"{text}; */weight_grad/accumulate: accumulate=fp32")
    places_seen = {row["place"] for row in t.to_dicts()}
    assert "layers.0/forward/input" in places_seen
    assert "layers.0/weight_grad/input" not in places_seen


def test_products_of_two_inputs_and_inner_steps_have_passes_too():
    a, b = (fp.array(rng.standard_normal((3, 3)), fp.FP16) for _ in range(2))
    base = "weights=fp16 activations=fp16 gradients=fp16 outputs=fp32"
    with fp.Policy.parse(f"{base} activations.input_grad=e4m3 accumulate.input_grad=bf16"):
        left, right = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
        (left @ right).sum().backward()
    one = fp.array(np.ones((3, 3)), fp.FP16)
    x, y = a.astype(fp.E4M3).astype(fp.FP16), b.astype(fp.E4M3).astype(fp.FP16)
    assert_same(
        left.grad.to_numpy(), fp.matmul(one, y.T, accumulate="bf16", out=fp.FP32).to_numpy(), 0
    )
    assert_same(
        right.grad.to_numpy(), fp.matmul(x.T, one, accumulate="bf16", out=fp.FP32).to_numpy(), 1
    )
    with fp.Policy.parse(f"{base} inner=fp16 inner.backward=e4m3"):
        x = Tensor(a, requires_grad=True)
        x.tanh().sum().backward()
    y = np.tanh(a)
    assert y.format == fp.FP16
    low = y.astype(fp.E4M3)
    want = fp.array(np.ones((3, 3)), fp.E4M3) - low * low
    assert (x.grad.astype(fp.E4M3).to_numpy() == x.grad.to_numpy()).all()
    assert np.abs(x.grad.to_numpy() - want.to_numpy()).max() <= 1 / 8


# -- what belongs to no operation: sums of gradients, stored weights, numbers, what was freed ---------


def tensor(values, f="fp32", grad=True):
    return Tensor(fp.array(values, f), requires_grad=grad)


def graded(policy: str, value: float) -> Tensor:
    """A tensor whose gradient is `value`, exact in FP32, under the policy."""
    w = tensor([1.0])
    with fp.Policy.parse(policy):
        (w * tensor([value], grad=False)).sum().backward()
    return w


@pytest.mark.parametrize("mode", ["toward_zero", "toward_positive", "to_odd"])
def test_a_gradient_is_rounded_once_into_the_format_of_sums_as_the_policy_rounds(mode):
    exactly = 1 + 3 * 2.0**-9  # two of BF16's places are 2**-7 apart
    w = graded(f"fp32 gradient_sum=bf16 rounding={mode}", exactly)
    assert w.grad.format == fp.BF16
    assert w.grad.tolist() == [exact.round_to(exactly, fp.BF16, rounding=mode)]
    w = graded("fp32 gradient_sum=fp16 subnormals=ftz", 2.0**-20)
    assert w.grad.tolist() == [0.0]


def test_sums_of_gradients_are_a_place():
    layer = nn.Linear(1, 1, bias=False)
    said = "fp32 gradient_sum=bf16; */gradient_sum: rounding=toward_positive"
    with fp.Policy.parse(said):
        layer(np.float32([[1.001]])).sum().backward()
    assert layer.weight.grad.tolist() == [[1 + 2.0**-7]]
    layer.zero_grad()
    with fp.Policy.parse("fp32; */gradient_sum: format=e4m3"):
        layer(np.float32([[1.2]])).sum().backward()
    assert layer.weight.grad.format == fp.E4M3  # the first piece, too, not from the second on


def test_random_rounding_of_a_gradient_goes_both_ways():
    found = set()
    for step in range(40):
        with draws.block(0, step):
            found.update(graded("fp32 gradient_sum=bf16 rounding=stochastic", 1.0039).grad.tolist())
    assert found == {1.0, 1 + 2.0**-7}


def test_weights_are_stored_as_the_policy_rounds():
    layer = nn.Linear(5, 3)
    values = layer.weight.numpy()
    layer.store_in(fp.Policy.parse("bf16 rounding=toward_zero; */init/bias: rounding=to_odd"))
    want = [exact.round_to(v, fp.BF16, rounding="toward_zero") for v in values.reshape(-1).tolist()]
    assert layer.weight.numpy().reshape(-1).tolist() == want
    assert (layer.weight.numpy() != fp.quantize(values, "bf16")).any()


def test_daz_reads_subnormals_of_the_format_that_a_value_comes_from():
    """2**-20 is subnormal in FP16 and normal in BF16."""
    small, one = tensor([[2.0**-20]], "fp16"), tensor([[1.0]], "bf16")
    none = tensor([[0.0]], "bf16")
    text = "weights=bf16 activations=bf16 gradients=bf16"
    for setting, want in (("gradual", 2.0**-20), ("daz", 0.0)):
        with fp.Policy.parse(f"{text} subnormals={setting}"):
            assert LINEAR(small, one, place="n").data.tolist() == [[want]]  # operand
            assert LINEAR(one, small, place="n").data.tolist() == [[want]]
            assert LINEAR(none, one, small.reshape(1), place="n").data.tolist() == [[want]]  # bias
            assert small.tanh().data.tolist() == [[want]]  # what a function reads
            assert small.mean().item() == want
    with fp.Policy.parse("fp32 gradient_sum=bf16 subnormals=daz"):
        w = tensor([1.0], "fp16")
        (w * tensor([2.0**-20], "fp16", grad=False)).sum().backward()
    assert w.grad.tolist() == [0.0]


def test_numbers_of_the_program_saturate_as_the_policy_says():
    x = tensor([1.0], "fp16")
    with fp.Policy.parse("fp16 saturation=propagate"):
        assert (x * 1e6).data.tolist() == [65504.0]
        assert (1e6 + x).data.tolist() == [65504.0]
    with fp.Policy.parse("fp16"):
        assert (x * 1e6).data.tolist() == [np.inf]
    with fp.arithmetic(saturation="propagate"), fp.Policy.parse("fp16"):
        assert (x * 1e6).data.tolist() == [np.inf]  # layers follow the policy


def test_a_backward_through_what_another_freed_is_refused_and_changes_nothing():
    layer = nn.Linear(2, 2)
    trunk = layer(np.ones((1, 2), np.float32))
    first, second = trunk.sum(), (trunk * trunk).sum()
    first.backward()
    before = layer.weight.grad.tolist()
    with pytest.raises(fp.ArgumentError, match="linear, whose graph an earlier backward has freed"):
        second.backward()
    assert layer.weight.grad.tolist() == before
    assert trunk.grad is None
    layer.zero_grad()
    trunk = layer(np.ones((1, 2), np.float32))
    (trunk.sum() + (trunk * trunk).sum()).backward()  # what the message advises
    want = 1 + 2 * trunk.numpy()[0]
    assert np.abs(layer.weight.grad.to_numpy() - want[:, None]).max() < 1e-6


def test_sums_of_nothing():
    empty = tensor(np.zeros((0, 3)))
    assert empty.sum().item() == 0.0
    assert empty.sum(axis=0).data.tolist() == [0.0] * 3
    assert empty.sum(axis=1).shape == (0,)
    assert np.isnan(empty.mean().item())
    bias = tensor([1.0, 2.0, 3.0])
    (empty + bias).sum().backward()
    assert bias.grad.tolist() == [0.0] * 3
    layer = nn.Linear(3, 2)
    layer(empty).sum().backward()
    assert layer.weight.grad.tolist() == [[0.0] * 3] * 2

"""Policies survive text, and say what is wrong with it."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import threading

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

import fpemu as fp
from fpemu import rounding
from fpemu.accumulation import Accumulator
from fpemu.autograd.operations import TABLE
from fpemu.formats import NAMED
from fpemu.matrix_units import MatrixUnit
from fpemu.policy import Override, as_policy, contradictions, current, passes
from fpemu.policy.values import FORMATS, OPTIONAL

formats = st.sampled_from(sorted(NAMED.values(), key=str))
maybe = st.none() | formats
orders = st.sampled_from(["pairwise:2", "blocked:16", "kahan", "sequential"])
models = st.builds(Accumulator, format=formats, order=orders, product=st.none() | formats)
units = st.sampled_from(["h100 wgmma", "v100 mma accumulator=fp16", "mi300 mfma", "ada mma"])
sums = formats | models | units.map(MatrixUnit.parse)
names = sorted(TABLE)
settings = {
    "rounding": st.sampled_from(sorted(rounding.ROUNDING)),
    "saturation": st.sampled_from(sorted(rounding.SATURATION)),
    "subnormals": st.sampled_from(sorted(rounding.SUBNORMALS)),
    "random_bits": st.integers(1, 64),
    "scaling": st.sampled_from(["none", "per_tensor"]),
}
fields = {
    **dict.fromkeys(FORMATS, formats),
    **dict.fromkeys(OPTIONAL, maybe),
    **settings,
    "accumulate": formats | models,
    "inner": st.none() | formats | models,
    "loss_scale": st.sampled_from([1.0, 2.0, 0.5]) | st.floats(1e-30, 1e30),
    "update": st.sampled_from(["plain", "kahan", "stochastic"]),
}
of_passes = {key: sums if key.startswith("acc") else formats for key in passes.KEYS}
of_places = {**settings, "format": formats, "accumulate": sums}
of_modules = {k: v for k, v in fields.items() if k not in ("loss_scale", "loss")}
patterns = st.sampled_from(["layers.?", "*.norm", "@tanh", "@*x*", "a.b-c_3"])
place_patterns = st.sampled_from(["*/weight_grad/input", "layers.0/*", "@linear/forward/*"])


def some_of(choices):
    """Any of the fields, each with one of its values."""
    return st.fixed_dictionaries({}, optional=choices)


def lines(pattern, choices):
    return st.lists(st.tuples(pattern, some_of(choices)), max_size=3)


@st.composite
def policies(draw):
    """A policy of anything that is allowed: what clashes is drawn again."""
    said = draw(some_of(fields))
    for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=4)):
        which = draw(st.sampled_from(["low", "fp32", "promote", "leave"]))
        said[which] = (*said.get(which, ()), name)
    drawn = draw(lines(patterns, of_modules | of_passes)) + draw(lines(place_patterns, of_places))
    made = [Override(pattern, changes) for pattern, changes in drawn if changes]
    try:
        return fp.Policy(**said, passes=draw(some_of(of_passes)), overrides=made)
    except fp.ArgumentError as error:
        if " clash" not in str(error):
            raise
        reject()


@given(policy=policies())
def test_every_form_round_trips(policy):
    assert fp.Policy.parse(str(policy)) == policy
    assert eval(repr(policy), {"fp": fp}) == policy
    assert hash(fp.Policy.parse(str(policy))) == hash(policy)
    assert fp.Policy.from_dict(policy.to_dict()) == policy
    assert fp.Policy.from_json(policy.to_json()) == policy
    assert fp.Policy.from_toml(policy.to_toml()) == policy
    assert str(fp.Policy.from_toml(policy.to_toml())) == str(policy)
    assert pickle.loads(pickle.dumps(policy)) == policy


def test_every_field_takes_part_in_the_round_trip():
    different = {
        "weights": "fp16",
        "activations": "fp16",
        "gradients": "fp16",
        "accumulate": "fp16",
        "master": "bf16",
        "outputs": "bf16",
        "loss": "bf16",
        "loss_scale": 2.5,
        "scaling": "per_tensor",
        "saturation": "finite",
        "inner": "fp32 pairwise",
        "gradient_sum": "fp32",
        "momentum": "bf16",
        "variance": "fp16",
        "update_in": "fp32",
        "update": "kahan",
        "rounding": "toward_zero",
        "subnormals": "ftz",
        "random_bits": 8,
        "low": ("linear", "matmul"),
        "fp32": ("exp",),
        "promote": ("add",),
        "leave": ("*",),
        "passes": {"activations.weight_grad": "e5m2"},
        "overrides": (Override("*.norm", (("weights", fp.FP32),)),),
    }
    assert set(different) == {field.name for field in dataclasses.fields(fp.Policy)}
    for name, value in different.items():
        changed = fp.Policy(**{name: value})
        assert changed != fp.Policy()
        assert fp.Policy.parse(str(changed)) == changed
        assert fp.Policy.from_toml(changed.to_toml()) == changed


def test_the_text_of_the_design_prints_as_it_was_typed():
    text = "weights=e4m3 activations=e4m3 gradients=e5m2 accumulate=fp32 master=fp32"
    assert str(fp.Policy.parse(text)) == text


def test_presets_are_what_their_names_say():
    p = fp.policies
    assert {"fp32", "tf32", "fp16", "fp16_master", "bf16", "bf16_master"} <= set(p)
    assert {"fp16_master_scaled", "fp8_hybrid"} <= set(p)
    everything = {
        getattr(p["fp16"], r) for r in ("weights", "activations", "gradients", "accumulate")
    }
    assert everything | {p["fp16"].loss, p["fp16"].storage} == {fp.FP16}
    assert p["fp16_master"].storage == p["fp16_master"].accumulate == fp.FP32
    assert p["fp16_master_scaled"] == dataclasses.replace(p["fp16_master"], loss_scale=1024)
    assert (p["bf16"].storage, p["bf16_master"].storage) == (fp.BF16, fp.FP32)
    hybrid = p["fp8_hybrid"]
    assert (hybrid.weights, hybrid.activations, hybrid.gradients) == (fp.E4M3, fp.E4M3, fp.E5M2)
    assert (hybrid.accumulate, hybrid.scaling) == (fp.FP32, "per_tensor")
    for name in p:
        assert fp.Policy.parse(name) == p[name]
        assert fp.Policy.parse(str(p[name])) == p[name]
    with pytest.raises(TypeError):
        p["mine"] = p["fp16"]


def test_pairs_override_a_preset():
    p = fp.Policy.parse("fp16_master, loss_scale=2^15 master=none")
    assert (p.loss_scale, p.master, p.storage) == (32768, None, fp.FP16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fp61", "unknown policy 'fp61'; did you mean 'fp64'"),
        ("weight=fp16", "unknown policy role 'weight'; did you mean 'weights'? allowed: weights"),
        ("weights=fp61", "unknown format 'fp61'"),
        ("weights=fp16 weights=bf16", "policy role 'weights' is given twice"),
        ("weights=fp16 bf16", "policy word 'bf16' is not understood; write role=format"),
        ("fp16 loss_scale=0", "loss_scale must be a positive finite number, got 0.0"),
        ("fp16 loss_scale=inf", "loss_scale must be a positive finite number"),
        ("fp16 loss_scale=big", "'big' is not a number; write for example 1024"),
        ("fp16 scaling=blocks", "unknown scaling 'blocks'; allowed: none, per_tensor"),
        ("fp16 saturation=yes", "unknown saturation 'yes'; allowed: none, finite, propagate"),
        ("weights=none", "unknown format 'none'"),
        (" ", "the policy is empty"),
    ],
)
def test_errors_say_which_word_and_what_is_allowed(text, message):
    with pytest.raises(fp.ArgumentError) as caught:
        fp.Policy.parse(text)
    assert message in str(caught.value)


def test_with_blocks_nest_and_threads_do_not_share_them():
    assert current() == fp.policies["fp32"]
    seen = []
    with fp.policies["fp16"]:
        with fp.policies["bf16"]:
            assert current() == fp.policies["bf16"]
        assert current() == fp.policies["fp16"]
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
    assert seen == [fp.policies["fp32"]]


# -- overrides ----------------------------------------------------------------------------------


def test_overrides_are_values():
    said = Override("layers.0", {"weights": "fp16", "accumulate.forward": "fp16 kahan"})
    made = Override(
        "layers.0", [("weights", fp.FP16), ("accumulate.forward", Accumulator("fp16", "kahan"))]
    )
    assert said == made
    assert len({said, made}) == 1
    assert str(said) == "layers.0: weights=fp16 accumulate.forward='fp16 kahan'"


@pytest.mark.parametrize(
    ("pattern", "changes", "message"),
    [
        ("a", {"weight": "fp16"}, "role in the override 'a' 'weight'; did you mean 'weights'?"),
        ("a", {"loss_scale": 2.0}, "unknown policy role in the override 'a' 'loss_scale'"),
        ("a", {"weights": "fp61"}, "unknown format 'fp61'; did you mean 'fp64'?"),
        ("a", {"weights": None}, "unknown format None"),
        ("a", {"rounding": "up"}, "unknown rounding 'up'"),
        ("a", {"random_bits": 65}, "random_bits must be an integer from 1 to 64, got 65"),
        ("a/b", {"weights": "fp16"}, "unknown setting of places in the override 'a/b' 'weights'"),
        ("a/b", {"accumulate.forward": "fp16"}, "unknown setting of places"),
        ("a", {"accumulate.forwards": "fp16"}, "unknown pass of accumulate 'forwards'; did you"),
        ("a", {}, "the override 'a' changes nothing"),
        ("a", (("weights", "fp16"), ("weights", "fp16")), "'weights' is given twice"),
        ("a", ("weights",), "takes pairs of a name and a value, got 'weights'"),
        ("a b", {"weights": "fp16"}, "an override's pattern is one word"),
        ("", {"weights": "fp16"}, "an override's pattern is one word"),
        (3, {"weights": "fp16"}, "an override's pattern is one word"),
        ("@liner", {"weights": "fp16"}, "in the override '@liner' 'liner'; did you mean 'linear'"),
        ("@zz*/forward/*", {"format": "fp16"}, "unknown operation in the override"),
    ],
)
def test_what_is_wrong_with_an_override(pattern, changes, message):
    with pytest.raises(fp.ArgumentError) as caught:
        Override(pattern, changes)
    assert message in str(caught.value)


def test_modules_operations_and_what_stands_below():
    p = fp.Policy.parse(
        "fp16; layers.1.norm: weights=fp64; layers.1: weights=bf16; @*anh: weights=fp32"
    )
    weights = {
        ("layers.1", "linear"): fp.BF16,
        ("layers.1", "tanh"): fp.BF16,
        ("layers.1.add_2", "add"): fp.BF16,
        ("layers.1.norm", "add"): fp.FP64,
        ("layers.1.norm.add", "add"): fp.FP64,
        ("layers.1.norms", "add"): fp.BF16,
        ("layers.10", "linear"): fp.FP16,
        ("layers.10", "tanh"): fp.FP32,
        ("", "tanh"): fp.FP32,
    }
    for (place, operation), f in weights.items():
        assert p.at(place, operation).weights == f, (place, operation)
        assert p.storage_of(place, operation) == f
        assert p.site(place, operation).rule("weights", "forward/weight").format == f


def test_places_in_operations_of_a_name():
    p = fp.Policy.parse("fp16; @linear/forward/weight: format=e4m3; *[x]/forward/*: format=bf16")
    rule = lambda place, op, where: p.site(place, op).rule("weights", where).format  # noqa: E731
    assert rule("a", "linear", "forward/weight") == fp.E4M3
    assert rule("a[x]", "linear", "forward/weight") == fp.E4M3
    assert rule("a", "linear", "input_grad/weight") == fp.FP16
    assert rule("a", "matmul", "forward/weight") == fp.FP16
    assert rule("ax", "matmul", "forward/weight") == fp.BF16


def test_a_preset_is_changed_by_what_is_said_after_it(monkeypatch):
    preset = fp.Policy.parse(
        "bf16 weights.input_grad=fp16 accumulate.forward=fp16; *.norm: weights=fp32"
    )
    from fpemu.policy import presets

    monkeypatch.setattr(presets, "policies", {"mine": preset})
    p = fp.Policy.parse("mine weights=e4m3; *.norm: weights=fp64")
    assert p.passes == (("accumulate.forward", fp.FP16),)
    assert [str(line) for line in p.overrides] == ["*.norm: weights=fp64"]
    p = fp.Policy.parse("mine; a.*: weights=fp64")
    assert [str(line) for line in p.overrides] == ["a.*: weights=fp64", "*.norm: weights=fp32"]
    assert p.passes == preset.passes


def test_what_an_override_says_of_a_role_it_says_of_all_passes():
    text = "fp16 accumulate.forward=bf16 weights.input_grad=bf16; a: accumulate=fp32"
    at = fp.Policy.parse(text).at("a")
    assert at.passes == (("weights.input_grad", fp.BF16),)
    both = fp.Policy.parse("fp16; a: accumulate=fp32 accumulate.forward=bf16").at("a")
    assert both.passes == (("accumulate.forward", fp.BF16),)


def test_parameters_are_stored_as_the_override_of_their_module_says():
    model = fp.nn.mlp([2, 3, 2])
    p = fp.Policy.parse("fp16; layers.2: weights=bf16 master=fp64 momentum=fp32")
    model.store_in(p)
    first, last = model[0].weight, model[2].bias
    assert (first.format, last.format) == (fp.FP16, fp.FP64)
    assert (p.of(first).momentum, p.of(last).momentum) == (None, fp.FP32)
    model.store_in(fp.Policy.parse("fp16; @linear: weights=fp32"))
    assert {q.format for q in model.parameters()} == {fp.FP32}


# -- contradictions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bf16 low=linear+matmul fp32=matmul", "low=matmul and fp32=matmul clash"),
        ("bf16 promote=* leave=*", "promote=* and leave=* clash: all other operations"),
        ("bf16 low=lineer", "unknown operation in low= 'lineer'; did you mean 'linear'?"),
        (
            "bf16; a: weights=fp32; b: weights=fp16; a: weights=fp64",
            "'a: weights=fp32' and 'a: weights=fp64' clash: the pattern 'a' is there twice",
        ),
        (
            "bf16; *.norm: weights=fp32; layers.1.norm: weights=fp16",
            "'*.norm: weights=fp32' and 'layers.1.norm: weights=fp16' clash: all that 'layers.1.norm' "
            "matches, '*.norm' before it matches, too, and the first counts; put the narrower first",
        ),
        ("bf16; layers.1: inner=fp32; layers.1.*: inner=fp16", "put the narrower first"),
        ("bf16; *: inner=fp32; @tanh: inner=fp16", "put the narrower first"),
        ("bf16; @*: inner=fp32; @tanh: inner=fp16", "put the narrower first"),
        ("bf16; */forward/*: format=fp16; a/forward/input: format=fp32", "put the narrower first"),
        (
            "bf16_master update=remainder",
            "update=remainder and master=fp32 clash: the remainder is what BF16 weights lack of FP32",
        ),
        (
            "fp16 update=remainder",
            "update=remainder and weights=fp16 clash: the remainder is the 16",
        ),
        (
            "bf16 update=remainder update_in=fp16",
            "update=remainder and update_in=fp16 clash: a weight",
        ),
        ("bf16_master update=kahan", "update=kahan and master=fp32 clash"),
        ("bf16_master update=stochastic", "update=stochastic and master=fp32 clash"),
        (
            "bf16 update=remainder; @tanh: weights=fp32",
            "in the override '@tanh: weights=fp32': update=remainder and weights=fp32 clash",
        ),
        (
            "fp16 saturation=finite loss_scale=2^20",
            "loss_scale=1048576 and loss=fp16 clash: the gradient of the loss starts as the loss scale in "
            "fp16, where it becomes 65504; its numbers go from 5.96046e-08 to 65504",
        ),
        (
            "fp16 loss_scale=2^-30",
            "loss=fp16 clash: the gradient of the loss starts as the loss scale in fp16, where it becomes "
            "0; its numbers",
        ),
        (
            "fp16_master accumulate='h100 wgmma' weights=fp32",
            "accumulate='h100 wgmma' and activations=fp16 weights=fp32 clash in the forward product: "
            "h100 wgmma does not multiply fp16 with fp32; it takes",
        ),
        (
            "fp16_master accumulate.input_grad='v100 mma' gradients=bf16",
            "accumulate.input_grad='v100 mma' and gradients=bf16 weights=fp16 clash in the input_grad "
            "product",
        ),
        (
            "fp16_master accumulate='v100 mma' activations.weight_grad=bf16",
            "accumulate='v100 mma' and gradients=fp16 activations.weight_grad=bf16 clash in the "
            "weight_grad product",
        ),
        (
            "fp16_master accumulate='v100 mma'; layers.0: weights=fp32",
            "in the override 'layers.0: weights=fp32': accumulate='v100 mma' and activations=fp16 "
            "weights=fp32 clash in the forward product",
        ),
        (
            "weights.weight_grad=fp16",
            "unknown pass of weights 'weight_grad'; did you mean 'input_grad'?",
        ),
        (
            "gradients.backward=fp16",
            "gradients are read in the backward pass only; write gradients=",
        ),
        ("loss.forward=fp16", "unknown role of a pass 'loss'"),
        ("outputs.forward=none", "outputs.forward=none says nothing"),
        ("inner.forward='h100 mma'", "a matrix unit adds products, and nothing else"),
    ],
)
def test_contradictions_name_both_words(text, message):
    with pytest.raises(fp.ArgumentError) as caught:
        fp.Policy.parse(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "bf16 low=linear leave=*",
        "bf16; layers.1.norm: weights=fp16; *.norm: weights=fp32; *: weights=fp64",
        "bf16; layers.?: weights=fp16; layers.*: weights=fp32",
        "bf16; layers.?: weights=fp16; layers.10: weights=fp32",
        "bf16; a*: weights=fp16; ?*: weights=fp32; *b: weights=fp64",
        "bf16; layers.[01]: weights=fp16; layers.1: weights=fp32",
        "bf16; @tanh: inner=fp32; layers.0: inner=fp16",
        "bf16; layers.0: inner=fp32; */forward/*: format=fp16",
        "bf16; a/forward/*: format=fp32; a/*/output: format=fp16",
        "bf16 update=remainder",
        "bf16 update=kahan master=fp16",
        "fp16 loss_scale=2^15",
        "fp16 loss_scale=2^20",
        "fp16 loss=e4m3 loss_scale=2^20",
        "fp16 accumulate='v100 mma' weights=fp32; */forward/weight: format=fp16",
        "fp16 accumulate='v100 mma' weights=fp32 fp32=linear",
        "fp16 accumulate.forward='v100 mma' weights.input_grad=fp32",
    ],
)
def test_what_only_looks_like_a_contradiction(text):
    assert fp.Policy.parse(str(fp.Policy.parse(text))) == fp.Policy.parse(text)


words = st.lists(st.sampled_from(["a", "b", "*", "?", "."]), min_size=1, max_size=5).map("".join)


@given(earlier=words, later=words)
def test_a_pattern_that_is_refused_could_never_have_counted(earlier, later):
    first, second = (Override(pattern, {"weights": "fp16"}) for pattern in (earlier, later))
    if contradictions.covers(first, second):
        names = ("".join(name) for n in range(5) for name in itertools.product("ab.", repeat=n))
        assert all(first.matches(name) for name in names if second.matches(name))


# -- files --------------------------------------------------------------------------------------

FULL = """fp8_hybrid accumulate='fp32 blocked:64' activations.weight_grad=fp16 low=linear leave=*
loss_scale=2^-3; @tanh: inner=fp32 update=kahan master=none; */weight_grad/accumulate: accumulate='fp16 kahan'"""


@pytest.mark.parametrize("suffix", [".toml", ".json", ".txt", ".TOML"])
def test_files_round_trip(tmp_path, suffix):
    policy, path = fp.Policy.parse(FULL), tmp_path / f"mine{suffix}"
    policy.save(path)
    assert fp.Policy.load(path) == policy == as_policy(path) == as_policy(str(path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    fp.policies["fp16"].save(path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(fp.ArgumentError, match=r"cannot write .*No space"):
        fp.policies["bf16"].save(path)
    assert fp.Policy.load(path) == fp.policies["fp16"]
    assert list(tmp_path.iterdir()) == [path]


def test_formats_of_ones_own_survive_files_but_not_text(tmp_path):
    mine = fp.Format(name="mine", exponent_bits=6, fraction_bits=5)
    policy = fp.Policy(weights=mine, overrides=[Override("a", {"weights": mine})])
    for suffix in (".toml", ".json"):
        policy.save(tmp_path / f"p{suffix}")
        assert fp.Policy.load(tmp_path / f"p{suffix}") == policy
    with pytest.raises(fp.ArgumentError, match="format that text cannot name"):
        policy.save(tmp_path / "p.txt")
    with pytest.raises(fp.ArgumentError, match="no name to be written"):
        fp.Policy(accumulate=Accumulator(mine, "kahan")).to_json()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.toml",
            'weight = "fp16"',
            "a.toml: unknown policy role 'weight'; did you mean 'weights'",
        ),
        ("a.toml", "weights = ", "a.toml: this is not TOML"),
        ("a.json", "{", "a.json: this is not JSON"),
        ("a.json", "[]", "a policy is a table of fields, got []"),
        ("a.json", '{"preset": "fp17"}', "unknown policy 'fp17'; did you mean 'fp16'"),
        ("a.json", '{"overrides": {}}', "overrides is a list of tables"),
        ("a.json", '{"overrides": [{"weights": "fp16"}]}', "an override has a pattern"),
        ("a.json", '{"weights": {"name": "x", "bits": 3}}', "unknown setting of a format 'bits'"),
        ("a.json", '{"weights": {"name": "x"}}', "a format of one's own lacks something"),
        ("a.json", '{"weights": 3}', "unknown format 3"),
        ("a.json", '{"low": [3]}', "low lists names of operations, got 3"),
        ("a.json", '{"loss_scale": []}', "loss_scale must be a positive finite number, got []"),
        ("a.txt", "fp16 fp32", "a.txt: policy word 'fp32' is not understood"),
        (
            "a.yaml",
            "",
            "unknown kind of policy file '.yaml'; did you mean '.toml'? allowed: .toml, .json",
        ),
        ("a.txt", b"\xff\xfe", "cannot read the policy in"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(fp.ArgumentError) as caught:
        fp.Policy.load(path)
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(fp.ArgumentError, match=r"cannot read the policy in .*No such file"):
        as_policy(tmp_path / "a.toml")
    with pytest.raises(
        fp.ArgumentError, match="a policy is a Policy, its text or a file's path, got 3"
    ):
        as_policy(3)


def test_a_preset_in_a_file_is_changed_by_the_rest():
    p = fp.Policy.from_toml(
        'preset = "fp16_master"\nloss_scale = 1024\n"weights.input_grad" = "bf16"'
    )
    assert p == fp.Policy.parse("fp16_master loss_scale=1024 weights.input_grad=bf16")


def test_train_takes_a_file(tmp_path):
    fp.Policy.parse("bf16").save(tmp_path / "p.toml")
    x = [[0.0, 1.0], [1.0, 0.0]] * 5
    model = fp.nn.mlp([2, 2])
    history = fp.train(model, (x, [0, 1] * 5), policy=tmp_path / "p.toml", epochs=1)
    assert history.policy == fp.policies["bf16"]
    assert model[0].weight.format == fp.BF16


def test_overrides_that_name_no_module_of_the_model():
    model = fp.nn.mlp([4, 3, 2])
    known = [module.place for module in model.modules()]
    for pattern in (
        "layers.0",
        "layers",
        "layers.2/update/*",
        "*.norm",
        "@tanh",
        "loss",
        "layers.add_2",
    ):
        Override(pattern, {"rounding": "to_odd"}).check_suits(known)
    for pattern in ("layer.0", "layers.9", "layers.9/forward/*", "layers.0.plus", "lay"):
        override = Override(pattern, {"rounding": "to_odd"})
        with pytest.raises(fp.ArgumentError, match="unknown module in the override"):
            override.check_suits(known)
    x, y = [[0.0] * 4] * 5, [0, 1, 0, 1, 0]
    wrong = fp.Policy.parse("fp16; layer.0: weights=fp32 activations=fp32")
    with pytest.raises(fp.ArgumentError, match=r"'layer\.0'; did you mean 'layers\.0'"):
        fp.train(model, (x, y), policy=wrong)
    told = wrong.explain(model, (5, 4))
    assert "no such module: layer.0: weights=fp32 activations=fp32" in str(told)

"""Policies survive text, and say what is wrong with it."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fpemu as fp
from fpemu.formats import NAMED
from fpemu.policy import current
from fpemu.policy.override import Override

formats = st.sampled_from(sorted(NAMED.values(), key=str))
maybe = st.none() | formats
some_policy = st.builds(
    fp.Policy,
    weights=formats,
    activations=formats,
    gradients=formats,
    accumulate=formats,
    master=maybe,
    outputs=maybe,
    loss=formats,
    loss_scale=st.floats(min_value=1e-300, max_value=1e300),
    scaling=st.sampled_from(["none", "per_tensor"]),
    saturation=st.sampled_from(["none", "finite", "propagate"]),
)


@given(policy=some_policy)
def test_text_round_trip(policy):
    assert fp.Policy.parse(str(policy)) == policy
    assert eval(repr(policy), {"fp": fp}) == policy
    assert hash(fp.Policy.parse(str(policy))) == hash(policy)


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
        "update_in": "bf16",
        "update": "kahan",
        "rounding": "toward_zero",
        "subnormals": "ftz",
        "random_bits": 8,
        "low": ("linear", "conv2d"),
        "fp32": ("softmax",),
        "promote": ("add",),
        "leave": ("*",),
        "overrides": (Override("*.norm", (("weights", fp.FP32),)),),
    }
    assert set(different) == {field.name for field in dataclasses.fields(fp.Policy)}
    for name, value in different.items():
        changed = fp.Policy(**{name: value})
        assert changed != fp.Policy()
        assert fp.Policy.parse(str(changed)) == changed


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

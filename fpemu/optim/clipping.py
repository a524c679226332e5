"""Gradients made smaller before an update: by their common norm, or each value by itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from fpemu import accumulation, events
from fpemu.accumulation import Accumulator
from fpemu.arrays import Array
from fpemu.autograd import draws
from fpemu.autograd.tensor import Tensor
from fpemu.errors import ArgumentError
from fpemu.formats import FP32, Format
from fpemu.optim.optimizer import check
from fpemu.optim.steps import Steps, site_for
from fpemu.policy import Policy, current
from fpemu.policy.policy import as_sums


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    *,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    accumulate: object = None,
) -> Array:
    """Multiply all gradients by ``max_norm / (norm + 1e-6)``, where that is below 1; returns the norm.

    Parameters
    ----------
    parameters : tensors; those without a gradient are left out.
    max_norm : at least 0. Gradients that carry a loss scale must be divided by it first.
    norm_type : 2.0, 1.0, ``inf`` (the largest magnitude) or another positive number.
    error_if_nonfinite : refuse a norm that is NaN or infinite with `ArgumentError`, before
        anything is changed. Otherwise an infinite norm makes all gradients 0 and those that are infinite
        NaN, and a norm that is NaN makes all of them NaN.
    accumulate : how the powers are added: a format or an accumulation model (`fp.sum`), by default
        FP32. The norm of each gradient, then the norm of these norms, and the factor are
        rounded to the format in which it ends; the products to the gradients' own.

    The norm is a 0-d `Array`. Roundings are the policy's, at the places ``<layer>/clip/<weight>/...`` and
    ``clip/total/...``, counted as operation "clip". Source: torch.nn.utils.clip_grad_norm_.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([0.0, 0.0], "fp16"), requires_grad=True)
    >>> weight.grad = fp.array([3.0, 4.0], "fp16")
    >>> clip_grad_norm_([weight], 1.0), weight.grad
    (fp.array(5.0, fp.FP32), fp.array([0.60009765625, 0.7998046875], fp.FP16))
    """
    check(max_norm, "max_norm", least=0.0)
    if not isinstance(norm_type, (int, float)) or not norm_type > 0:
        raise ArgumentError(f"norm_type must be a positive number or inf, got {norm_type!r}")
    named, policy = _with_gradient(parameters), current()
    model = _model(accumulate)
    f = model.result_format
    norms = [
        _norm(_steps(policy, p, f), p.grad, float(norm_type), model)
        for p in named
        if p.grad is not None
    ]
    whole = Steps(site_for(policy, "clip", {"update": f}), "total", count_as="clip")
    together = np.array([n.item() for n in norms])
    total = _norm(whole, Array(together, f), float(norm_type), model) if norms else Array(0.0, f)  # type: ignore[arg-type]
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise ArgumentError(
            f"the gradients have the norm {total.item()}, by which nothing can be clipped; look for the "
            "first infinite or NaN gradient, or leave error_if_nonfinite=False"
        )
    margin = whole("add", total, whole.number_of(1e-6), where="denominator")
    factor = whole("divide", whole.number_of(max_norm), margin, where="factor")
    if factor.item() > 1:
        factor = whole.number_of(1.0)
    for p in named:
        assert p.grad is not None
        steps = _steps(policy, p, p.grad.format)
        p.grad = steps("multiply", p.grad, factor, where="result")
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Replace gradients beyond `clip_value` in either direction by it, rounded to their format.

    NaN stays NaN. How many were replaced is counted as event "saturated" of operation "clip" at
    ``<layer>/clip/<weight>/value``. `clip_value` is at least 0, else `ArgumentError`. Source:
    torch.nn.utils.clip_grad_value_.

    >>> import fpemu as fp
    >>> weight = fp.Tensor(fp.array([0.0, 0.0], "fp16"), requires_grad=True)
    >>> weight.grad = fp.array([3.0, -4.0], "fp16")
    >>> clip_grad_value_([weight], 3.5)
    >>> weight.grad
    fp.array([3.0, -3.5], fp.FP16)
    """
    check(clip_value, "clip_value", least=0.0)
    policy = current()
    for p in _with_gradient(parameters):
        assert p.grad is not None
        f, values = p.grad.format, p.grad._values
        steps = _steps(policy, p, f)
        bound = steps.number_of(clip_value)._values
        clipped = np.clip(values, -bound, bound)
        if events.active():
            changed = np.count_nonzero((clipped != values) & ~np.isnan(values))
            counts = {"values": values.size, "nonzero": int(np.count_nonzero(values))}
            place = f"{steps.site.place}/{steps.at}/value"
            events.record(place, "clip", f.name, {**counts, "saturated": int(changed)}, clipped)
        p.grad = Array(clipped, f)


def _with_gradient(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for p in given:
        if not isinstance(p, Tensor):
            raise ArgumentError(f"clipping takes parameters (tensors), got {p!r}")
    return [p for p in given if p.grad is not None]


def _model(accumulate: object) -> Accumulator:
    """The model of the sums, with what it leaves open."""
    sums = as_sums("accumulate", FP32 if accumulate is None else accumulate)
    if isinstance(sums, Format):
        return Accumulator(sums)
    if not isinstance(sums, Accumulator):
        raise ArgumentError(f"accumulate={str(sums)!r}: a norm is no product; name a format")
    return sums


def _steps(policy: Policy, p: Tensor, f: Format) -> Steps:
    layer, _, name = p.name.rpartition("/")
    return Steps(site_for(policy, layer, {"update": f}), f"clip/{name}", count_as="clip")


def _norm(steps: Steps, x: Array, p: float, model: Accumulator) -> Array:
    """The p-norm of all elements."""
    f = model.result_format
    flat = Array(np.abs(x._values.reshape(-1)), x.format)
    if p == math.inf:
        largest = flat._values.max(initial=0.0)
        return steps("convert", Array(np.asarray(largest), x.format), where="norm", f=f)
    if p not in (1.0, 2.0):
        power = steps.number_of(p)
        flat = flat if flat.format == f else steps("convert", flat, where="operand", f=f)
        flat = steps("power", flat, power, where="power", f=f)
    total = _total(steps, flat, model, squares=p == 2.0)
    if p == 1.0:
        return total
    if p == 2.0:
        return steps("sqrt", total, where="norm", f=f)
    return steps("power", total, steps.number_of(1 / p), where="norm", f=f)


def _total(steps: Steps, x: Array, model: Accumulator, squares: bool) -> Array:
    at = f"{steps.at}/sum"
    place, rule = f"{steps.site.place}/{at}", steps.site.rule("update", at)
    settings: dict[str, Any] = {k: getattr(model, k) or v for k, v in rule.settings.items()}
    seed = model.seed
    if seed is None:
        seed = draws.key(place) if settings["rounding"] == "stochastic" else 0
    bits = model.random_bits or rule.random_bits
    model = dataclasses.replace(model, seed=seed, random_bits=bits, **settings)
    terms = x._values.reshape(-1, 1)
    options: dict[str, Any] = {"place": place, "op": "clip", "squares": squares}
    total = accumulation.accumulate(None, terms, (x.format, x.format), model, **options)
    return Array(total.reshape(()), model.result_format)

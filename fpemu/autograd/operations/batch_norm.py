"""Batch norm: each channel by its mean and variance over the batch, or by running ones.

x is (N, C, ...), K the number of its elements per channel, in the order of N and then what lies behind C.
A is the format of inner steps, to which each step is rounded once.

In training:  mu, d, v, t, r, n as in `fpemu.layer_norm`, for each channel   forward/normalize
              y = n * weight + bias, two roundings                            forward/affine
              u = sum(d * d) by the model, / (K - 1): the unbiased variance   forward/running_var
              running = (1 - m) * running + m * (mu or u): in the format of the running statistics, the
              products and their sum each rounded; 1 - m and m are rounded to nearest, not counted
                                                         forward/running_mean, forward/running_var
In use:       d = x - mean, t = var + eps, r = 1 / sqrt(t), n = d * r         forward/normalize

The other places: forward/weight, forward/bias (the working copies), forward/output;
input_grad/normalize, weight_grad/sum, bias_grad/sum, and .../output of each.
Source: Ioffe and Szegedy 2015, "Batch normalization"; running statistics as PyTorch's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fpemu.arrays import Array
from fpemu.autograd.operations.normalization import (
    affine,
    input_gradient,
    parameter_gradients,
    working,
)
from fpemu.autograd.operations.recipes import array_of, recipe, values_of
from fpemu.autograd.site import Site
from fpemu.autograd.tensor import Operation
from fpemu.convert import round_to
from fpemu.errors import ArgumentError
from fpemu.linalg.normalization import number_of
from fpemu.linalg.normalization_gradients import through_mean_and_scale
from fpemu.linalg.options import COUNTS
from fpemu.linalg.steps import Steps, Values

if TYPE_CHECKING:
    from fpemu.autograd.tensor import Tensor

Needed = tuple[bool, ...]
Gradients = tuple[Array | None, ...]
Running = tuple["Tensor", "Tensor"]  # mean and variance of each channel


def _batch_norm(
    site: Site,
    x: Array,
    *given: Array,
    eps: float = 1e-5,
    running: Running | None = None,
    training: bool = True,
    momentum: float = 0.1,
) -> tuple[Array, Any]:
    if x.ndim < 2 or not x.size:
        raise ArgumentError(
            f"{site.place}: batch_norm takes inputs of shape (N, C, ...) with elements, got {x.shape}"
        )
    channels, count = x.shape[1], x.size // x.shape[1]
    for p in (*given, *(running or ())):
        if p.shape != (channels,):
            raise ArgumentError(
                f"{site.place}: input has {channels} channels, a weight or statistic shape {p.shape}"
            )
    by_batch = training or running is None
    if by_batch and count < 2:
        raise ArgumentError(
            f"{site.place}: in training a channel needs more than one value, got input {x.shape}; "
            "enlarge the batch or call eval()"
        )
    rows = _by_channel(x)
    if by_batch:
        with recipe(site, "forward/normalize") as steps:
            mu = steps.mean(rows, 1)
            d = steps("subtract", rows, mu)
            r = _scale(steps, steps.mean(d, 1, squares=True), eps)
            n = steps("multiply", d, r)
        if running is not None:
            _update(site, running, mu, d, momentum, count)
    else:
        assert running is not None
        mean, variance = (values_of(t.data, -1, 1) for t in running)
        with recipe(site, "forward/normalize") as steps:
            d = steps("subtract", rows, mean)
            r = _scale(steps, variance, eps)
            n = steps("multiply", d, r)
    beside = [values_of(p, -1, 1) for p in working(site, given)]
    with recipe(site, "forward/affine") as steps:
        y = array_of(affine(steps, n, beside))
    y = site.hand_on(_from_channels(y, x.shape), "activations", "forward/output")
    return y, (n, r, beside[:1], x.shape, by_batch)


def _scale(steps: Steps, variance: Values, eps: float) -> Values:
    return steps("rsqrt", steps("add", variance, number_of(eps, steps)))


def _update(
    site: Site, running: Running, mu: Values, d: Values, momentum: float, count: int
) -> None:
    """Move the running statistics towards those of this batch."""
    with recipe(site, "forward/running_var") as steps:
        number = np.full((), float(count - 1)), COUNTS
        unbiased = steps("divide", steps.total(d, 1, squares=True), number)
    for statistic, new, where in zip(
        running, (mu, unbiased), ("forward/running_mean", "forward/running_var"), strict=True
    ):
        f = statistic.data.format
        keep, take = (
            Array(round_to(np.full((), v), f, site.saturation, count=False), f)
            for v in (1.0 - momentum, momentum)
        )
        options: dict[str, Any] = {"role": "inner", "where": where, "f": f}
        old = site.apply("multiply", keep, statistic.data, **options)
        part = site.apply("multiply", take, array_of(new, -1), **options)
        statistic.data = site.apply("add", old, part, **options)


def _batch_norm_backward(site: Site, saved: Any, gradient: Array, needed: Needed) -> Gradients:
    n, r, weight, shape, by_batch = saved
    g, dx = _by_channel(gradient), None
    if needed[0]:
        through = through_mean_and_scale if by_batch else _through_constants
        rows = input_gradient(site, through, g, n, r, *(weight or [None]))
        back = _from_channels(array_of(rows), shape)
        dx = site.hand_on(back, "gradients", "input_grad/output")
    return (dx, *parameter_gradients(site, g, n, 1, shape[1:2], needed[1:]))


def _through_constants(g: Values, n: Values, r: Values, steps: Steps) -> Values:
    """dx where mean and variance do not depend on x."""
    return steps("multiply", g, r)


def _by_channel(x: Array) -> Values:
    """(N, C, ...) as (C, K)."""
    values = np.moveaxis(x._values, 1, 0).reshape(x.shape[1], -1)
    return np.ascontiguousarray(values), x.format


def _from_channels(x: Array, shape: tuple[int, ...]) -> Array:
    """(C, K) as `shape` again."""
    apart = x._values.reshape(shape[1], shape[0], math.prod(shape[2:]))
    return Array(np.ascontiguousarray(np.moveaxis(apart, 0, 1)).reshape(shape), x.format)


BATCH_NORM = Operation("batch_norm", _batch_norm, _batch_norm_backward)

TABLE = (BATCH_NORM,)

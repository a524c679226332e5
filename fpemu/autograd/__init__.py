"""Reverse-mode differentiation in which every rounding has a place.

`tensor.py` is the graph and the walk back through it, `operations/` the table of operations with
forward beside backward, `site.py` says how an operation rounds where it stands, `places.py` where that
is, `draws.py` where random bits come from; `check.py` compares gradients with numeric ones.

An operation of one's own is a forward and a backward rule. They get a `Site`, which rounds what they
ask it to, as the policy says for the place, and counts it:

>>> import numpy as np
>>> import fpemu as fp
>>> def forward(site, x):
...     y = site.apply("multiply", x, x, role="activations", where="forward/output", result=True)
...     return y, x                                    # the result, and what backward needs
>>> def backward(site, x, gradient, needed):
...     twice = site.apply("add", x, x, role="inner", where="input_grad/twice")
...     product = site.apply("multiply", gradient, twice, role="inner", where="input_grad/product")
...     return (site.hand_on(product, "gradients", "input_grad/output"),)
>>> square = Operation("square", forward, backward)
>>> check_grad(lambda x: square(x).sum(), [np.array([0.5, -3.0])])
>>> x = Tensor(np.float32([0.1, 300.0]), requires_grad=True)
>>> with fp.trace() as t, fp.policies["fp16"]:
...     square(x).sum().backward()
>>> t.count("overflow", place="square/forward/output"), x.grad.tolist()
(1, [0.199951171875, 600.0])
"""

from fpemu.autograd.check import check_grad as check_grad
from fpemu.autograd.site import Site as Site
from fpemu.autograd.tensor import Operation as Operation
from fpemu.autograd.tensor import Tensor as Tensor
from fpemu.autograd.tensor import no_grad as no_grad

"""`Policy`: how every value is rounded while a model runs and is trained, as immutable data."""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fpemu import scaling
from fpemu.accumulation import Accumulator
from fpemu.autograd import places
from fpemu.autograd.site import Site
from fpemu.formats import FP32, Format
from fpemu.policy import contradictions, passes
from fpemu.policy.lists import rule_of
from fpemu.policy.override import Override
from fpemu.policy.values import Sums, ends_in, value_of

if TYPE_CHECKING:
    import os

    from fpemu.autograd.tensor import Tensor
    from fpemu.policy.explain import Explanation

_active: contextvars.ContextVar[tuple[Policy, ...]] = contextvars.ContextVar(
    "fpemu_policies", default=()
)


@dataclass(frozen=True, repr=False)
class Policy:
    """How every value is rounded while a model runs and is trained.

    =============  ================================================================================
    weights        what products read as weights, and the biases: the working copy
    activations    what products read as input, and what layers hand forward
    gradients      what products read as incoming gradient, and what layers hand back, parameter
                   gradients included
    accumulate     every product and every partial sum inside a matrix product: a format, or an
                   `Accumulator`, or a `MatrixUnit`
    inner          the steps inside whatever is no product (normalization, softmax, activation
                   functions, means): a format or an `Accumulator`; None: the format in which
                   `accumulate` ends
    master         the stored weights that updates are applied to; None: no separate copy, updates
                   are applied in the weights' format
    outputs        if set, results of layers and biases have this format, and the three formats
                   above are those of products' operands only (how systems use FP8)
    loss           softmax, logarithm and mean of the loss, each operation rounded
    gradient_sum   gradients of parameters added over uses and micro-batches; None: as they come
    momentum       the optimizer's first moments (velocities); None: as the stored weights
    variance       its second moments (mean squares); None: as the stored weights
    update_in      the format in which an update is computed, as in one fused kernel; None: step by
                   step in the format of the stored weights
    update         "plain"; "kahan" (with a running correction); "stochastic" (rounded at random);
                   "remainder" (the 16 bits that BF16 weights lack are kept apart)
    loss_scale     the loss gradient is multiplied by it and divided out again before the update
    scaling        "none", or "per_tensor": operands are scaled by a power of two before they are
                   rounded, and products scaled back
    rounding, saturation, subnormals, random_bits    as `fpemu.quantize`, for all roundings but those of
                   the program's own numbers (1/N, learning rates), which are to nearest
    low, fp32, promote, leave    names of operations ("*": all others), by what happens to their
                   inputs: cast to the formats above; cast to FP32; cast to the widest format among
                   them (`fpemu.policy.lists`). Gradients then have the formats of the inputs
    passes         one role in one pass, such as ``activations.weight_grad`` (`fpemu.policy.passes`)
    overrides      `Override`s: patterns of modules, operations or places, and what is other there
    =============  ================================================================================

    Of two things that are said of one place, this counts: the first override of places that matches;
    the first override of modules or operations that matches, and in it what is said of the pass before
    what is said of the role; `passes`; the lists of operations; the roles. Words that cannot both hold
    are refused when the policy is made, with an `ArgumentError` that names both.

    Hand it to `fp.train`, or use it as ``with policy: ...`` in a loop of one's own. There call
    ``model.store_in(policy)`` first (`master` and `weights` say in which format weights are stored, which
    no operation changes by itself), ``loss.backward(policy.loss_scale)`` and
    ``optimizer.step(divide_by=policy.loss_scale)``; `fp.train` does all three. The text form lists
    ``role=format`` pairs; roles left out are FP32 (`Policy.parse`). `to_dict`, `to_json`, `to_toml`
    and `save` have inverses; `explain` lists what happens at every place of a model.

    >>> p = Policy.parse("weights=e4m3 activations=e4m3 gradients=e5m2 accumulate=fp32 master=fp32")
    >>> p.gradients, p.loss_scale
    (fp.E5M2, 1.0)
    >>> Policy.parse(str(p)) == p
    True
    >>> p = Policy.parse("fp16_master accumulate.weight_grad='h100 mma'; layers.0: loss=fp64 weights=bf16")
    >>> p.passes, p.at("layers.0").weights, p.at("layers.2").weights
    ((('accumulate.weight_grad', fp.matrix_unit('h100', 'mma')),), fp.BF16, fp.FP16)
    """

    weights: Format = FP32
    activations: Format = FP32
    gradients: Format = FP32
    accumulate: Sums = FP32
    master: Format | None = None
    outputs: Format | None = None
    loss: Format = FP32
    loss_scale: float = 1.0
    scaling: str = "none"
    saturation: str = "none"
    inner: Format | Accumulator | None = None
    gradient_sum: Format | None = None
    momentum: Format | None = None
    variance: Format | None = None
    update_in: Format | None = None
    update: str = "plain"
    rounding: str = "nearest_even"
    subnormals: str = "gradual"
    random_bits: int = 24
    low: tuple[str, ...] = ()
    fp32: tuple[str, ...] = ()
    promote: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    passes: tuple[tuple[str, Any], ...] = ()
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in FIELDS:
            if name not in ("passes", "overrides"):
                put(self, name, value_of(name, getattr(self, name)))
        put(self, "passes", passes.settled(self.passes))
        put(self, "overrides", tuple(self.overrides))
        # A policy never changes: sites by place, operation and formats, and what overrides make of it.
        put(self, "_sites", {})
        put(self, "_merged", {})
        contradictions.check(self)

    @property
    def storage(self) -> Format:
        """The format in which weights are stored and updated: `master`, or else `weights`."""
        return self.master or self.weights

    @classmethod
    def parse(cls, text: str) -> Policy:
        """The policy that `text` describes: a preset's name, ``role=format`` pairs, or both; then, each
        behind a semicolon, overrides: a pattern, a colon, and what is other there.

        Pairs after a preset's name override it. ``master=none`` means no master weights; a loss
        scale is a number or a power such as ``2^15``; an accumulation model of several words stands in
        quotes; lists of operations are joined by ``+``.
        Raises `ArgumentError` naming the word that is not understood and what is allowed.

        >>> Policy.parse("fp16_master loss_scale=2^10").loss_scale
        1024.0
        """
        from fpemu.policy.text import parse

        return parse(text)

    def __str__(self) -> str:
        """The text that `parse` reads: the four main roles and whatever differs from default."""
        from fpemu.policy.text import written

        return written(self)

    def __repr__(self) -> str:
        text = str(self)
        return f'fp.Policy.parse("{text}")' if '"' not in text else f"fp.Policy.parse({text!r})"

    def changed(self, changes: Mapping[str, Any]) -> Policy:
        """The same with other fields. Keys of passes, such as "accumulate.weight_grad", are allowed; a
        role that is changed as a whole is changed in all its passes.

        >>> p = Policy(passes={"weights.input_grad": "bf16"}).changed({"accumulate.forward": "fp16"})
        >>> p.passes
        (('weights.input_grad', fp.BF16), ('accumulate.forward', fp.FP16))
        >>> p.changed({"weights": "fp16"}).passes
        (('accumulate.forward', fp.FP16),)
        """
        whole = {name: value for name, value in changes.items() if "." not in name}
        kept = {k: v for k, v in self.passes if k.partition(".")[0] not in whole}
        more = {name: value for name, value in changes.items() if "." in name}
        return dataclasses.replace(self, **{"passes": {**kept, **more}, **whole})

    # -- use ------------------------------------------------------------------------------

    def override_of(self, module: str, operation: str = "") -> Override | None:
        """The first override of modules or operations that matches; None if none does."""
        found = (o for o in self.overrides if not o.of_places and o.matches(module, operation))
        return next(found, None)

    def at(self, module: str, operation: str = "") -> Policy:
        """The policy of an operation in a module: the first override that matches it, merged."""
        override = self.override_of(module, operation)
        return self.merged(override) if override else self

    def merged(self, override: Override) -> Policy:
        """The policy where `override`, one of modules or operations, holds."""
        merged: dict[Override, Policy] = self._merged  # type: ignore[attr-defined]
        if override not in merged:
            of_places = tuple(o for o in self.overrides if o.of_places)
            merged[override] = self.changed({**dict(override.changes), "overrides": of_places})
        return merged[override]

    def of(self, parameter: Tensor) -> Policy:
        """The policy of a parameter: that of its module, or of the operation its layer is named after.

        Its `storage`, `update`, `momentum`, `variance` and `gradient_sum` are those of this parameter.

        >>> from fpemu import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> p = Policy.parse("fp16; layers.1: master=fp32")
        >>> [p.of(parameter).storage for parameter in model.parameters()]
        [fp.FP16, fp.FP16, fp.FP32, fp.FP32]
        """
        module, _, _ = parameter.name.rpartition("/")
        return self.at(module, parameter.kind)

    def storage_of(self, module: str, operation: str = "") -> Format:
        """The format in which the weights of a module are stored and updated."""
        return self.at(module, operation).storage

    def site(self, place: str, operation: str = "", formats: tuple[Format, ...] = ()) -> Site:
        """How `operation` rounds at `place` under this policy, on inputs of these formats."""
        key = (place, operation, formats)
        found = self._sites.get(key)  # type: ignore[attr-defined]
        if found is None:
            found = self._sites[key] = self.at(place, operation)._site(*key)  # type: ignore[attr-defined]
        return found

    def _site(self, place: str, operation: str, formats: tuple[Format, ...]) -> Site:
        rule = rule_of(self, operation)
        model = self.accumulate if not isinstance(self.accumulate, Format) else None
        inner = self.inner if isinstance(self.inner, Accumulator) else None
        roles = {name: getattr(self, name) for name in ("weights", "activations", "gradients")}
        roles |= {"loss": self.loss, "accumulate": ends_in(self.accumulate)}
        roles["inner"] = ends_in(self.inner) if self.inner else roles["accumulate"]
        outputs, of_passes = self.outputs, self.passes
        wide = rule.format(formats)
        if wide is not None:
            roles = {
                **dict.fromkeys(roles, wide),
                "loss": self.loss if rule.name != "fp32" else wide,
            }
            model = inner = outputs = None
            of_passes = ()
            if wide.precision < FP32.precision:  # steps inside are as wide as ever
                roles["accumulate"] = ends_in(self.accumulate)
                roles["inner"] = ends_in(self.inner) if self.inner else roles["accumulate"]
        of_places = ((o.at(place, operation), o) for o in self.overrides if o.of_places)
        return Site(
            place,
            roles,
            outputs,
            self.saturation,
            scaling.RULES[self.scaling] if wide is None else None,
            self.rounding,
            self.subnormals,
            self.random_bits,
            model,
            inner,
            self.gradient_sum,
            rule.follows_inputs,
            tuple((pattern, o.casts()) for pattern, o in of_places if pattern),
            passes.table(of_passes),
        )

    def explain(
        self,
        model: Any,
        inputs: Any,
        *,
        loss: Any = None,
        optimizer: Any = None,
    ) -> Explanation:
        """A table of every place of `model` in order: what is rounded there, from which format to which,
        how, and which word of this policy says so. See `fpemu.policy.explain.explain`.

        >>> from fpemu import nn
        >>> rows = Policy.parse("fp16_master").explain(nn.mlp([4, 3, 2]), (5, 4)).rows
        >>> next((r.source, r.format, r.decided) for r in rows if r.place == "layers.2/forward/weight")
        (('fp32',), 'fp16', 'weights=fp16')
        """
        from fpemu.policy.explain import explain

        return explain(self, model, inputs, loss=loss, optimizer=optimizer)

    def __enter__(self) -> Policy:
        _active.set((*_active.get(), self))
        places.provide(self.site)
        return self

    def __exit__(self, *_: object) -> None:
        _active.set(_active.get()[:-1])
        outer = _active.get()
        places.provide(outer[-1].site if outer else FP32_THROUGHOUT.site)

    # -- other forms ----------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The policy as strings, numbers and lists: the four main roles and what differs from default.

        >>> Policy.parse("bf16 low=linear+matmul leave=*; layers.0: weights=fp32").to_dict()["overrides"]
        [{'pattern': 'layers.0', 'weights': 'fp32'}]
        """
        from fpemu.policy.files import to_dict

        return to_dict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Policy:
        """The policy that `to_dict` wrote, or that a person did: fields by name, keys of passes, a list
        of overrides, and under "preset" the name of a policy to begin with.

        Raises `ArgumentError` for what is unknown.

        >>> Policy.from_dict({"preset": "fp16_master", "loss_scale": 1024}) == Policy.parse("fp16_master_scaled")
        True
        """
        from fpemu.policy.files import from_dict

        return from_dict(said)

    def to_json(self) -> str:
        """`to_dict` as JSON."""
        from fpemu.policy.files import to_json

        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """The policy that `to_json` wrote; `ArgumentError` for what is not JSON."""
        from fpemu.policy.files import from_json

        return from_json(text)

    def to_toml(self) -> str:
        """`to_dict` as TOML.

        >>> print(Policy.parse("bf16 weights.input_grad=fp16; @tanh: inner=fp32").to_toml(), end="")
        weights = "bf16"
        activations = "bf16"
        gradients = "bf16"
        accumulate = "fp32"
        "weights.input_grad" = "fp16"
        <BLANKLINE>
        [[overrides]]
        pattern = "@tanh"
        inner = "fp32"
        """
        from fpemu.policy.files import to_toml

        return to_toml(self)

    @classmethod
    def from_toml(cls, text: str) -> Policy:
        """The policy that `to_toml` wrote; `ArgumentError` for what is not TOML."""
        from fpemu.policy.files import from_toml

        return from_toml(text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, whole or not at all: .toml, .json, or .txt for the text form."""
        from fpemu.policy.files import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Policy:
        """The policy in a .toml, .json or .txt file; `ArgumentError` naming the file if there is none."""
        from fpemu.policy.files import load

        return load(path)


FIELDS = tuple(field.name for field in dataclasses.fields(Policy))
MAIN = ("weights", "activations", "gradients", "accumulate")
FP32_THROUGHOUT = Policy()


def current() -> Policy:
    """The policy of the innermost ``with`` block; FP32 throughout if there is none."""
    stack = _active.get()
    return stack[-1] if stack else FP32_THROUGHOUT

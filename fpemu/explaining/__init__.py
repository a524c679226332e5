"""Why a number rounds as it does, and an operation: in words, step by step.

The package is not called `explain`, because a module of that name would take the place of the
callable `fp.explain` when it is imported.
"""

from fpemu.explaining.explainer import Explainer

explain = Explainer()

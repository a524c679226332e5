"""Scale factors that move values into a format's range: per tensor here; more will follow."""

from fpemu.scaling.per_tensor import power_of_two as power_of_two

RULES = {"none": None, "per_tensor": power_of_two}

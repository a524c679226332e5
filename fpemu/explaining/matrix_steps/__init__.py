"""Steps of matrix units told, and chains of them: what is aligned to what, which bits are cut off, why the
result is not an FP32 loop's; with a picture of the window.

`sums` says what a step consists of, `nvidia` and `amd` make it, `reasons` finds what the result owes to
which rule, `telling` and `window` show it, `chains` follows long sums on several chips.
"""

"""Reverse-mode differentiation in which every rounding has a place.

`tensor.py` is the graph, `operations.py` the table of operations with forward beside backward,
`site.py` says how an operation rounds where it stands, `check.py` compares gradients with
numeric ones.
"""

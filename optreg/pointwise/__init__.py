"""Pointwise: an elementwise optimizer's update rule, written once, run on every path near the memory's limit.

trace      the rule -> a program: tensor operations, and the numbers in them apart
straight   a program -> Python code that runs torch's operations in given scratch
blocks     tensors in pieces that stay in the cache; low precision widened and rounded
lists      a program on many tensors at once, for accelerators
compiled   a program as one compiled kernel
packs      many small tensors as one
rounding   stochastic rounding
optimizer  the torch optimizer around it
"""

from optreg.pointwise.optimizer import Pointwise

__all__ = ["Pointwise"]

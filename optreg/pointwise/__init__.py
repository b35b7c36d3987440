"""Pointwise: an elementwise optimizer's update rule, written once, run on every path near the memory's limit.

slots        what stands where among the tensors of an update
operations   the functions that a rule may use, one row each
trace        the rule -> a program: operations, and the numbers in them apart
rule         what an optimizer states, and the state that it keeps
straight     a program -> Python code that runs torch's operations in given scratch
blocks       tensors in pieces that stay in the cache; low precision widened and rounded
lists        a program on many tensors at once, for accelerators
compiled     a program as one compiled kernel
packs        many small tensors as one
rounding     stochastic rounding
paths        the ways to run a rule, in the order in which they are tried
step         a step: what is updated, counted, and by which path
checkpoints  saving, copying, restoring
optimizer    the class: its declaration and its constructor
"""

from optreg.pointwise.optimizer import Pointwise

__all__ = ["Pointwise"]

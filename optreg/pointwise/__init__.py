"""Pointwise: runs an elementwise update rule, written once, on every path near the limit of memory bandwidth.

slots        the order of the tensors of an update
operations   the functions that a rule may use, one row each
trace        turns a rule into a program: operations, and separately their numbers
rule         the rule as its class declares it, and the state of each parameter
straight     turns a program into Python code that runs torch's operations in given scratch
blocks       processes tensors in pieces that stay in the cache; widens and rounds low precision
lists        runs a program on many tensors at once, for accelerators
compiled     runs a program as one compiled kernel
packs        updates many small tensors as one vector
rounding     stochastic rounding
paths        the ways to run a rule, in the order in which they are tried
step         one step: batches parameters, counts updates, and hands batches to paths
checkpoints  saving, copying and restoring
optimizer    the base class `Pointwise`
"""

from optreg.pointwise.optimizer import Pointwise

__all__ = ["Pointwise"]

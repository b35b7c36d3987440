"""Operations: every row of the table gives on every path what torch gives; and a new row is all a new operation needs."""

import itertools

import pytest
import torch
from executors import DEVICE, Rate, by_blocks, by_kernel, by_lists
from torch.nn import Parameter

from optreg import Pointwise
from optreg.pointwise.operations import FUNCTIONS, NAMES, Function
from optreg.pointwise.trace import Number, Operation, Program, Value, trace

OURS = {"axpy": lambda x, y, a: x + a * y, "mean": lambda x, y, a, b: a * x + b * y}
NUMBERS = {"value": 0.5, "a": 0.25, "b": 0.75}
"""Operands that are numbers on every path."""

VALUES = torch.tensor([0.25, 0.5, 0.75, 1.0, 1.5, 0.0, -0.0, -0.5, torch.inf, -torch.inf, torch.nan]).double()
GIVEN = [VALUES.flip(0).to(DEVICE), VALUES.to(DEVICE), VALUES.roll(3).to(DEVICE), VALUES.roll(5).to(DEVICE)]


def torchs(function, values):
    """The result as torch has it, the operands given by the names that the row states."""
    if function.summary:
        return OURS[function.name](*values)
    return getattr(torch, function.name)(**dict(zip(function.operands, values, strict=True)))


def written(function, is_number, inputs):
    """The operations, and the numbers in them, that call a function on the first inputs; a truth value chooses of two."""
    operations, numbers, args = [], [], []
    for slot, (role, number) in enumerate(zip(function.operands, is_number, strict=True)):
        if number:
            numbers.append(NUMBERS.get(role, 0.5))
            args.append(Number(len(numbers) - 1))
        elif role in function.truths:
            operations.append(Operation("gt", (Value(slot), Value(slot + 1))))
            args.append(Value(inputs + len(operations) - 1))
        else:
            args.append(Value(slot))
    operations.append(Operation(function.name, tuple(args)))
    if function.is_truth:
        operations.append(Operation("where", (Value(inputs + len(operations) - 1), Value(0), Value(1))))
    return operations, numbers


def by_torch(operations, numbers, tensors):
    """The tensors, and what torch gives for each operation."""
    values = list(tensors)
    for operation in operations:
        args = [(values if isinstance(arg, Value) else numbers)[arg.index] for arg in operation.args]
        values.append(torchs(operation.function, args))
    return values


def ways(function):
    """Which operands are numbers: in all ways that leave a tensor."""
    choices = [
        (True,) if role in NUMBERS else (False,) if role in function.truths else (False, True)
        for role in function.operands
    ]
    ways = [way for way in itertools.product(*choices) if not all(way)]
    return ways[:1] if function.summary else ways


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_row_gives_what_torch_gives_in_blocks_and_lists(name):
    function = FUNCTIONS[name]
    for is_number in ways(function):
        steps, numbers = written(function, is_number, len(GIVEN))
        try:
            want = by_torch(steps, numbers, GIVEN)[-1]
        except (TypeError, RuntimeError):  # no function of torch takes a number there
            assert any(is_number)
            continue
        program = Program(len(GIVEN), tuple(steps), (Value(len(GIVEN) + len(steps) - 1), Value(2), Value(3)))
        for run in (by_blocks, by_lists):
            have = run(program, numbers, GIVEN)[0]
            if function.summary:  # of infinities torch's lerp makes NaN
                left, right = (torch.where(have.isfinite(), result, 0.0) for result in (have, want))
                torch.testing.assert_close(left, right, rtol=1e-15, atol=0.0)
                continue
            left, right = have.nan_to_num(nan=77.0), want.nan_to_num(nan=77.0)
            assert torch.equal(left, right), (run.__name__, is_number)
            assert torch.equal(left.signbit(), right.signbit()), (run.__name__, is_number)


def test_every_row_gives_what_torch_gives_in_a_compiled_kernel():
    """In one kernel that has a state for each row, of positive numbers; where torch's arithmetic is its own, within 1e-12."""
    random = torch.Generator().manual_seed(0)
    inputs = 2 + len(FUNCTIONS)
    tensors = [(torch.rand(5, generator=random).double() * 0.9 + 0.05).to(DEVICE) for _ in range(inputs)]
    steps, numbers, results = [], [], []
    for function in FUNCTIONS.values():
        is_number = [role in NUMBERS for role in function.operands]
        some, given = written(function, is_number, inputs + len(steps))
        shifted = {Number(index): Number(len(numbers) + index) for index in range(len(given))}
        steps += [Operation(step.name, tuple(shifted.get(arg, arg) for arg in step.args)) for step in some]
        numbers += given
        results.append(Value(inputs + len(steps) - 1))
    param, _, *states = by_kernel(Program(inputs, tuple(steps), (Value(0), *results)), numbers, tensors)
    assert torch.equal(param, tensors[0])
    want = [by_torch(steps, numbers, tensors)[result.index] for result in results]
    for name, have, expected in zip(FUNCTIONS, states, want, strict=True):
        torch.testing.assert_close(
            have, expected, rtol=1e-12, atol=1e-15, equal_nan=True, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_traced_to_its_row(name):
    row = FUNCTIONS[NAMES[name]]
    function = torch.special.expit if name == "special_expit" else getattr(torch, name)

    def rule(p, g, m, *, lr):
        roles = [role for role in row.operands if role not in NUMBERS]
        result = function(*(x > 0.5 if role in row.truths else x for role, x in zip(roles, (p, g, m), strict=False)))
        return torch.where(result, p, g) if row.is_truth else result, m

    program, numbers = trace(rule, 1, {"lr": 0.0})
    assert row.name in [operation.name for operation in program.operations]
    want = rule(*GIVEN[:3], lr=0.0)[0]
    torch.testing.assert_close(by_blocks(program, numbers, GIVEN[:3])[0], want, rtol=0.0, atol=0.0, equal_nan=True)


class Ringing(Pointwise):
    """Uses a function that is not in the table."""

    reference = Rate
    state_names = ("m",)

    @staticmethod
    def update(p, g, m, *, lr):
        m = torch.sinc(g) + m
        return p - lr * m, m


def test_a_new_operation_is_one_row(monkeypatch):
    row = Function("sinc", ("input",))
    monkeypatch.setitem(FUNCTIONS, row.name, row)
    monkeypatch.setitem(NAMES, row.name, row.name)
    ends = {}
    for execution in ("loop", "foreach", "compiled"):
        param = Parameter(GIVEN[1][:8].clone())
        optimizer = Ringing([param], lr=0.25, execution=execution)
        for _ in range(3):
            param.grad = GIVEN[0][3:].clone()
            optimizer.step()
        ends[execution] = param.detach()
    program, numbers = trace(Ringing.update, 1, {"lr": 0.25})
    tensors = [GIVEN[1][:8].clone(), GIVEN[0][3:].clone(), torch.zeros(8, dtype=torch.float64, device=DEVICE)]
    for _ in range(3):
        tensors = by_lists(program, numbers, tensors)
    for end in (ends["foreach"], ends["compiled"], tensors[0]):
        torch.testing.assert_close(end, ends["loop"], rtol=1e-13, atol=1e-13, equal_nan=True)

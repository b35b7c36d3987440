"""Paths: the first that fits is taken; and another way to run a rule is one class in the table."""

import pytest
import torch
from torch.nn import Parameter

from optreg.pointwise import paths
from optreg.pointwise.packs import SMALL, Members
from optreg.pointwise.paths import Blocks, Compiled, Fused, FusedBlocks, Lists, Loop, Path, Whole, Work, path_for
from optreg.pointwise.rule import Rule
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

PLAIN = {"execution": "auto", "stochastic_rounding": False, "state_dtype": None}
ROUNDED = {**PLAIN, "stochastic_rounding": True}
PACK = Members([0], [8])


def rule_of(cls):
    return cls([torch.zeros(1)])._stepper.rule


def work(cls, *, dtype=torch.float32, state=None, device="cpu", elements=8, place=0, **options):
    shape = (elements,)
    tensors = [torch.empty(shape, dtype=dtype, device=device) for _ in range(2)]
    tensors += [torch.empty(shape, dtype=state or dtype, device=device) for _ in cls.state_names]
    return Work(tuple(tensors), place, None, **options)


@pytest.mark.parametrize(
    ("cls", "group", "tensors", "path"),
    [
        (Lion, {}, {}, Blocks),
        (Lion, {"execution": "foreach"}, {"device": "meta"}, Lists),
        (Lion, ROUNDED, {"device": "meta"}, Blocks),
        (Lion, {"execution": "loop"}, {}, Loop),
        (Lion, {"execution": "loop"}, {"is_plain": False}, Whole),
        (AdamW, {}, {}, Fused),
        (AdamW, {"execution": "fused"}, {}, Fused),
        (AdamW, {"execution": "foreach"}, {}, Blocks),
        (AdamW, {}, {"dtype": torch.bfloat16}, Fused),
        (AdamW, ROUNDED, {}, Fused),
        (AdamW, ROUNDED, {"dtype": torch.bfloat16}, FusedBlocks),
        (AdamW, {}, {"state": torch.bfloat16}, FusedBlocks),
        (AdamW, {}, {"device": "meta"}, Lists),
        (AdamW, ROUNDED, {"device": "meta", "dtype": torch.bfloat16}, Blocks),
        (AdamW, {"execution": "compiled"}, {}, Compiled),
        (AdamW, {"execution": "compiled"}, {"elements": 1}, Blocks),
        (Lion, {"execution": "compiled"}, {"place": PACK}, Compiled),
        (Lion, {**ROUNDED, "execution": "compiled"}, {"place": PACK, "dtype": torch.bfloat16}, Blocks),
        (Lion, {**ROUNDED, "execution": "compiled"}, {"elements": 2**31 - 1, "device": "meta"}, Compiled),
        (Lion, {**ROUNDED, "execution": "compiled"}, {"elements": 2**31, "device": "meta"}, Blocks),
    ],
    ids=str,
)
def test_the_first_path_that_fits_is_taken(cls, group, tensors, path):
    assert type(path_for(work(cls, **tensors), rule_of(cls), {**PLAIN, **group})) is path


def test_tensors_that_lie_differently_are_not_given_to_kernels():
    param, grad, *state = work(AdamW, elements=16).tensors
    strided = Work((param.view(4, 4).t(), grad.view(4, 4), *(x.view(4, 4) for x in state)), 0, None)
    for execution in ("auto", "fused", "compiled"):
        assert type(path_for(strided, rule_of(AdamW), {**PLAIN, "execution": execution})) is Blocks


def test_another_way_to_run_a_rule_is_one_class_and_its_place_in_the_table(monkeypatch):
    class Twice(Path):
        """Steps twice, on tensors of one size."""

        def fits(self, work: Work, rule: Rule, group):
            return work.tensors[0].numel() == SMALL + 3

        def run(self, update, batch):
            for each in batch:
                update.as_written()(*each.tensors)
                update.as_written()(*each.tensors)

    monkeypatch.setattr(paths, "PATHS", (Twice(), *paths.PATHS))
    params = [Parameter(torch.ones(size)) for size in (SMALL + 3, 4)]
    optimizer = Lion(params, lr=0.25)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert [param[0].item() for param in params] == [0.5, 0.75]

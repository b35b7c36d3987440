"""Torch's internals: nothing else touches them, and where they are missing or do something else, results stay the same."""

import ast
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from executors import in_a_process

import optreg
from optreg import torch_internals

pytestmark = pytest.mark.no_cover

SOURCES = Path(optreg.__file__).parent
PLUGINS = SOURCES.parent / "plugins"


def internals_in(source):
    """What a module takes from torch, or names, by a name that begins with an underscore."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names = ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            names = f"{node.module}." + ",".join(alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            names = ",".join(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names = node.value
        else:
            continue
        if (names.startswith("torch.") and "._" in names) or names.startswith(("_foreach_", "_fused_")):
            found.append(names)
    return found


def test_one_module_alone_touches_torchs_internals():
    modules = [path for folder in (SOURCES, PLUGINS) for path in folder.rglob("*.py")]
    found = {path.name: names for path in modules if (names := internals_in(path.read_text(encoding="utf-8")))}
    assert set(found) == {"torch_internals.py"}, found


def test_internals_are_found_however_they_are_written():
    for source in (
        "torch._foreach_add_(a, 1)", "from torch._dynamo import mark_static", "import torch._inductor.config",
        "getattr(torch, '_fused_adam_')", "import_module('torch._dynamo')", "from torch import _foreach_add",
    ):  # fmt: skip
        assert internals_in(source), source
    assert not internals_in("torch.add(a, b); self._foreach; 'torch._foreach_add_ is not used'")


@pytest.fixture(autouse=True)
def looked_at_anew():
    """What has been found out of torch is forgotten, before and after."""

    def forget():
        for function in (torch_internals._in_place, torch_internals.multi_tensor, torch_internals.fused_kernel):
            function.cache_clear()

    forget()
    yield
    forget()


RUN = """
import sys, torch
import optreg.torch_internals
from executors import parameters, ran, tensors_of
from optreg.pointwise import lists
from optreg.pointwise.trace import trace
from optreg_plugins.adam.optimizer import Adam
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

Lion([torch.nn.Parameter(torch.ones(1))])
assert "torch._dynamo" not in sys.modules  # a second's work
if sys.argv[1] == "without":
    import torch._dynamo
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    del torch._dynamo.mark_static
    Optimizer.add_param_group = Optimizer.add_param_group.__wrapped__
    if hasattr(LRScheduler, "_update_lr"):
        del LRScheduler._update_lr

random = torch.Generator().manual_seed(0)
shapes = [(3,), (4, 5), (), (7,), (2, 2), (9,), (5,), (64,), (1,), (20_000,)]
ends = {}

def run(name, cls, **options):
    optimizer = cls(parameters(shapes, torch.float32), lr=0.01, **options)
    schedule = optreg.ScheduleLR(optimizer, lambda t: 1 / (1 + t))
    for t in range(4):
        ran(optimizer, [t])
        schedule.step()
    ends[name] = (tensors_of(optimizer), schedule.state_dict())

run("Lion compiled", Lion, execution="compiled")
if sys.argv[1] == "without":
    for name in [name for name in dir(torch) if name.startswith(("_foreach_", "_fused_"))]:
        delattr(torch, name)  # which the compiler itself needs
    optreg.torch_internals._in_place.cache_clear()
for cls in (Lion, Adam, AdamW):
    run(f"{cls.__name__} in blocks", cls, execution="foreach")
    run(f"{cls.__name__} by a kernel", cls, execution="auto")
run("AdamW in bfloat16 by a kernel", AdamW, execution="auto", state_dtype="float32")
program, numbers = trace(AdamW.update, 2, {"t": 3, "lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1})
several = [[torch.rand(shape, generator=random) + 0.5 for shape in shapes] for _ in range(4)]
lists.run(program, numbers, several, torch.float32)
ends["AdamW in lists"] = several
torch.save(ends, sys.argv[2])
"""


def ends(tmp_path, how):
    file = tmp_path / how
    in_a_process(RUN, how, str(file), OMP_NUM_THREADS="1")
    return torch.load(file, weights_only=True)


def test_without_torchs_internals_the_results_are_the_same(tmp_path):
    """Bit by bit; but a fused kernel rounds otherwise than blocks do."""
    with ThreadPoolExecutor() as pool:  # in two processes
        found, wanted = pool.map(partial(ends, tmp_path), ("without", "with"))
    for name in wanted:
        exact = "by a kernel" not in name or "Lion" in name
        rounding = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(found[name], wanted[name], **rounding, msg=lambda text, name=name: f"{name}: {text}")


def test_a_multi_tensor_function_that_does_something_else_is_not_used(monkeypatch):
    monkeypatch.setattr(torch, "_foreach_sign", lambda tensors: [tensor.sign() + 1 for tensor in tensors])
    monkeypatch.setattr(torch, "_foreach_copy_", lambda targets, sources: None)
    monkeypatch.setattr(torch, "_foreach_add_", lambda targets, number: [target.add_(2) for target in targets])
    given, target = [torch.tensor([-3.0, 0.0])], [torch.zeros(2)]
    assert torch.equal(torch_internals.multi_tensor("sign", "tensors")(given)[0], torch.tensor([-1.0, 0.0]))
    torch_internals.copy_each(target, given)
    torch_internals.count_each(target)
    assert torch.equal(target[0], torch.tensor([-2.0, 1.0]))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_fused_kernel_that_does_something_else_is_not_used(name, monkeypatch):
    assert torch_internals.fused_kernel(name, "cpu") is getattr(torch, f"_fused_{name}_")
    assert torch_internals.fused_kernel(name, "meta") is None, "there is nothing to be looked at"
    torch_internals.fused_kernel.cache_clear()
    other = getattr(torch, {"adam": "_fused_adamw_", "adamw": "_fused_adam_"}[name])
    monkeypatch.setattr(torch, f"_fused_{name}_", other)
    assert torch_internals.fused_kernel(name, "cpu") is None


def test_options_that_the_compiler_does_not_know_are_left_out(monkeypatch):
    cpu = torch.device("cpu")
    assert {"cpp.dynamic_threads": True} in torch_internals.compiler_options(cpu)
    for config in (SimpleNamespace(), SimpleNamespace(cpp=SimpleNamespace())):
        monkeypatch.setitem(sys.modules, "torch._inductor.config", config)
        assert torch_internals.compiler_options(cpu) == [{}]


def test_a_scheduler_is_stepped_by_whatever_way_torch_takes():
    class Recorded(torch_internals.DirectScheduler):
        def move_to(self, epoch):
            self.last_epoch = epoch
            moves.append(epoch)

    moves = []
    scheduler = Recorded(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))
    scheduler.step()
    scheduler.step(7)
    scheduler._update_lr()
    scheduler._update_lr(3)
    assert moves == [0, 1, 7, 8, 3]
    del scheduler._step_count
    scheduler.step()
    assert moves[-1] == 4

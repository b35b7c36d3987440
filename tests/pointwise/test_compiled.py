"""Compiled: one kernel for a rule, whatever the sizes and numbers; what is said where nothing can be compiled."""

import pytest
import torch
import torch._dynamo
import torch._inductor.config
from executors import by_blocks, by_kernel, drawn, in_a_process, ones, stepped
from torch._dynamo.utils import counters
from torch._inductor.utils import run_and_get_code

from optreg.pointwise import compiled
from optreg.pointwise.rounding import TILE, TensorRounding
from optreg.pointwise.trace import trace
from optreg_plugins.adamw.optimizer import AdamW
from optreg_plugins.lion.optimizer import Lion

pytestmark = pytest.mark.cpu

LION = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1}
ADAMW = {**LION, "eps": 1e-3}


@pytest.fixture
def compilations():
    """How many kernels have been compiled; one that is compiled anew for other tensors raises."""
    compiled._kernel.cache_clear()
    before = counters["stats"]["unique_graphs"]
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield lambda: counters["stats"]["unique_graphs"] - before
    compiled._kernel.cache_clear()


# One kernel


def test_a_kernel_that_is_first_run_on_a_short_vector_uses_all_threads_on_long_ones(compilations):
    program, numbers = trace(Lion.update, 1, LION)
    short = [torch.ones(2) for _ in range(3)]
    with torch._inductor.config.patch(force_disable_caches=True):
        _, (code,) = run_and_get_code(compiled.run, program, numbers, [(short, None)], torch.float32)
    assert "#pragma omp parallel\n" in code, "one thread, or a fixed number of them"


@pytest.mark.parametrize(
    "shapes",
    [
        [(50,), (2,), (3,), (1000,), (6,), (7,)],  # Lion has six numbers
        [(6,), (50,), (7,)],
        [(50,), (5, 10), (2, 3, 4), (2, 1), (1, 2)],
    ],
    ids=["sizes", "as_many_elements_as_numbers", "ranks"],
)
def test_one_kernel_serves_all_shapes_and_all_numbers(shapes, compilations):
    optimizer = Lion([ones(*shape, dtype=torch.float32) for shape in shapes], execution="compiled")
    for lr, betas, decay in [(0.1, (0.9, 0.99), 0.0), (0.01, (0.0, 0.5), 0.1), (0.0, (0.1, 0.2), 0.3)]:
        optimizer.param_groups[0].update(lr=lr, betas=betas, weight_decay=decay)
        stepped(optimizer, 1.0)
    assert compilations() == 1


def test_one_kernel_serves_all_updates_of_a_rule_that_counts_them(compilations):
    stepped(AdamW([ones(9, dtype=torch.float32), ones(30)], execution="compiled"), *[1.0] * 5)
    assert compilations() == 2, "one for each dtype"


def test_one_kernel_serves_frozen_parameters_other_memory_and_gradients_with_a_history(compilations):
    memory = torch.ones(41)
    params = [ones(20, dtype=torch.float32) for _ in range(4)]
    params[1].requires_grad_(False)
    params[2].data = memory[1:21]
    optimizer = stepped(Lion(params, execution="compiled"), 1.0)
    params[2].grad = memory[21:]
    params[3].grad = torch.ones(20, requires_grad=True) * 2
    optimizer.step()
    assert compilations() == 1


def test_other_numbers_of_threads_never_wear_a_kernel_out():
    """torch compiles anew for each, and refuses after a few times; threads are but one of the things it looks at."""
    optimizer = Lion([ones(20, dtype=torch.float32)], execution="compiled")
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"  # before 2.7
    with torch._dynamo.config.patch({limit: 1}):
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            stepped(optimizer, 1.0)


# The same results


def test_a_kernel_rounds_with_the_same_noise_as_blocks():
    """In every tile; but a few elements differ, where float32 arithmetic does: of 1e5, whose noise has 2^16 values,
    about one."""
    random = torch.Generator().manual_seed(0)
    tensors = [drawn((2 * TILE + 1000,), random, torch.bfloat16) for _ in range(3)]
    rounding = TensorRounding(12345, frozenset({0, 2}))
    left, right = (run(*trace(Lion.update, 1, LION), tensors, rounding) for run in (by_kernel, by_blocks))
    for have, want, before in zip(left, right, tensors, strict=True):
        assert (have != want).sum() <= 20
        if before is not tensors[1]:
            assert (have != before).float().mean() > 0.1


# Where nothing can be compiled


WITHOUT_A_COMPILER = """
import sys, torch
from executors import ones, stepped
from optreg_plugins.adamw.optimizer import AdamW

params = [ones(3, 4, dtype=torch.float32) for _ in range(10)] + [ones(20_000, dtype=torch.float32)]
for options in ({}, {"stochastic_rounding": True}, {"state_dtype": "bfloat16"}, {"execution": "foreach"}):
    stepped(AdamW(params, lr=0.5, **options), 1.0, 1.0, 1.0)
print("torch._inductor.compile_fx" in sys.modules)
before = [param.detach().clone() for param in params]
optimizer = AdamW(params, lr=0.5, execution="compiled")
try:
    stepped(optimizer, 1.0)
except RuntimeError as error:
    print(type(error) is RuntimeError, error)
print(all(map(torch.equal, before, params)))
print(sorted({int(state["step"]) for state in optimizer.state.values() if "step" in state}))
optimizer.param_groups[0]["execution"] = "auto"
optimizer.step()
print({int(state["step"]) for state in optimizer.state.values()})
"""


def test_without_a_compiler_the_error_names_the_remedy_and_auto_still_works(tmp_path):
    lines = in_a_process(
        WITHOUT_A_COMPILER,
        PATH=str(tmp_path),
        CXX=str(tmp_path / "no-compiler"),
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"),
    ).splitlines()
    assert lines[0] == "False", "auto imports the compiler"  # of which torch.optim itself imports the settings
    assert lines[1].startswith("True execution 'compiled' cannot compile its kernel here: InvalidCxxCompiler: ")
    assert lines[1].endswith(
        "it needs a C++ compiler (g++, clang), on a GPU Triton: install it, or set execution to 'auto'"
    )
    assert lines[2] == "True", "a step that failed has changed parameters"
    assert lines[3] in {"[]", "[0]"}, "a step that failed was counted"
    assert lines[4] == "{1}"

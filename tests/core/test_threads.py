"""Forty threads at one registry: one object, one import, each build told once."""

import builtins
import itertools
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import optreg
from optreg import PluginError, Registry
from optreg.criteria import CRITERIA

THREADS = 40


@pytest.fixture(autouse=True)
def _impatient_threads():
    """Threads take turns a thousand times as often as usual."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(work, repeat=1):
    """What `work(number)` returned in each of the threads, all of which begin at once."""
    start = threading.Barrier(THREADS)

    def run(number):
        start.wait()
        return [work(number) for _ in range(repeat)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [result for results in pool.map(run, range(THREADS)) for result in results]


def test_the_default_registry_is_one_whoever_asks_first(site):
    assert len({id(found) for found in in_threads(lambda _: optreg.default_registry())}) == 1


def test_a_module_is_imported_once_by_any_number_of_threads(optimizer):
    optimizer(
        "counted", "import builtins\nbuiltins.optreg_count = getattr(builtins, 'optreg_count', 0) + 1\nlr: float = 0"
    )
    registry = Registry()
    assert len(set(in_threads(lambda _: registry.optimizer("counted")))) == 1
    assert builtins.__dict__.pop("optreg_count") == 1


def test_threads_that_load_good_and_broken_plugins_at_once_do_not_disturb_each_other(optimizer):
    for number in range(8):
        optimizer(f"p{number}", hook="optreg_optimisers" if number % 2 else "optreg_optimizers")
    registry = Registry()

    def load(number):
        try:
            return number % 8, registry.optimizer(f"p{number % 8}").plugin.name
        except PluginError as error:
            return number % 8, "misspelt" if "which is not a hook of optreg" in str(error) else str(error)

    assert set(in_threads(load, repeat=20)) == {
        (number, "misspelt" if number % 2 else f"p{number}") for number in range(8)
    }


def test_each_build_is_told_once(site):
    code = "import optreg\nseen = []\n\n@optreg.hookimpl\ndef optreg_built(optimizer):\n    seen.append(optimizer)\n"
    site.install("observer", code, group="optreg.hooks", names=["observer"])
    spec = {"optimizer": {"name": "lion"}, "groups": [{"match": "bias", "lr": 0.5}], "scheduler": {"name": "constant"}}
    built = in_threads(lambda _: optreg.build(spec, torch.nn.Linear(2, 2)).optimizer, repeat=5)
    import observer

    assert {id(optimizer) for optimizer in built} == {id(optimizer) for optimizer in observer.seen}
    assert len(observer.seen) == len(built) == 5 * THREADS


def test_checking_a_regular_expression_leaves_the_filters_of_warnings_as_they_are():
    before = list(warnings.filters)
    numbers = itertools.count()  # `re` would remember a pattern that it has seen
    check = CRITERIA["regex"].fault
    assert set(in_threads(lambda _: check(f"(a|b)*{next(numbers)}"), repeat=50)) == {None}
    assert warnings.filters == before

"""Plugins that misbehave: they exit, ask for themselves, wait for each other. Each is told; nobody else is harmed."""

import os
import signal
import subprocess
import sys
from textwrap import dedent

import pytest
import torch

import optreg
from optreg import PluginError, PluginWarning, Registry

SPEC = {"optimizer": {"name": "odd"}, "scheduler": {"name": "constant"}}
TRAINED = {"optimizer": {"name": "lion"}, "scheduler": {"name": "odd"}}

EXITS = ["import sys; sys.exit()", "raise SystemExit(0)", "raise GeneratorExit", "raise BaseException('the end')"]


def python(site, code):
    """What a process prints that runs the code with these distributions; one that is locked is killed."""
    command = [sys.executable, "-W", "error", "-c", dedent(code)]
    environ = {**os.environ, "PYTHONPATH": str(site.folder)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("leave", EXITS)
class TestExits:
    """Whatever a plugin raises is told with its distribution; only an error that derives from Exception was."""

    def test_in_a_module(self, site, leave):
        site.install("odd-dist", leave, names=["odd"])
        with pytest.raises(PluginError, match=r"'odd' is broken: distribution 'odd-dist' 1\.0") as told:
            optreg.load_spec(SPEC)
        assert type(told.value.__cause__).__name__ in str(told.value)

    def test_in_a_hook(self, site, leave):
        code = f"import optreg\n@optreg.hookimpl\ndef optreg_optimizers():\n    {leave}\n"
        site.install("odd-dist", code, names=["odd"])
        with pytest.raises(PluginError, match=r"distribution 'odd-dist' 1\.0.*hook 'optreg_optimizers' failed: \w+"):
            optreg.load_spec(SPEC)

    def test_in_post_init(self, optimizer, leave):
        optimizer(fields=f"lr: float = 0.1\ndef __post_init__(self):\n    {leave}")
        with pytest.raises(
            PluginError,
            match=r"'odd-optimizer' 1\.0.*: 'odd_optimizer:Reference' cannot be created from values .*: \w+",
        ):
            optreg.load_spec(SPEC)

    def test_in_a_default(self, optimizer, leave):
        optimizer(fields=f"def leave():\n    {leave}\nlr: float = field(default_factory=leave)")
        with pytest.raises(
            PluginError, match=r"'odd-optimizer' 1\.0.*: cannot use the fields of 'odd_optimizer:Reference': \w+"
        ):
            optreg.load_spec(SPEC)

    def test_in_a_validator(self, optimizer, leave):
        fields = (
            "from typing import Annotated\nfrom pydantic import AfterValidator\n"
            f"def check(value):\n    {leave}\nlr: Annotated[float, AfterValidator(check)] = 0.1"
        )
        optimizer(fields=fields)
        with pytest.raises(
            PluginError, match=r"'odd-optimizer' 1\.0.*: the fields of 'odd_optimizer:Reference' cannot be checked: \w+"
        ):
            optreg.load_spec({**SPEC, "optimizer": {"name": "odd", "lr": 0.2}})

    def test_in_an_implementation(self, optimizer, site, leave):
        (site.folder / "odd_class.py").write_text(leave)
        optimizer(implementation="odd_class:Odd")
        with pytest.raises(
            PluginError, match=r"names its implementation 'odd_class:Odd', which cannot be imported: \w+"
        ):
            optreg.build(SPEC, torch.nn.Linear(1, 1))

    def test_in_an_observer(self, site, leave):
        code = f"import optreg\n@optreg.hookimpl\ndef optreg_built(spec):\n    {leave}\n"
        site.install("watcher", code, group="optreg.hooks", names=["watcher"])
        with pytest.warns(PluginWarning, match=r"observer 'watcher:watcher' failed: \w+"):
            run = optreg.build({**SPEC, "optimizer": {"name": "lion"}}, torch.nn.Linear(1, 1))
        assert run.optimizer.param_groups

    def test_in_an_observers_module(self, site, leave):
        site.install("watcher", leave, group="optreg.hooks", names=["watcher"])
        with pytest.warns(PluginWarning, match=r"hook 'watcher' is broken: distribution 'watcher' 1\.0.*: \w+"):
            optreg.build({**SPEC, "optimizer": {"name": "lion"}}, torch.nn.Linear(1, 1))

    def test_in_a_schedule_during_training(self, schedule, leave):
        schedule(body=f"if step == 2: {leave}\n        return 1 / (3 - step)")
        optimizer, scheduler = optreg.build(TRAINED, torch.nn.Linear(1, 1))
        optimizer.step()
        scheduler.step()
        with pytest.raises(PluginError, match=r"the schedule odd_schedule\.Implementation has no value at step 2: \w+"):
            scheduler.step()
        with pytest.raises(ZeroDivisionError):  # its own errors stay as they are
            scheduler.step(3)

    def test_in_a_schedule_that_is_loaded(self, schedule, leave):
        schedule(fields=f"total_steps: PositiveSteps = 9\ndef replaced(self, **settings):\n    {leave}")
        run = optreg.build(TRAINED, torch.nn.Linear(1, 1), on_resume={"schedule": "checkpoint"})
        saved = run.scheduler.state_dict()
        with pytest.raises(PluginError, match=r"the schedule's state cannot be loaded: \w+"):
            run.scheduler.load_state_dict({**saved, "schedule": {**saved["schedule"], "total_steps": 5}})

    @pytest.mark.parametrize(
        ("method", "told"),
        [
            ("get_lr", r"odd_class\.Odd has no rate at step 2: \w+"),
            ("step", r"step of Odd fails: \w+"),
            ("state_dict", r"state_dict of Odd fails: \w+"),
            ("load_state_dict", r"the scheduler's state cannot be loaded: \w+"),
        ],
    )
    def test_in_an_lr_scheduler_during_training(self, schedule, site, method, told, leave):
        site.install("odd-class", f"""
            from torch.optim.lr_scheduler import LambdaLR

            class Odd(LambdaLR):
                def __init__(self, optimizer, total_steps):
                    super().__init__(optimizer, lambda t: 1.0)

                def {method}(self, *args):
                    if self.last_epoch > 1: {leave}
                    return super().{method}(*args)
        """)  # fmt: skip
        schedule(implementation="odd_class:Odd")
        optimizer, scheduler = optreg.build(TRAINED, torch.nn.Linear(1, 1))
        optimizer.step()
        scheduler.step()
        with pytest.raises(PluginError, match=told):
            scheduler.step(), scheduler.step(), scheduler.state_dict(), scheduler.load_state_dict({})


@pytest.mark.parametrize("place", ["module", "hook"])
def test_the_users_own_interrupt_passes(site, place):
    hook = "import optreg\n@optreg.hookimpl\ndef optreg_optimizers():\n    "
    site.install("odd-dist", ("" if place == "module" else hook) + "raise KeyboardInterrupt", names=["odd"])
    with pytest.raises(KeyboardInterrupt):
        Registry().optimizer("odd")


def test_the_users_own_interrupt_passes_in_training_too():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    scheduler = optreg.ScheduleLR(optimizer, lambda t: 1.0 if t < 1 else signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        scheduler.step()


def test_an_error_that_cannot_say_what_it_is_is_told(site):
    code = "class Mute(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Mute"
    site.install("odd-dist", code, names=["odd"])
    with pytest.raises(PluginError, match="cannot be imported: Mute: its message cannot be read"):
        Registry().optimizer("odd")


def test_a_module_that_asks_for_itself_while_it_is_imported_is_told_and_works_afterwards(site):
    code = (
        "import optreg\ntry:\n    optreg.default_registry().optimizer('odd')\n"
        "except optreg.PluginError as error:\n    told = str(error)\n"
    )
    site.offer("odd-dist", "odd", before=code)
    assert optreg.default_registry().optimizer("odd").plugin.name == "odd"
    import odd_dist

    assert (
        "optimizer 'odd' cannot be used yet: distribution 'odd-dist' 1.0, module 'odd_dist' is still" in odd_dist.told
    )


def test_a_module_that_builds_itself_while_a_user_imports_it_is_told(site):
    site.offer("odd-dist", "odd", before=f"import optreg\noptreg.load_spec({SPEC})")
    with pytest.raises(PluginError, match="is still being imported, and its import has led here"):
        import odd_dist  # noqa: F401


def test_an_import_that_asks_the_registry_does_not_lock_a_thread_that_builds(elsewhere):
    """One thread imports the plugin, whose import asks the registry; the other builds with the plugin meanwhile."""
    code = """\
        import builtins, optreg, time
        builtins.importing.set()
        time.sleep(0.5)  # until the other thread waits for this module
        optreg.default_registry().optimizer("lion")
    """
    elsewhere.offer("odd-dist", "odd", before=dedent(code))
    told = python(
        elsewhere,
        f"""\
        import builtins, importlib, optreg, threading
        optreg.load_spec({{"optimizer": {{"name": "adamw"}}}})
        builtins.importing = threading.Event()
        threading.Thread(target=importlib.import_module, args=["odd_dist"]).start()
        builtins.importing.wait()
        print(optreg.load_spec({SPEC}).optimizer.name)
        """,
    )
    assert told == "odd\n"


def test_modules_that_wait_for_each_other_in_two_threads_are_told(elsewhere):
    for name, other in (("one", "two"), ("two", "one")):
        code = f"import builtins, optreg\nbuiltins.{name}.set()\nbuiltins.{other}.wait()\n"
        elsewhere.offer(name, name, before=code + f"optreg.default_registry().optimizer('{other}')")
    told = python(
        elsewhere,
        """\
        import builtins, optreg, threading
        from concurrent.futures import ThreadPoolExecutor
        registry = optreg.default_registry()
        builtins.one, builtins.two = threading.Event(), threading.Event()
        def load(name):
            try:
                return registry.optimizer(name).plugin.name
            except optreg.PluginError as error:
                return str(error)
        with ThreadPoolExecutor(2) as pool:
            print(*pool.map(load, ["one", "two"]), sep="\\n")
        """,
    )
    lines = told.splitlines()
    assert len(lines) == 2
    assert all("is still being imported" in line for line in lines)


def test_a_module_that_imports_when_it_is_asked_for_its_names_does_not_lock_either(site):
    code = (
        "waited = []\ndef __dir__():\n    import threading, optreg\n"
        "    asking = threading.Thread(target=optreg.default_registry().optimizer, args=['lion'])\n"
        "    asking.start()\n    asking.join(10)\n    waited.append(asking.is_alive())\n    return [*globals()]\n"
    )
    site.offer("odd-dist", "odd", after=code)
    assert optreg.default_registry().optimizer("odd").plugin.name == "odd"
    import odd_dist

    assert odd_dist.waited
    assert not any(odd_dist.waited)


def test_a_module_whose_names_cannot_be_read_is_told(site):
    site.offer("odd-dist", "odd", after="def __dir__():\n    raise SystemExit('no names')")
    with pytest.raises(
        PluginError, match=r"distribution 'odd-dist' 1\.0.*its hooks cannot be read: SystemExit: no names"
    ):
        Registry().optimizer("odd")


def test_a_module_that_is_imported_again_replaces_itself(site):
    module = site.offer("odd-dist", "odd")
    registry = Registry()
    first = registry.optimizer("odd").plugin.reference
    del sys.modules[module]
    assert registry.optimizer("odd").plugin.reference is not first


def test_an_observer_that_is_imported_again_is_told_once(site):
    code = "import optreg\nseen = []\n@optreg.hookimpl\ndef optreg_built(spec):\n    seen.append(spec)\n"
    module = site.install("watcher", code, group="optreg.hooks", names=["watcher"])
    registry, spec = Registry(), {**SPEC, "optimizer": {"name": "lion"}}
    optreg.build(spec, torch.nn.Linear(1, 1), registry=registry)
    first = sys.modules.pop(module)
    optreg.build(spec, torch.nn.Linear(1, 1), registry=registry)
    assert (len(first.seen), len(sys.modules[module].seen)) == (1, 1)


def test_a_module_may_have_two_observers_of_which_one_fails(site):
    code = (
        "import optreg\nseen = []\n"
        "@optreg.hookimpl(specname='optreg_built')\ndef log(spec):\n    seen.append(spec)\n"
        "@optreg.hookimpl(specname='optreg_built')\ndef fail(spec):\n    raise SystemExit\n"
    )
    module = site.install("watcher", code, group="optreg.hooks", names=["watcher"])
    with pytest.warns(PluginWarning, match="observer 'watcher:watcher.*' failed: SystemExit"):
        optreg.build({**SPEC, "optimizer": {"name": "lion"}}, torch.nn.Linear(1, 1))
    assert len(sys.modules[module].seen) == 1

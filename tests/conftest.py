"""Real distributions for tests, written into a folder as an installer would leave them, and commands on a terminal."""

import contextlib
import gc
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent, indent

import pytest

from optreg import registry

# torch reads this when it is imported. Without it, threads that wait for work slow down the other test processes.
os.environ["OMP_WAIT_POLICY"] = "passive"

# nohup, and shells in the background, ignore these. Processes that tests start would ignore them too.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(number, usual)


def pytest_collection_modifyitems(items):
    """Begin with the dearest tests, which are those without coverage, so that no worker is left with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("no_cover") is None)


def pytest_collection_finish():
    """Leave what lives until the end out of garbage collections, of which some checks ask for many."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Do not trace the processes either that a test without coverage starts: tracing takes a third of their time."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("no_cover"):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)


def pytest_runtest_setup(item):
    """Skip tests of compiled paths where there is no compiler, or fail them where one is required."""
    if item.get_closest_marker("compiler") and not shutil.which(os.environ.get("CXX", "g++")):
        if os.environ.get("OPTREG_REQUIRE_COMPILER"):
            pytest.fail("there is no C++ compiler, and OPTREG_REQUIRE_COMPILER is set")
        pytest.skip("there is no C++ compiler")


COMPONENT = """\
from dataclasses import dataclass, field
from typing import Literal
from optreg import NonNegative, OptimizerPlugin, PositiveSteps, SchedulePlugin, Steps, hookimpl

@dataclass
class Reference:
    '''{sentence}'''
{fields}

class Implementation(Reference):
    def __call__(self, step):
        {body}

@hookimpl
def {hook}():
    return [{record}(name="{name}", implementation="{implementation}", reference=Reference)]
"""

HOOKS = {"optimizer": "optreg_optimizers", "schedule": "optreg_schedulers"}
GROUPS = {"optimizer": "optreg.optimizers", "schedule": "optreg.schedulers"}


class Site:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution, code="", *, module=None, version="1.0", group="optreg.optimizers", names=()):
        """Write a distribution with one module, and entry points `names` that lead to it."""
        module = module or distribution.replace("-", "_")
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{name} = {module}" for name in names]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        (self.folder / f"{module}.py").write_text(dedent(code))
        return module

    def offer(
        self, distribution, name, kind="optimizer", fields="lr: float = 0.1", *, before="", after="",
        implementation="torch.optim:SGD", hook=None, body="pass", sentence="One sentence.", names=None, **more,
    ):  # fmt: skip
        """Write a distribution whose module offers an optimizer or a schedule, between other code."""
        code = COMPONENT.format(
            fields=indent(fields, "    "), body=body, hook=hook or HOOKS[kind], record=f"{kind.title()}Plugin",
            name=name, implementation=implementation, sentence=sentence,
        )  # fmt: skip
        names = [name] if names is None else names
        return self.install(distribution, f"{before}\n{code}\n{after}", group=GROUPS[kind], names=names, **more)


@pytest.fixture
def elsewhere(tmp_path):
    """An empty folder of distributions, for the path of another process."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Site(folder)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty folder of distributions on `sys.path`; nothing of it is left afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    registry._installed.cache_clear()
    yield Site(folder)
    registry._installed.cache_clear()
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def optimizer(site):
    """Installs the distribution `NAME-optimizer` with an optimizer."""

    def install(name="odd", fields="lr: float = 0.1", **more):
        site.offer(f"{name}-optimizer", name, "optimizer", fields, **more)

    return install


@pytest.fixture
def schedule(site):
    """Installs the distribution `NAME-schedule` with a schedule."""

    def install(name="odd", fields="total_steps: PositiveSteps = 100", *, body="return 0.5", implementation=None):
        implementation = implementation or f"{name}_schedule:Implementation"
        site.offer(f"{name}-schedule", name, "schedule", fields, body=body, implementation=implementation)

    return install


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes `run.yaml` in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "run.yaml").write_text(text)
        return "run.yaml"

    return write


@pytest.fixture
def terminal():
    """Runs optreg on a terminal of 100 columns; returns what it shows."""

    def run(*arguments, **environ):
        shown, end = pty.openpty()
        command = [sys.executable, "-m", "optreg", *arguments]
        with subprocess.Popen(command, stdout=end, stderr=end, env={**os.environ, "COLUMNS": "100", **environ}):
            os.close(end)
            output = b""
            with contextlib.suppress(OSError):  # the other end was closed
                while piece := os.read(shown, 4096):
                    output += piece
        os.close(shown)
        return output.decode()

    return run


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; without one, its tests are skipped, or fail where one is required."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if not executable:
        if os.environ.get("OPTREG_REQUIRE_BROWSER"):
            pytest.fail("there is no chromium, and OPTREG_REQUIRE_BROWSER is set")
        pytest.skip("there is no chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield started
        started.close()

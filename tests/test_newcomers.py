"""A newcomer's three touches: reference, implementation, entry point; nothing else of the project is edited."""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FILES = {
    "signum/reference.py": '''\
"""Signum as its paper states it, in float64."""

from dataclasses import dataclass

import numpy as np

from optreg import Decay, NonNegative


@dataclass
class Signum:
    """Step by the sign of a moving average of the gradients.

    Bernstein et al. 2018, arXiv:1802.04434, Algorithm 2:

        m_t     = beta m_{t-1} + (1 - beta) g_t
        theta_t = theta_{t-1} - eta_t sign(m_t)

    with m_0 = 0, eta = lr.
    """

    lr: NonNegative = 1e-4
    beta: Decay = 0.9

    def trajectory(self, theta):
        m = np.zeros_like(theta)
        g = yield theta, {"exp_avg": m}
        while True:
            m = self.beta * m + (1 - self.beta) * g
            theta = theta - self.lr * np.sign(m)
            g = yield theta, {"exp_avg": m}
''',
    "signum/optimizer.py": '''\
"""Signum for torch."""

import optreg
from optreg_plugins.signum.reference import Signum as Paper


class Signum(optreg.Pointwise):
    """Step by the sign of a moving average of the gradients (Bernstein et al. 2018, arXiv:1802.04434)."""

    reference = Paper
    state_names = ("exp_avg",)

    @staticmethod
    def update(p, g, m, *, lr, beta):
        m = beta * m + (1 - beta) * g
        p = p - lr * m.sign()
        return p, m
''',
    "signum/__init__.py": '''\
"""signum: the sign of a moving average."""

from optreg import OptimizerPlugin, OptimizerTraits, PointwiseOptions, hookimpl
from optreg_plugins.signum import reference


@hookimpl
def optreg_optimizers():
    return [
        OptimizerPlugin(
            name="signum",
            implementation="optreg_plugins.signum.optimizer:Signum",
            reference=reference.Signum,
            options=PointwiseOptions,
            traits=OptimizerTraits(decay="none", complex_params=True, tensor_lr=True, temporaries=1.0),
        )
    ]
''',
    "inverse_root/reference.py": '''\
"""The formula of inverse_root, in arbitrary precision."""

from dataclasses import dataclass

from optreg import PositiveSteps


@dataclass
class InverseRoot:
    """Warm up linearly, then fall with the root of the step.

    Vaswani et al. 2017, arXiv:1706.03762, section 5.3, as a multiple of its peak; W = warmup_steps:

        f(t) = min(t / W, sqrt(W / t))
    """

    warmup_steps: PositiveSteps

    def multiplier(self, t, mp):
        W = self.warmup_steps
        return mp.mpf(t) / W if t < W else mp.sqrt(mp.mpf(W) / t)
''',
    "inverse_root/schedule.py": '''\
"""inverse_root as a pure function of the step."""

import math

import optreg
from optreg_plugins.inverse_root.reference import InverseRoot as Paper


class InverseRoot(optreg.PureSchedule):
    """Up linearly, then down with the root of the step."""

    reference = Paper

    @staticmethod
    def multiplier(t: int, *, warmup_steps: int) -> float:
        return t / warmup_steps if t < warmup_steps else math.sqrt(warmup_steps / t)
''',
    "inverse_root/__init__.py": '''\
"""inverse_root: a warm-up, then the root of the step."""

from optreg import SchedulePlugin, ScheduleTraits, hookimpl
from optreg_plugins.inverse_root import reference


@hookimpl
def optreg_schedulers():
    return [
        SchedulePlugin(
            name="inverse_root",
            implementation="optreg_plugins.inverse_root.schedule:InverseRoot",
            reference=reference.InverseRoot,
            traits=ScheduleTraits(end=None, peak="warmup_steps"),
        )
    ]
''',
}

BUILD = """\
import optreg, torch
optimizer, scheduler = optreg.build("run.yaml", torch.nn.Linear(2, 2))
rates = []
for _ in range(5):
    rates += scheduler.get_last_lr()
    optimizer.step()
    scheduler.step()
print(type(optimizer).__name__, optimizer.defaults["beta"], scheduler.schedule, rates)
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the plugins in which the three touches have been made, installed in front of the project's own."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "plugins", folder, dirs_exist_ok=True)
    for name, code in FILES.items():
        path = folder / "optreg_plugins" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    text = (ROOT / "pyproject.toml").read_text()
    for table, name in (("optreg.optimizers", "signum"), ("optreg.schedulers", "inverse_root")):
        header = f'[project.entry-points."{table}"]\n'
        assert header in text
        text = text.replace(header, f'{header}{name} = "optreg_plugins.{name}"\n')
    project = tomllib.loads(text)["project"]
    info = folder / f"optreg-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: optreg\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (folder / "run.yaml").write_text(
        "optimizer: {name: signum, lr: 1.0, beta: 0.5}\nscheduler: {name: inverse_root, warmup_steps: 2}\n"
    )
    return folder


def ran(folder, *arguments):
    """What Python prints, with the copy in front."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_newcomers_are_listed_and_shown_beside_the_others(copied):
    listed = ran(copied, "-m", "optreg", "list")
    for name in ("signum", "inverse_root", "adamw", "cosine"):
        assert f"\t{name}\t" in listed
    assert "arXiv:1802.04434" in ran(copied, "-m", "optreg", "show", "signum")
    assert "warmup_steps\tint\t>= 1\trequired" in ran(copied, "-m", "optreg", "show", "inverse_root")


def test_a_run_is_built_of_them(copied):
    rates = [0.0, 0.5, 1.0, (2 / 3) ** 0.5, 0.5**0.5]
    assert ran(copied, "-W", "error", "-c", BUILD) == f"Signum 0.5 InverseRoot(warmup_steps=2) {rates}\n"


def test_the_suite_judges_them(copied):
    told = ran(
        copied, "-m", "optreg", "conform", "signum", "inverse_root", "--tier", "should",
        "-k", "M02 or M03 or K04 or K05 or L01 or K14 or K15",
    )  # fmt: skip
    assert f"signum\toptreg {version('optreg')}\t4\t0\t0\t" in told
    assert f"inverse_root\toptreg {version('optreg')}\t3\t0\t0\t" in told


def test_the_projects_own_tests_judge_them(copied):
    tests = ROOT / "tests" / "conformance" / "test_right.py"
    collected = ran(copied, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", str(tests))
    for name in ("signum", "inverse_root"):
        assert f"test_a_first_party_plugin_passes_every_check[{name}]" in collected

"""A real third party: the wheel of this checkout and a separate distribution, in a fresh virtual environment."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
THIRD_PARTY = ROOT / "tests" / "third_party" / "optreg-signsgd"

TRAIN = """\
import numpy as np, optreg, torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1, bias=False, dtype=torch.float64)
run = optreg.build("run.yaml", model)
optimizer, scheduler = run
print(run.plugins[0].distribution, run.plugins[0].version, type(optimizer).__module__)
x = torch.randn(64, 4, dtype=torch.float64)
y = x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]], dtype=torch.float64)
from optreg_signsgd.reference import SignSGD
paper = SignSGD()
expected = paper.trajectory(model.weight.detach().numpy().copy())
next(expected)
losses = []
for _ in range(100):
    paper.lr = optimizer.param_groups[0]["lr"]
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    scheduler.step()
    theta, _ = expected.send(model.weight.grad.numpy())
    assert abs(model.weight.detach().numpy() - theta).max() < 1e-13
    losses.append(loss.item())
assert losses[-1] < 0.05 * losses[0], losses
print("trained")
"""


def copied(source, target):
    """A copy without what builds and runs leave behind, since a build writes into its folder."""
    leftovers = shutil.ignore_patterns(".*", "build", "out", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(source, target, ignore=leftovers)
    return target


def wheel(source, folder):
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob(f"{source.name.replace('-', '_')}-*.whl")
    return built


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The wheels of optreg and of the third party, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [copied(ROOT, folder / "optreg"), copied(THIRD_PARTY, folder / "optreg-signsgd")]
    return [wheel(source, folder) for source in sources]


class Environment:
    """A virtual environment that sees the libraries of this one, but has an optreg of its own."""

    def __init__(self, folder):
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        self.site = Path(self("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        (self.site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def __call__(self, *arguments, check=True, cwd=None, **environ):
        return subprocess.run(
            [self.python, *arguments],
            capture_output=True, text=True, check=check, cwd=cwd or self.folder, env={"PATH": "/usr/bin:/bin", **environ},
        )  # fmt: skip

    def optreg(self, *arguments, check=True, **environ):
        return self("-m", "optreg.cli", *arguments, check=check, **environ)

    def install(self, built):
        """Install a wheel with this environment's pip, into that one."""
        command = [
            "-m",
            "pip",
            "--python",
            str(self.python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(built),
        ]
        subprocess.run([sys.executable, *command], check=True)


@pytest.fixture(scope="session")
def environment(tmp_path_factory, wheels):
    environment = Environment(tmp_path_factory.mktemp("environment") / "venv")
    for built in wheels:
        environment.install(built)
    (environment.folder / "run.yaml").write_text(
        "optimizer: {name: signsgd, lr: 0.1}\nscheduler: {name: linear, total_steps: 100}\n"
    )
    (environment.folder / "lion.yaml").write_text("optimizer: {name: lion}\nscheduler: {name: constant}\n")
    return environment


@pytest.fixture
def folder(tmp_path):
    """A folder of further distributions, for PYTHONPATH."""
    return tmp_path / "more"


def write(folder, distribution, names, code, group="optreg.optimizers"):
    """Install a distribution into `folder`, as an installer would leave it."""
    module = distribution.replace("-", "_")
    info = folder / f"{module}-0.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.5\n")
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *(f"{name} = {module}" for name in names), ""]))
    (folder / f"{module}.py").write_text(code)


def test_the_wheel_carries_both_packages_and_nothing_else_at_the_top(wheels):
    names = ZipFile(wheels[0]).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"optreg", "optreg_plugins"}
    assert {"optreg/py.typed", "optreg_plugins/py.typed", "optreg_plugins/lion/reference.py"} <= set(names)


def test_the_environment_uses_the_installed_wheel(environment):
    origin = environment("-c", "import optreg, optreg_plugins; print(optreg.__file__, optreg_plugins.__file__)").stdout
    assert origin.count(str(environment.site)) == 2


def test_an_installed_package_is_listed_with_its_distribution(environment):
    rows = json.loads(environment.optreg("list", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "signsgd"]
    assert (row["distribution"], row["version"], row["state"]) == ("optreg-signsgd", "1.2.3", "available")
    assert len(rows) == len({(row["kind"], row["name"]) for row in rows})


def test_installing_it_is_enough_to_show_build_and_train_with_it(environment):
    assert "arXiv:1802.04434" in environment.optreg("show", "signsgd").stdout
    result = environment("-W", "error", "-c", TRAIN)
    assert result.stdout.splitlines() == ["optreg-signsgd 1.2.3 optreg_signsgd.optimizer", "trained"]


def test_its_own_tests_pass_there(environment):
    tests = THIRD_PARTY / "tests"
    result = environment("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov", str(tests), check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


def test_a_distribution_broken_at_import_harms_only_whoever_names_it(environment, folder):
    write(folder, "optreg-broken", ["broken"], "raise RuntimeError('no such card')")
    (environment.folder / "broken.yaml").write_text("optimizer: {name: broken}\nscheduler: {name: constant}\n")
    listed = environment.optreg("list", "--check", check=False, PYTHONPATH=str(folder))
    assert listed.returncode == 1
    assert "broken: optimizer 'broken' is broken: distribution 'optreg-broken' 0.5" in listed.stdout
    assert environment.optreg("validate", "lion.yaml", "run.yaml", PYTHONPATH=str(folder)).returncode == 0

    refused = environment.optreg("validate", "broken.yaml", check=False, PYTHONPATH=str(folder))
    assert refused.returncode == 1
    assert "RuntimeError: no such card" in refused.stderr
    assert "Traceback" not in refused.stderr
    code = (
        "import optreg\n"
        "try: optreg.build('broken.yaml')\n"
        "except optreg.PluginError as error: print(error, '|', repr(error.__cause__))"
    )
    told = environment("-c", code, PYTHONPATH=str(folder)).stdout
    assert "distribution 'optreg-broken' 0.5, module 'optreg_broken'" in told
    assert "| RuntimeError('no such card')" in told


def test_a_name_offered_twice_must_be_qualified(environment, folder):
    write(folder, "other-lion", ["lion"], "")
    listed = environment.optreg("list", PYTHONPATH=str(folder)).stdout
    assert "ambiguous: write other-lion/lion" in listed
    refused = environment.optreg("validate", "lion.yaml", check=False, PYTHONPATH=str(folder))
    assert refused.returncode == 1
    assert "write one of 'optreg/lion', 'other-lion/lion'" in refused.stderr
    qualified = ["validate", "lion.yaml", "--set", "optimizer.name=optreg/lion"]
    assert environment.optreg(*qualified, PYTHONPATH=str(folder)).returncode == 0
    blocked = environment.optreg("validate", "lion.yaml", PYTHONPATH=str(folder), OPTREG_BLOCK="other-lion")
    assert blocked.returncode == 0


def test_a_misspelt_hook_is_an_error_that_names_the_distribution(environment, folder):
    code = "import optreg\n\n@optreg.hookimpl\ndef optreg_optimizer():\n    return []\n"
    write(folder, "optreg-typo", ["typo"], code)
    (environment.folder / "typo.yaml").write_text("optimizer: {name: typo}\nscheduler: {name: constant}\n")
    refused = environment.optreg("validate", "typo.yaml", check=False, PYTHONPATH=str(folder))
    assert refused.returncode == 1
    assert "distribution 'optreg-typo' 0.5" in refused.stderr
    assert (
        "implements 'optreg_optimizer', which is no hook of optreg; did you mean 'optreg_optimizers'?" in refused.stderr
    )


def test_allow_and_block_lists_act_before_import_and_own_up(environment):
    for variable, value in (("OPTREG_PLUGINS", "optreg"), ("OPTREG_BLOCK", "optreg-signsgd")):
        refused = environment.optreg("validate", "run.yaml", check=False, **{variable: value})
        assert refused.returncode == 1
        assert f"{variable} hides 'optreg-signsgd/signsgd'" in refused.stderr


def test_two_hundred_distributions_are_listed_and_none_imported(environment, folder):
    for number in range(200):
        write(folder, f"optreg-fake-{number}", [f"fake_{number}"], "raise SystemExit('imported')")
    listed = environment.optreg("list", PYTHONPATH=str(folder)).stdout
    assert sum("\toptreg-fake-" in line for line in listed.splitlines()) == 200
    assert environment.optreg("validate", "lion.yaml", PYTHONPATH=str(folder)).stdout == "lion.yaml: ok\n"

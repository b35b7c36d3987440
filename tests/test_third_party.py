"""A real third party: this checkout's wheel and a separate distribution, in a fresh virtual environment."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.no_cover

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
    # u (8 + t) S of CONTRIBUTING.md: 2**-53 * 108 * (3 + the sum of the rates, 5) < 1e-13
    assert abs(model.weight.detach().numpy() - theta).max() < 1e-13
    losses.append(loss.item())
assert losses[-1] < 0.05 * losses[0], losses
print("trained")
"""


def copied(source, target):
    """A copy without what builds and runs leave behind, since a build writes into its folder."""
    leftovers = shutil.ignore_patterns(".*", "build", "dist", "out", "*.egg-info", "__pycache__")
    shutil.copytree(source, target, ignore=leftovers)
    return target


def ran(*command, check=True, **options):
    """A finished process; one that fails shows what it said."""
    result = subprocess.run(command, capture_output=True, text=True, **options)
    assert not check or result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def wheel(source, folder):
    ran(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source)
    (built,) = folder.glob(f"{source.name.replace('-', '_')}-*.whl")
    return built


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The wheels of optreg and of the third party, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [copied(ROOT, folder / "optreg"), copied(THIRD_PARTY, folder / "optreg-signsgd")]
    return [wheel(source, folder) for source in sources]


class Environment:
    """A virtual environment that sees the libraries of this one, but has an optreg of its own.

    A `.pth` file leads to the libraries; those among them that stand there in turn, such as the one of an
    editable optreg, are not followed, and what is installed here comes first.
    """

    def __init__(self, folder):
        self.folder = folder
        ran(sys.executable, "-m", "venv", "--without-pip", folder)
        self.python = folder / "bin" / "python"
        self.site = Path(self("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site / "libraries.pth").write_text("\n".join([*sorted(libraries), ""]))

    def __call__(self, *arguments, check=True, **environ):
        return self.run(self.python, *arguments, check=check, **environ)

    def optreg(self, *arguments, check=True, **environ):
        return self.run(self.folder / "bin" / "optreg", *arguments, check=check, **environ)

    def run(self, *command, check, **environ):
        return ran(*command, check=check, cwd=self.folder, env={"PATH": "/usr/bin:/bin", **environ})

    def pip(self, *arguments):
        """Run this environment's pip upon that one."""
        ran(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python, *arguments)

    def install(self, *wheels):
        self.pip("install", "--no-deps", "--no-index", *wheels)


@pytest.fixture(scope="session")
def environment(tmp_path_factory, wheels):
    environment = Environment(tmp_path_factory.mktemp("environment") / "venv")
    environment.install(*wheels)
    for name, rest in {"run": "signsgd, lr: 0.1", "lion": "lion", "broken": "broken", "typo": "typo"}.items():
        schedule = "{name: linear, total_steps: 100}"
        text = f"optimizer: {{name: {rest}}}\nscheduler: {schedule}\n"
        (environment.folder / f"{name}.yaml").write_text(text)
    return environment


@pytest.fixture
def folder(elsewhere):
    """A folder of further distributions, for PYTHONPATH."""
    return elsewhere.folder


# `-X importtime` would not do: it is blind to `importlib.import_module`, by which plugins are imported.
LIST_AND_TELL_MODULES = """\
import sys
from optreg.cli import main
main(["list"], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""


def tops(built):
    """What a wheel puts at the top of site-packages."""
    return {name.partition("/")[0] for name in ZipFile(built).namelist() if ".dist-info/" not in name}


def test_the_wheels_carry_their_packages_and_nothing_else_at_the_top(wheels):
    assert [tops(built) for built in wheels] == [{"optreg", "optreg_plugins"}, {"optreg_signsgd"}]
    names = ZipFile(wheels[0]).namelist()
    assert {"optreg/py.typed", "optreg_plugins/py.typed", "optreg_plugins/lion/reference.py"} <= set(names)
    page = ROOT / "optreg" / "cli" / "page"
    assert {f"optreg/cli/page/{file.name}" for file in page.iterdir() if file.is_file()} <= set(names)
    assert not [name for name in names if Path(name).name.startswith(("test_", "conftest"))]


def test_the_environment_uses_the_installed_wheel_and_no_other(environment):
    code = "import optreg, optreg_plugins; print(optreg.__file__, optreg_plugins.__file__)"
    assert environment("-c", code).stdout.count(str(environment.site)) == 2
    code = "from importlib.metadata import distribution; print(distribution('optreg').locate_file(''))"
    assert Path(environment("-c", code).stdout.strip()) == environment.site


def test_an_installed_package_is_listed_with_its_distribution(environment):
    rows = json.loads(environment.optreg("list", "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "signsgd"]
    assert (row["distribution"], row["version"], row["state"]) == ("optreg-signsgd", "1.2.3", "available")
    keys = [(row["kind"], row["name"], row["distribution"]) for row in rows]
    assert len(keys) == len(set(keys)), "a distribution is seen twice"


def test_installing_it_is_enough_to_show_build_and_train_with_it(environment):
    assert "arXiv:1802.04434" in environment.optreg("show", "signsgd").stdout
    result = environment("-W", "error", "-c", TRAIN)
    assert result.stdout.splitlines() == ["optreg-signsgd 1.2.3 optreg_signsgd.optimizer", "trained"]


def test_uninstalling_it_makes_its_name_unknown(environment, wheels):
    environment.pip("uninstall", "--yes", "optreg-signsgd")
    try:
        assert "signsgd" not in environment.optreg("list").stdout
        refused = environment.optreg("validate", "run.yaml", check=False)
        assert refused.returncode == 1
        assert "there is no optimizer 'signsgd'" in refused.stderr
        assert environment.optreg("validate", "lion.yaml").stdout == "lion.yaml: ok\n"
    finally:
        environment.install(wheels[1])


def test_its_own_tests_pass_there(environment):
    tests = THIRD_PARTY / "tests"
    result = environment("-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov", tests)
    assert " passed" in result.stdout
    assert "failed" not in result.stdout
    conform = environment.optreg("conform", "-n", "1", "signsgd", "-k", "M0")
    assert "signsgd\toptreg-signsgd 1.2.3\t" in conform.stdout


BUILD_BESIDE_BROKEN = """\
import optreg, torch
print(type(optreg.build("lion.yaml", torch.nn.Linear(2, 2)).optimizer).__name__)
try:
    optreg.build("broken.yaml", torch.nn.Linear(2, 2))
except optreg.PluginError as error:
    print(error, "|", repr(error.__cause__))
"""


def test_a_distribution_broken_at_import_harms_only_whoever_names_it(environment, elsewhere, folder):
    elsewhere.install("optreg-broken", "raise RuntimeError('no such card')", names=["broken"])
    path = str(folder)
    assert "\toptreg-broken\t1.0\tavailable\n" in environment.optreg("list", PYTHONPATH=path).stdout
    listed = environment.optreg("list", "--check", check=False, PYTHONPATH=path)
    assert listed.returncode == 1
    (row,) = [line for line in listed.stdout.splitlines() if "optreg-broken" in line]
    assert "broken: optimizer 'broken' is broken: distribution 'optreg-broken' 1.0" in row
    assert row.endswith("RuntimeError: no such card")
    assert sum("\tbroken:" in line for line in listed.stdout.splitlines()) == 1

    refused = environment.optreg("validate", "broken.yaml", check=False, PYTHONPATH=path)
    assert refused.returncode == 1
    assert "RuntimeError: no such card" in refused.stderr
    assert "Traceback" not in refused.stderr
    built, told = environment("-W", "error", "-c", BUILD_BESIDE_BROKEN, PYTHONPATH=path).stdout.splitlines()
    assert built == "Lion"
    assert "distribution 'optreg-broken' 1.0, module 'optreg_broken'" in told
    assert told.endswith("| RuntimeError('no such card')")


OTHER_LION = """\
from dataclasses import dataclass
import optreg

@dataclass
class Other:
    \"\"\"Another animal of that name.\"\"\"
    lr: optreg.NonNegative = 0.1

@optreg.hookimpl
def optreg_optimizers():
    return [optreg.OptimizerPlugin(name="lion", implementation="torch.optim:SGD", reference=Other)]
"""

BUILD_QUALIFIED = """\
import optreg, torch
for name in ("optreg/lion", "other-lion/lion"):
    run = optreg.build("lion.yaml", torch.nn.Linear(2, 2), [f"optimizer.name={name}"])
    print(run.plugins[0].qualified, type(run.optimizer).__name__)
"""


def test_a_name_offered_twice_must_be_qualified(environment, elsewhere, folder):
    elsewhere.install("other-lion", OTHER_LION, names=["lion"])
    path = str(folder)
    listed = environment.optreg("list", PYTHONPATH=path).stdout
    assert "ambiguous: write optreg/lion" in listed
    assert "ambiguous: write other-lion/lion" in listed
    refused = environment.optreg("validate", "lion.yaml", check=False, PYTHONPATH=path)
    assert refused.returncode == 1
    assert "write one of 'optreg/lion', 'other-lion/lion'" in refused.stderr
    built = environment("-W", "error", "-c", BUILD_QUALIFIED, PYTHONPATH=path).stdout
    assert built.splitlines() == ["optreg/lion Lion", "other-lion/lion SGD"]
    environment.optreg("validate", "lion.yaml", PYTHONPATH=path, OPTREG_BLOCK="other-lion")


def test_a_misspelt_hook_is_an_error_that_names_the_distribution(environment, elsewhere, folder):
    code = "import optreg\n\n@optreg.hookimpl\ndef optreg_optimizer():\n    return []\n"
    elsewhere.install("optreg-typo", code, names=["typo"])
    refused = environment.optreg("validate", "typo.yaml", check=False, PYTHONPATH=str(folder))
    assert refused.returncode == 1
    assert "distribution 'optreg-typo' 1.0" in refused.stderr
    assert "implements 'optreg_optimizer', which is not a hook of optreg" in refused.stderr
    assert "did you mean 'optreg_optimizers'?" in refused.stderr


HIDING = [("OPTREG_PLUGINS", "optreg"), ("OPTREG_BLOCK", "Optreg_SignSGD")]


@pytest.mark.parametrize(("variable", "value"), HIDING)
def test_allow_and_block_lists_own_up_when_a_name_is_asked_for(environment, variable, value):
    refused = environment.optreg("validate", "run.yaml", check=False, **{variable: value})
    assert refused.returncode == 1
    assert f"{variable} hides 'optreg-signsgd/signsgd'" in refused.stderr
    environment.optreg("validate", "lion.yaml", **{variable: value})


@pytest.mark.parametrize("group", ["optreg.optimizers", "optreg.hooks"])
def test_allow_and_block_lists_act_before_import(environment, elsewhere, folder, group):
    elsewhere.install("optreg-fatal", "import os\nos._exit(9)", names=["fatal"], group=group)
    path = str(folder)
    unhidden = environment.optreg("list", "--check", check=False, PYTHONPATH=path)
    assert unhidden.returncode == 1, "importing it ends a process, so that hiding it can be told"
    for hidden in ({"OPTREG_PLUGINS": "optreg"}, {"OPTREG_BLOCK": "optreg-fatal"}):
        listed = environment.optreg("list", "--check", PYTHONPATH=path, **hidden).stdout
        assert f"\toptreg-fatal\t1.0\thidden by {next(iter(hidden))}\n" in listed


def test_two_hundred_distributions_are_listed_and_none_imported(environment, elsewhere, folder):
    for number in range(200):
        elsewhere.install(f"optreg-fake-{number}", "import os\nos._exit(9)", names=[f"fake_{number}"])
    listed = environment("-c", LIST_AND_TELL_MODULES, PYTHONPATH=str(folder))
    assert sum("\toptreg-fake-" in line for line in listed.stdout.splitlines()) == 200
    modules = listed.stderr.split()
    assert "optreg.registry" in modules
    plugins_and_torch = ("optreg_fake", "optreg_plugins", "optreg_signsgd", "torch", "numpy")
    assert not [name for name in modules if name.startswith(plugins_and_torch)]
    checked = environment.optreg("validate", "lion.yaml", PYTHONPATH=str(folder))
    assert checked.stdout == "lion.yaml: ok\n"


def test_importing_optreg_imports_neither_torch_nor_a_plugin(environment):
    code = "import sys, optreg\noptreg.default_registry().entries()\nprint(*sys.modules)"
    modules = set(environment("-c", code).stdout.split())
    assert "optreg.registry" in modules
    assert not {"torch", "numpy", "optreg_plugins", "optreg_signsgd"} & modules

"""Documents are true: their examples run, and the modules, files, links and commands that they name exist."""

import doctest
import functools
import re
import shlex
import subprocess
import sys
from dataclasses import make_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from subprocess import PIPE, STDOUT
from textwrap import dedent

import pytest
import torch
from sybil import Region, Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.markdown import CodeBlockParser

import optreg
from optreg import Kind
from optreg_plugins.lion import reference

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md"), *ROOT.glob("specs/*/*.md")]
OWN_FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {".venv", "out"}

PAPERS = {
    "README.md": reference.Lion,
    "optimizer.py": make_dataclass("Paper", [("lr", float, 0.1), ("beta", float, 0.9)]),
    "pure_schedule.py": make_dataclass("Paper", [("warmup_steps", int)]),
}
"""The references that examples leave to their readers, by the file of the example."""

EPS_INSIDE_THE_ROOT = """\
import torch


class AdamW(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            (beta1, beta2), lr = group["betas"], group["lr"]
            for p in (param for param in group["params"] if param.grad is not None):
                state = self.state[p]
                t, m, v = state.values() if state else (0, torch.zeros_like(p), torch.zeros_like(p))
                t, m, v = t + 1, beta1 * m + (1 - beta1) * p.grad, beta2 * v + (1 - beta2) * p.grad**2
                state.update(step=t, exp_avg=m, exp_avg_sq=v)
                p.mul_(1 - lr * group["weight_decay"])
                p.sub_(lr * (m / (1 - beta1**t)) / (v / (1 - beta2**t) + group["eps"]).sqrt())
"""


def evaluate_yaml(example):
    """A spec, or sections of one, must be valid; it may extend the specs that are named on the same page."""
    text = example.parsed
    if named := re.match(r"# (\S+\.yaml)\n", text):
        Path("pyproject.toml").touch()
        for name, of_page in re.findall(
            r"^```yaml\n# (\S+\.yaml)\n(.*?)^```", example.document.text, re.MULTILINE | re.DOTALL
        ):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(of_page)
        if "extends:" in text:
            optreg.load_spec(named[1])
            return
    for section in ("optimizer: {name: adamw}\n", "scheduler: {name: constant}\n"):
        if section.partition(":")[0] + ":" not in text:
            text += section
    Path("example.yaml").write_text(text)
    optreg.load_spec("example.yaml")


def evaluate_python(example):
    """Code must run, and what it defines must work; what is quoted from an example distribution must stand there."""
    first, _, rest = example.parsed.partition("\n")
    quoted = ROOT / "tests" / "third_party" / first.removeprefix("# ")
    if first.startswith("# ") and quoted.is_file():
        assert rest.strip() in quoted.read_text()
        return
    code = compile(example.parsed, example.path, "exec", dont_inherit=True)
    namespace = {
        "__name__": "example", "math": import_module("math"), "optreg": optreg, "reference": reference,
        "model": torch.nn.Sequential(torch.nn.Linear(2, 2)), "Paper": PAPERS.get(Path(example.path).name),
    }  # fmt: skip
    exec(code, namespace)
    for made in [value for value in namespace.values() if isinstance(value, type)]:
        if issubclass(made, optreg.Pointwise):
            param = torch.nn.Parameter(torch.ones(3))
            param.grad = torch.ones(3)
            made([param]).step()
            assert (param < 1).all()
        elif issubclass(made, optreg.PureSchedule):
            assert made(4)(16) == 0.5


def evaluate_console(example):
    """What is shown of a command's output must be its output; without any, its arguments must be right."""
    for command, shown in re.findall(
        r"^(?:\$ )?((?:optreg|make) .*)\n((?:(?!\$ |make ).*\n)*)", example.parsed, re.MULTILINE
    ):
        program, name, *arguments = shlex.split(command, comments=True)
        if program == "make":
            assert f"\n{name}:" in (ROOT / "Makefile").read_text()
        elif not shown.strip():
            import_module(f"optreg.cli.{name}").command.make_context(name, arguments)
        else:
            assert doctest.OutputChecker().check_output(shown, told(name, *arguments), doctest.ELLIPSIS)


@functools.cache
def told(*arguments):
    """What the command prints."""
    command = [sys.executable, "-m", "optreg", *arguments]
    return subprocess.run(command, stdout=PIPE, stderr=STDOUT, text=True, check=False).stdout.strip() + "\n"


CODE = re.compile(
    r"(?<=\n\n)(?P<indent> {4,})(?:from optreg|class \w+\(optreg|optimizer, ).*\n"
    r"(?:(?P=indent).*\n|\n(?=(?P=indent)))*"
)


def indented_code(document):
    """The examples of a docstring: indented code that begins with something of optreg's."""
    for block in CODE.finditer(document.text):
        yield Region(block.start(), block.end(), dedent(block[0]), evaluate_python)


MARKDOWN = Sybil(
    [
        CodeBlockParser("yaml", evaluate_yaml),
        CodeBlockParser("python", evaluate_python),
        CodeBlockParser("console", evaluate_console),
    ]
)
DOCSTRINGS = Sybil([indented_code], document_types={".py": PythonDocStringDocument})


def examples():
    """Every example, named by its place."""
    for sybil, paths in ((MARKDOWN, PAGES), (DOCSTRINGS, sorted(ROOT.glob("optreg/**/*.py")))):
        for path in paths:
            for example in sybil.parse(path).examples():
                yield pytest.param(example, id=f"{path.relative_to(ROOT)}:{example.line}")


EXAMPLES = [*examples()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the spec of the README, the same with two mistakes, and a package of the reader's."""
    spec = re.search(r"```yaml\n(# configs.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    wrong = spec.replace("  weight_decay: 0.1", "  weigth_decay: 0.1").replace("100_000", "10k")
    files = {"configs/run.yaml": spec, "run.yaml": wrong, "my_package/optim.py": EPS_INSIDE_THE_ROOT}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example):
    example.evaluate()


def test_examples_that_leave_a_reference_to_their_readers_are_found():
    found = {Path(parameters.values[0].path).name for parameters in EXAMPLES}
    assert found >= PAPERS.keys()


def page_tests(function):
    """A test of each page."""
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))(function)


@page_tests
def test_every_module_class_and_function_that_a_page_names_exists(page):
    if page.name == "CHANGELOG.md":
        pytest.skip("it names what there was, too")
    text = page.read_text()
    names = {*re.findall(r"\boptreg(?:_plugins)?(?:\.\w+)+", text)} - {kind.group for kind in Kind}
    names |= {
        f"optreg.conformance.{name}" for name in re.findall(r"\b(?:explain|harness|running|subjects)\.\w+\.\w+", text)
    }
    missing = []
    for name in sorted(names):
        try:
            resolve_name(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert not missing


@page_tests
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text()
    links = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text)]
    paths = [ROOT / path for path in re.findall(r"`([\w.-]+/[\w./-]*)`", text) if path.split("/")[0] in OWN_FOLDERS]
    placeholders = re.compile(r"\b(?:NAME|CHAPTER)\b")
    assert [str(path) for path in [*links, *paths] if not path.exists() and not placeholders.search(str(path))] == []

"""The table of criteria: one row is read, checked, matched, reserved, in the schema and on the page."""

import jsonschema
import pytest
import torch

import optreg
from optreg import PluginError, SpecError
from optreg.cli.schema import make_schema
from optreg.criteria import CRITERIA, TEXTS, Criterion

DTYPE = Criterion(
    "dtype",
    TEXTS,
    lambda names: lambda parameter: str(parameter.tensor.dtype).removeprefix("torch.") in names,
    "Names of dtypes; one must be the parameter's.",
    fault=lambda name: None if "float" in name else f"is not a dtype of floating point: {name!r}",
)

SPEC = """\
optimizer: {name: adamw}
groups:
  - dtype: [bfloat16, float16]
    lr: 0.5
scheduler: {name: constant}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A spec that uses a criterion of which the table has one row more."""
    monkeypatch.setitem(CRITERIA, "dtype", DTYPE)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.yaml"
    path.write_text(SPEC)
    return path


def test_a_new_row_is_read_printed_and_matched(file):
    params = [torch.ones(2, dtype=dtype, requires_grad=True) for dtype in (torch.float32, torch.bfloat16)]
    rest, half = optreg.build(file, params).optimizer.param_groups
    assert [rest["params"][0].dtype, half["params"][0].dtype] == [torch.float32, torch.bfloat16]
    assert (half["lr"], rest["lr"]) == (0.5, 0.001)
    spec = optreg.load_spec(file)
    assert str(spec.groups[0]) == "dtype: bfloat16, float16"
    assert spec.as_dict()["groups"] == [{"dtype": ["bfloat16", "float16"], "lr": 0.5}]
    assert optreg.load_spec(spec) == spec


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("[bfloat16, float16]", "3", "run.yaml:3:12: 'dtype' must be a string or a list of strings"),
        ("float16]", "int8]", "run.yaml:3:23: is not a dtype of floating point: 'int8'"),
        ("dtype", "dtyp", "run.yaml:3:5: the rule has no criterion; add one of: match, regex, ndim, type, dtype"),
        ("lr", "dtipe", "run.yaml:4:5: adamw has no parameter 'dtipe'; did you mean 'dtype'?"),
    ],
)
def test_a_new_row_is_refused_when_wrong_with_its_place(file, right, wrong, message):
    file.write_text(SPEC.replace(right, wrong, 1))
    with pytest.raises(SpecError) as caught:
        optreg.load_spec("run.yaml")
    assert message in str(caught.value).splitlines()


def test_a_new_row_is_in_the_schema_and_no_hyperparameter_may_have_its_name(file, optimizer):
    validator = jsonschema.Draft202012Validator(make_schema(optreg.default_registry()))
    spec = {
        "optimizer": {"name": "lion"},
        "groups": [{"dtype": "float16", "lr": 0.5}],
        "scheduler": {"name": "constant"},
    }
    validator.validate(spec)
    spec["groups"][0]["dtype"] = 3
    assert not validator.is_valid(spec)
    optimizer("odd", "dtype: str = 'float32'")
    with pytest.raises(PluginError, match="hyperparameters whose names are reserved in specs: dtype"):
        optreg.Registry().optimizer("odd")


def test_the_page_tells_every_criterion(request):
    page = (request.config.rootpath / "docs/groups.md").read_text()
    rows = [f"| `{key}` | {criterion.says} |" for key, criterion in CRITERIA.items()]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows

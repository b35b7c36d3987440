"""What people write who come from other libraries: each mistake with its place and what to write instead."""

import pytest
from omegaconf import OmegaConf

import optreg
from optreg import SpecError, load_spec

SCHEDULER = {"name": "linear", "total_steps": 10}


def told(source):
    with pytest.raises(SpecError) as caught:
        load_spec(source)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("learning_rate: 1e-3", "run.yaml:3:3: adamw has no parameter 'learning_rate'; did you mean 'lr'?"),
        ("wd: 0.1", "run.yaml:3:3: adamw has no parameter 'wd'; did you mean 'weight_decay'?"),
        ("beta1: 0.9", "run.yaml:3:3: adamw has no parameter 'beta1'; did you mean 'betas'?"),
        ("epsilon: 0.1", "run.yaml:3:3: adamw has no parameter 'epsilon'; did you mean 'eps'?"),
        ("betas: 0.9, 0.95", "run.yaml:3:10: adamw: betas must be a list, not '0.9, 0.95'; write a list: [0.9, 0.95]"),
        ("betas: (0.9, 0.95)", "run.yaml:3:10: adamw: betas must be a list, not '(0.9, 0.95)'; write a list: [0.9, 0.95]"),
        ("init_args: {lr: 1}", "run.yaml:3:3: adamw has no parameter 'init_args'; write what is in it one level higher, in its place"),
        ("_target_: torch.optim.Adam", "run.yaml:3:3: adamw has no parameter '_target_'; 'name' says which plugin it is, so remove it"),
        ("lr: ???", "run.yaml:3:7: the value is missing ('???'); set it"),
        ("lr: ${base.lr}", "run.yaml:3:7: the interpolation '${base.lr}' is not resolved here; write the value, or pass the resolved configuration"),
    ],
)  # fmt: skip
def test_a_word_of_another_library_gets_the_remedy(file, line, expected):
    rest = "scheduler: {name: linear, total_steps: 1e1}\n"
    assert told(file(f"optimizer:\n  name: adamw\n  {line}\n{rest}")) == [expected]
    rule = expected.replace("run.yaml:3", "run.yaml:4").replace(":3: adamw has", ":5: adamw has")
    in_rule = told(file(f"optimizer: {{name: adamw}}\ngroups:\n  - ndim: 1\n    {line}\n{rest}"))
    assert [each.split(": ", 1)[1] for each in in_rule] == [rule.split(": ", 1)[1]]
    assert in_rule[0].startswith("run.yaml:4:")


def test_a_list_without_brackets_in_a_mapping_on_one_line(file):
    lines = told(file("optimizer: {name: adamw, betas: 0.9, 0.95}\nscheduler: {name: constant}\n"))
    assert lines[1] == "run.yaml:1:38: adamw has no parameter '0.95'; write a list in brackets: [0.9, 0.95]"


@pytest.mark.parametrize("key", ["num_warmup_steps", "warmup"])
def test_a_schedules_words_too(key):
    lines = told(
        {"optimizer": {"name": "lion"}, "scheduler": {"name": "warmup_cosine", key: 3, "num_training_steps": 9}}
    )
    assert f"scheduler.{key}: warmup_cosine has no parameter '{key}'; did you mean 'warmup_steps'?" in lines
    remedy = "has no parameter 'num_training_steps'; did you mean 'total_steps'?"
    assert f"scheduler.num_training_steps: warmup_cosine {remedy}" in lines


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("class_path", "torch.optim.AdamW", "torch.adamw"),
        ("_target_", "torch.optim.SGD", "torch.sgd"),
        ("_target_", "lion_pytorch.Lion", "lion"),
    ],
)
def test_a_section_that_names_a_class_is_told_which_plugin_to_name(file, key, value, name):
    source = file(f"optimizer:\n  {key}: {value}\n  init_args:\n    lr: 0.1\nscheduler: {{name: constant}}\n")
    message = f"names a class, but a spec names a plugin; write 'name: {name}' and the hyperparameters beside it"
    assert told(source) == [f"run.yaml:2:3: '{key}' {message}"]


def test_a_class_that_no_plugin_has_is_told_the_choices():
    (line,) = told({"optimizer": {"_target_": "my.Own"}, "scheduler": SCHEDULER})
    assert line.startswith(
        "optimizer._target_: '_target_' names a class, but a spec names a plugin; write 'name: ...', one"
    )
    assert "adamw, lion" in line


def test_omegaconfs_missing_values_and_dangling_interpolations_are_told_with_their_place():
    config = OmegaConf.create({
        "optimizer": {"name": "adamw", "lr": "${no.such}", "betas": [0.9, "???"], "eps": "???"},
        "groups": [{"ndim": 1, "lr": "${no.such}"}, "???"],
        "scheduler": "???",
    })  # fmt: skip
    assert told(config) == [
        "optimizer.lr: the interpolation leads to no value: Interpolation key 'no.such' not found",
        "optimizer.betas.1: the value is missing ('???'); set it",
        "optimizer.eps: the value is missing ('???'); set it",
        "groups.0.lr: the interpolation leads to no value: Interpolation key 'no.such' not found",
        "groups.1: the value is missing ('???'); set it",
        "scheduler: the value is missing ('???'); set it",
    ]
    plain = OmegaConf.to_container(config.optimizer, resolve=False)
    remedy = "write the value, or pass the resolved configuration"
    assert told({"optimizer": plain, "scheduler": {"name": "???"}})[:3] == [
        f"optimizer.lr: the interpolation '${{no.such}}' is not resolved here; {remedy}",
        "optimizer.eps: the value is missing ('???'); set it",
        "optimizer.betas.1: adamw: betas[1] must be a valid number, not '???'",
    ]


def test_omegaconfs_interpolations_that_lead_somewhere_are_followed():
    config = OmegaConf.create({
        "base": 0.25,
        "spec": {
            "optimizer": {"name": "adamw", "lr": "${base}", "betas": [0.9, 0.95]},
            "groups": [{"match": ["*.bias"], "lr": "${spec.optimizer.lr}"}],
            "scheduler": SCHEDULER,
        },
    })  # fmt: skip
    spec = load_spec(config.spec)
    assert spec == load_spec(OmegaConf.to_container(config, resolve=True)["spec"])
    assert spec.groups[0].settings == {"lr": 0.25}


class Broken(dict):
    def __getitem__(self, key):
        raise RuntimeError("gone\nfor good")


def test_a_mapping_that_cannot_give_a_value_is_told_with_its_place():
    (line, *_) = told({"optimizer": Broken(name="adamw"), "scheduler": SCHEDULER})
    assert line == "optimizer.name: the value cannot be read: RuntimeError: gone"


def test_python_calls_get_the_same_remedies():
    with pytest.raises(SpecError, match="has no parameter 'learning_rate'; did you mean 'lr'"):
        optreg.optimizer("adamw", [], learning_rate=1e-3)

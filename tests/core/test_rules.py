"""What a rule may say besides criteria and plain settings: exclusions, scales of rates, layers, freezing, optimizers."""

import pytest
import torch
from torch import nn

import optreg
from optreg import SpecError


class Net(nn.Module):
    """Embeddings, numbered layers, a norm and a head."""

    def __init__(self, layers=3):
        super().__init__()
        torch.manual_seed(0)
        self.pos_embed = nn.Parameter(torch.ones(4))
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(layers))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def spec(*rules, **settings):
    return {"optimizer": {"name": "adamw", "lr": 1.0, **settings}, "groups": list(rules)}


def by_name(run, key):
    """The value of a setting for each parameter."""
    return {name: group[key] for group in run.optimizer.param_groups for name in group["param_names"]}


def told(*rules, model=None, **settings):
    with pytest.raises(SpecError) as caught:
        optreg.build(spec(*rules, **settings), Net() if model is None else model)
    return [str(problem) for problem in caught.value.problems]


def read_back(*rules, **settings):
    """The rules of the printed spec."""
    read = optreg.load_spec(spec(*rules, **settings))
    assert optreg.load_spec(read) == read
    return read.as_dict()["groups"]


# not


def test_not_leaves_out_what_matches_all_of_one_mapping():
    rule = {"ndim": 1, "not": [{"match": "blocks.*", "type": "LayerNorm"}, {"match": "pos*"}], "lr": 0.5}
    rates = by_name(optreg.build(spec(rule), Net()), "lr")
    slow = [name for name, rate in rates.items() if rate == 0.5]
    assert slow == ["blocks.0.0.bias", "blocks.1.0.bias", "blocks.2.0.bias", "norm.weight", "norm.bias", "head.bias"]


def test_a_parameter_that_a_rule_leaves_out_is_free_for_the_next():
    rules = {"match": "*", "not": {"match": "head.*"}, "lr": 0.5}, {"match": "*", "lr": 0.25}
    assert {name for name, rate in by_name(optreg.build(spec(*rules), Net()), "lr").items() if rate == 0.25} == {
        "head.weight", "head.bias",
    }  # fmt: skip


def test_not_is_printed_as_it_is_read_and_named_in_messages():
    rule = {"match": "*", "not": {"match": "head.*", "ndim": 1}, "lr": 0.5}
    assert read_back(rule) == [{"match": ["*"], "not": [{"match": ["head.*"], "ndim": [1]}], "lr": 0.5}]
    assert str(optreg.load_spec(spec(rule)).groups[0]) == "match: *, not (match: head.*, ndim: 1)"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("head.*", "groups.0.not: 'not' must be a mapping of criteria, such as {match: 'head.*'}, or a list of them"),
        ({}, "groups.0.not: 'not' has no criterion; add one of: match, regex, ndim, type"),
        ([], "groups.0.not: 'not' has no criterion; add one of: match, regex, ndim, type"),
        ({"ndim": "1"}, "groups.0.not.ndim: 'ndim' must be a number of dimensions or a list of them"),
        (
            [{"ndim": 1}, {"mtach": "*"}],
            "groups.0.not.1.mtach: 'not' takes criteria alone, and there is no criterion 'mtach'; did you mean 'match'?",
        ),
        ({"regex": "("}, "groups.0.not.regex: '(' is not a regular expression: "),
        (
            {"match": "haed.*"},
            (
                "the rule 'match: *, not (match: haed.*)': its 'not' number 1 matches no parameter; the model has, for "
                "example, 'head."
            ),
        ),
        (
            {"match": "*"},
            (
                "the rule 'match: *, not (match: *)' (number 1) matches no parameter, because 'not' leaves out all that it "
                "would match"
            ),
        ),
    ],
)
def test_what_is_wrong_with_not_is_told_with_the_remedy(value, message):
    (problem,) = told({"match": "*", "not": value, "lr": 0.5})
    assert problem.startswith(message)


def test_an_exclusion_that_the_rule_would_not_match_anyway_is_no_mistake():
    rates = by_name(optreg.build(spec({"ndim": 2, "not": {"match": "*.bias"}, "lr": 0.5}), Net()), "lr")
    assert rates["head.weight"] == 0.5


def test_names_that_not_asks_for_must_be_known():
    problem = told({"ndim": 2, "not": {"match": "head.*"}, "lr": 0.5}, model=Net().parameters())
    assert problem == [
        (
            "the rule 'ndim: 2, not (match: head.*)' asks for names, but the parameters have none; pass the model or "
            "model.named_parameters()"
        )
    ]


# lr_scale


def test_a_scale_multiplies_the_rate_wherever_that_comes_from():
    rules = {"match": "head.*", "lr_scale": 0.5}, {"match": "*.bias", "lr": 0.25}
    rates = by_name(optreg.build(spec(*rules), Net()), "lr")
    assert (rates["head.weight"], rates["head.bias"], rates["norm.bias"], rates["norm.weight"]) == (0.5, 0.125, 0.25, 1)


def test_an_override_of_the_rate_carries_scaled_groups_along():
    run = optreg.build(spec({"match": "head.*", "lr_scale": 0.1}), Net(), ["optimizer.lr=0.5"])
    assert [group["lr"] for group in run.optimizer.param_groups] == [0.5, 0.05]


def test_a_scale_multiplies_a_rate_that_follows_a_schedule_of_its_own():
    phases = [{"name": "linear", "from": 0.0, "to": 1.0, "for": 4}]
    run = optreg.build(spec({"match": "head.*", "lr_scale": 0.5}, lr=phases), Net())
    seen = []
    for _ in range(5):
        seen.append([group["lr"] for group in run.optimizer.param_groups])
        run.optimizer.step()
        run.scheduler.step()
    assert seen == [[0.0, 0.0], [0.25, 0.125], [0.5, 0.25], [0.75, 0.375], [1.0, 0.5]]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0.1", "'0.1'"), (-0.5, "-0.5"), (True, "true"), (None, "null"), ([0.1], "a list of 1"),
        (float("nan"), "nan"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_a_scale_is_a_number_of_at_least_zero(value, shown):
    (problem,) = told({"match": "head.*", "lr_scale": value})
    assert problem == f"groups.0.lr_scale: 'lr_scale' must be a number, 0 or more, such as 0.1, not {shown}"


@pytest.mark.parametrize("field", ["low: NonNegative = 0.0", "lr: Literal['fast', 'slow'] = 'fast'"])
def test_a_scale_needs_an_optimizer_with_a_rate(optimizer, field):
    optimizer("rateless", field)
    with pytest.raises(SpecError) as caught:
        optreg.load_spec({"optimizer": {"name": "rateless"}, "groups": [{"match": "*", "lr_scale": 0.5}]})
    assert str(caught.value) == "groups.0.lr_scale: 'lr_scale' multiplies the lr, and rateless has none; leave it out"


def test_a_scale_that_the_schedule_overrides_is_an_error():
    data = spec({"match": "head.*", "lr_scale": 0.5})
    with pytest.raises(SpecError, match=r"groups\.0\.lr_scale: .*torch.OneCycleLR"):
        optreg.load_spec({**data, "scheduler": {"name": "torch.OneCycleLR", "max_lr": 1.0, "total_steps": 9}})


# layer_decay

DECAY = {"layers": "blocks.{layer}.*", "embeddings": "pos_embed", "layer_decay": 0.5}


def test_rates_decay_from_the_head_to_the_embeddings():
    rates = by_name(optreg.build(spec(DECAY), Net(3)), "lr")
    powers = {"pos_embed": 4, "blocks.0": 3, "blocks.1": 2, "blocks.2": 1, "norm": 0, "head": 0}
    for part, power in powers.items():
        assert {rate for name, rate in rates.items() if name.startswith(part)} == {0.5**power}, part


def test_there_is_one_group_for_each_rate_from_the_embeddings_up():
    groups = optreg.build(spec(DECAY), Net(12)).optimizer.param_groups
    assert [group["lr"] for group in groups] == [1.0] + [0.5**power for power in range(13, 0, -1)]
    assert groups[1]["param_names"] == ["pos_embed"]


def test_other_rules_combine_with_a_decay_by_layer():
    rules = {"ndim": 1, "weight_decay": 0.0}, {"match": "blocks.*", "lr_scale": 0.5}
    run = optreg.build(spec(*rules, {**DECAY, "eps": 0.25}, weight_decay=0.5), Net())
    rates, decays, eps = (by_name(run, key) for key in ("lr", "weight_decay", "eps"))
    assert (rates["blocks.2.0.weight"], decays["blocks.2.0.weight"], eps["blocks.2.0.weight"]) == (0.25, 0.5, 0.25)
    assert (rates["blocks.2.0.bias"], decays["blocks.2.0.bias"]) == (0.25, 0.0)
    assert (rates["pos_embed"], eps["pos_embed"], eps["head.bias"]) == (0.0625, 0.25, 1e-8)


def test_a_decay_by_layer_may_be_for_some_parameters_only():
    rule = {**DECAY, "type": "Linear"}
    del rule["embeddings"]
    rates = by_name(optreg.build(spec(rule), Net()), "lr")
    assert (rates["blocks.0.0.weight"], rates["blocks.0.1.weight"], rates["pos_embed"]) == (0.125, 1.0, 1.0)


def test_each_of_two_towers_has_its_own_decay():
    model = nn.ModuleDict({"image": Net(2), "text": Net(3)})
    rules = [
        {"layers": f"{tower}.blocks.{{layer}}.*", "embeddings": f"{tower}.pos_embed", "layer_decay": decay}
        for tower, decay in (("image", 0.5), ("text", 0.25))
    ]
    rates = by_name(optreg.build(spec(*rules), model), "lr")
    assert rates["image.pos_embed"] == 0.5**3
    assert rates["text.pos_embed"] == 0.25**4
    assert rates["text.blocks.2.1.bias"] == 0.25


def test_a_decay_by_layer_is_printed_as_it_is_read():
    assert read_back(DECAY) == [
        {"layers": ["blocks.{layer}.*"], "embeddings": ["pos_embed"], "layer_decay": 0.5},
    ]
    said = str(optreg.load_spec(spec({**DECAY, "ndim": 2})).groups[0])
    assert said == "ndim: 2, layers: blocks.{layer}.*, embeddings: pos_embed"


def test_numbers_of_layers_are_numbers_and_not_texts():
    model = Net(11)
    rates = by_name(optreg.build(spec({"layers": "b*s.{layer}.[01].*", "layer_decay": 0.5}), model), "lr")
    assert (rates["blocks.10.0.weight"], rates["blocks.9.0.weight"], rates["blocks.0.1.bias"]) == (0.5, 0.25, 0.5**11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layers": "blocks.*"},
            (
                "groups.0.layers: has no place for the number of the layer in 'blocks.*'; write it once, as in "
                "'blocks.{layer}.*'"
            ),
        ),
        ({"layers": ["blocks.{layer}.*", "[{layer}]"]}, "groups.0.layers.1: has no place for the number of the layer"),
        ({"layers": 3}, "groups.0.layers: 'layers' must be a string or a list of strings"),
        ({"layer_decay": 1.5}, "groups.0.layer_decay: 'layer_decay' must be a number, above 0 and at most 1, such as"),
        ({"layer_decay": 0}, "groups.0.layer_decay: 'layer_decay' must be a number, above 0 and at most 1, such as"),
        (
            {"layers": "blok.{layer}.*"},
            (
                "the rule 'layers: blok.{layer}.*, embeddings: pos_embed': 'blok.{layer}.*' of 'layers' matches no "
                "parameter; the model has, for example, 'blocks."
            ),
        ),
        (
            {"embeddings": "posembed"},
            (
                "the rule 'layers: blocks.{layer}.*, embeddings: posembed': 'posembed' of 'embeddings' matches no parameter; "
                "the model has, for example, 'pos_embed'"
            ),
        ),
        (
            {"embeddings": ["pos_embed", "blocks.0.*"]},
            (
                "the rule 'layers: blocks.{layer}.*, embeddings: pos_embed, blocks.0.*': the patterns disagree about "
                "'blocks.0.0.weight': 'blocks.{layer}.*' says layer 0 and 'blocks.0.*' says embeddings; let only one of "
                "them match it"
            ),
        ),
        (
            {"layers": ["blocks.{layer}.*", "*.*.{layer}.bias"]},
            (
                "the rule 'layers: blocks.{layer}.*, *.*.{layer}.bias, embeddings: pos_embed': the patterns disagree about "
                "'blocks.0.1.bias': 'blocks.{layer}.*' says layer 0 and '*.*.{layer}.bias' says layer 1"
            ),
        ),
    ],
)
def test_what_is_wrong_with_layers_is_told_with_the_remedy(changes, message):
    (problem,) = told({**DECAY, **changes})
    assert problem.startswith(message)


def test_a_hole_in_the_numbers_of_layers_is_told():
    model = Net(6)
    model.blocks[2], model.blocks[4] = nn.Identity(), nn.Identity()
    assert told(DECAY, model=model) == [
        (
            "the rule 'layers: blocks.{layer}.*, embeddings: pos_embed': layers 2, 4 are missing: layers are numbered from "
            "0 to the last, here 5, without holes; write a pattern that matches them, with {layer} where the number of the "
            "layer stands"
        )
    ]
    model.blocks[4] = nn.Linear(4, 4)
    assert "layer 2 is missing" in told(DECAY, model=model)[0]


def test_layers_and_their_decay_belong_together():
    without = told({"layers": "blocks.{layer}.*", "embeddings": "pos_embed", "lr": 0.5})
    remedy = "is there for a decay of the rate by layer; add 'layer_decay: 0.75'"
    assert without == [f"groups.0.layers: 'layers' {remedy}"]
    assert told({"layers": "blocks.{layer}.*"}) == [f"groups.0.layers: 'layers' {remedy}"]
    assert told({"match": "*", "embeddings": "pos_embed"}) == [f"groups.0.embeddings: 'embeddings' {remedy}"]
    assert told({"match": "*", "layer_decay": 0.5}) == [
        "groups.0.layer_decay: 'layer_decay' needs the patterns of the layers; add layers: 'blocks.{layer}.*'"
    ]


def test_a_parameter_that_is_tied_across_layers_is_told():
    model = Net()
    model.blocks[0][0].weight = model.blocks[2][0].weight
    (problem,) = told(DECAY, model=model)
    assert problem.startswith("a tied parameter has several names and rules disagree about its layer_decay: ")
    assert "'blocks.0.0.weight' matches rule 1" in problem


# freeze: true


def test_freezing_for_good_is_done_at_build_and_leaves_the_groups_as_they_are():
    frozen, free = Net(), Net()
    decay = {"ndim": 1, "weight_decay": 0.0}
    run = optreg.build(spec(decay, {"match": "blocks.*", "freeze": True}), frozen)
    other = optreg.build(spec(decay), free)
    assert [group["param_names"] for group in run.optimizer.param_groups] == [
        group["param_names"] for group in other.optimizer.param_groups
    ]
    names = [name for name, param in frozen.named_parameters() if not param.requires_grad]
    assert names == [name for name, _ in free.named_parameters() if name.startswith("blocks.")]
    before = frozen.blocks[0][0].weight.detach().clone()
    frozen(torch.ones(2, 4)).square().sum().backward()
    run.optimizer.step()
    assert torch.equal(frozen.blocks[0][0].weight, before)
    assert not any(run.optimizer.state.get(param) for param in frozen.blocks.parameters())


def test_an_earlier_rule_may_keep_parameters_from_being_frozen():
    model = Net()
    optreg.build(
        spec({"match": "*.1.*", "type": "LayerNorm", "freeze": False}, {"match": "blocks.*", "freeze": True}), model
    )
    assert [name for name, param in model.blocks.named_parameters() if param.requires_grad] == [
        f"{layer}.1.{kind}" for layer in range(3) for kind in ("weight", "bias")
    ]


def test_freezing_is_printed_as_it_is_read():
    assert read_back({"match": "head.*", "freeze": True}) == [{"match": ["head.*"], "freeze": True}]
    assert read_back({"match": "head.*", "freeze": 3}) == [{"match": ["head.*"], "freeze": 3}]
    assert optreg.load_spec(spec({"match": "*", "freeze": True})) != optreg.load_spec(spec({"match": "*", "freeze": 1}))


def test_freezing_everything_is_an_error_and_leaves_the_model_alone():
    model = Net()
    problem = "the rules freeze every parameter of the model; there is nothing to train"
    assert told({"match": "*", "freeze": True}, model=model) == [problem]
    assert all(param.requires_grad for param in model.parameters())


def test_what_an_optimizer_does_not_take_may_be_frozen():
    model = nn.Linear(2, 2)
    data = {"optimizer": {"name": "torch.Muon", "lr": 0.5}, "groups": [{"ndim": 1, "freeze": True}]}
    assert [group["param_names"] for group in optreg.build(data, model).optimizer.param_groups] == [["weight"]]


@pytest.mark.parametrize("value", ["soon", 1.5, -1, None, [3]])
def test_how_long_a_rule_freezes_is_true_or_a_quantity(value):
    (problem,) = told({"match": "head.*", "freeze": value})
    assert problem.startswith("groups.0.freeze: 'freeze' ")
    assert problem.endswith("; or write true to freeze for good")


# optimizer


MUON = {"ndim": 2, "not": {"match": "head.*"}, "optimizer": {"name": "torch.Muon", "lr": 0.5, "weight_decay": 0.25}}


def groups_of(*rules, model=None, **settings):
    read = optreg.load_spec(spec(*rules, **settings))
    return optreg.groups.partition(Net() if model is None else model, read.groups, read.optimizer)


def test_a_rule_may_give_its_parameters_another_optimizer():
    others, matrices = groups_of(MUON)
    assert (others.component.name, matrices.component.name) == ("adamw", "torch.Muon")
    assert [member.name for member in matrices.members] == [f"blocks.{layer}.0.weight" for layer in range(3)]
    assert matrices.settings == {}
    assert matrices.component.settings["lr"] == 0.5


def test_settings_of_other_rules_apply_where_the_optimizer_has_them():
    rules = {"match": "blocks.*", "lr_scale": 0.5, "weight_decay": 0.0}, {"match": "blocks.0.*", "eps": 0.125}
    found = {
        (group.component.name, tuple(sorted(group.settings.items()))): len(group.members)
        for group in groups_of(MUON, *rules, {"match": "blocks.0.*", "betas": [0.5, 0.5]})
    }
    assert found == {
        ("adamw", ()): 5,
        ("torch.Muon", (("eps", 0.125), ("lr", 0.25), ("weight_decay", 0.0))): 1,
        ("torch.Muon", (("lr", 0.25), ("weight_decay", 0.0))): 2,
        ("adamw", (("betas", (0.5, 0.5)), ("eps", 0.125), ("lr", 0.5), ("weight_decay", 0.0))): 3,
        ("adamw", (("lr", 0.5), ("weight_decay", 0.0))): 6,
    }


def test_a_setting_that_no_optimizer_of_the_spec_has_is_an_error():
    (problem,) = told({"match": "blocks.*", "momentum": 0.5})
    assert problem.startswith("groups.0.momentum: adamw has no parameter 'momentum'; choose from: match, ")
    assert len(groups_of(MUON, {"match": "blocks.*.weight", "momentum": 0.5})) == 2


def test_a_setting_that_reaches_only_parameters_whose_optimizer_lacks_it_is_an_error():
    assert told(MUON, {"match": "blocks.*.0.weight", "betas": [0.5, 0.5], "lr": 0.125}) == [
        (
            "the rule 'match: blocks.*.0.weight' states 'betas' for parameters whose optimizer has no 'betas'; remove it, or "
            "let it match others"
        )
    ]


def test_values_that_rules_give_together_are_checked(optimizer):
    optimizer("joint", "low: NonNegative = 0.0\nhigh: NonNegative = 1.0\n\ndef __post_init__(self):\n"
              "    if self.low > self.high:\n        raise ValueError('low must not be more than high')")  # fmt: skip
    rules = [{"match": "head.*", "low": 0.75}, {"ndim": 1, "high": 0.5}]
    with pytest.raises(SpecError) as caught:
        optreg.build({"optimizer": {"name": "joint"}, "groups": rules}, Net())
    assert str(caught.value) == (
        "joint: low must not be more than high, by the rules 'match: head.*' and 'ndim: 1' together"
    )


def test_a_rate_that_a_scale_makes_wrong_is_told(optimizer):
    optimizer("still", "lr: float = 1.0\n\ndef __post_init__(self):\n"
              "    if self.lr == 0:\n        raise ValueError('lr must not be 0')")  # fmt: skip
    with pytest.raises(SpecError) as caught:
        optreg.build({"optimizer": {"name": "still"}, "groups": [{"match": "head.*", "lr_scale": 0}]}, Net())
    assert str(caught.value) == "still: lr must not be 0, by the rule 'match: head.*'"


def test_a_value_that_is_wrong_for_an_optimizer_of_a_rule_is_told(optimizer):
    optimizer("narrow", "lr: NonNegative = 1.0\nweight_decay: NonNegative = 0.0\n\ndef __post_init__(self):\n"
              "    if self.weight_decay > 0.5:\n        raise ValueError('weight_decay is too large')")  # fmt: skip
    rules = {"match": "head.*", "optimizer": {"name": "narrow"}}, {"ndim": 2, "weight_decay": 0.75}
    assert told(*rules) == ["narrow: weight_decay is too large, by the rules 'match: head.*' and 'ndim: 2' together"]


def test_an_optimizer_of_a_rule_is_judged_by_its_own_declaration():
    assert told({**MUON, "ndim": [1, 2]}) == [
        (
            "torch.Muon, the optimizer of the rule 'ndim: 1, 2, not (match: head.*)', takes real parameters of 2 dimensions, "
            "but 'pos_embed' has 1, 'blocks.0.0.bias' has 1, 'blocks.0.1.weight' has 1, 'blocks.0.1.bias' has 1, "
            "'blocks.1.0.bias' has 1 and 7 more; leave them out of the rule, for example with 'ndim: 2', or freeze them"
        )
    ]
    frozen = {"match": "*", "not": {"match": "*.0.weight"}, "freeze": True}
    assert len(groups_of({**MUON, "ndim": [1, 2]}, frozen)) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("torch.Muon", "groups.0.optimizer: 'optimizer' must be a mapping: 'name: ...' and the hyperparameters"),
        ({"lr": 1.0}, "groups.0.optimizer.name: the optimizer's 'name' is missing; choose from: "),
        ({"name": "muno"}, "groups.0.optimizer.name: "),
        ({"name": "lion", "lrr": 1.0}, "groups.0.optimizer.lrr: lion has no parameter 'lrr'; did you mean 'lr'?"),
        ({"name": "lion", "lr": -1}, "groups.0.optimizer.lr: lion: lr must be greater than or equal to 0, not -1"),
    ],
)
def test_an_optimizer_of_a_rule_is_checked_as_the_section_is(value, message):
    (problem,) = told({"ndim": 2, "optimizer": value})
    assert problem.startswith(message)


def test_an_optimizer_of_a_rule_is_complete_in_the_printed_spec():
    (rule,) = read_back(MUON)
    assert rule["optimizer"]["name"] == "torch.Muon"
    assert rule["optimizer"]["momentum"] == 0.95


# All of them


@pytest.mark.parametrize("key", ["lr_scale", "layer_decay", "freeze", "optimizer", "not", "layers"])
def test_a_value_that_is_still_to_come_is_told_as_such(key):
    rule = {**DECAY, "match": "blocks.*"}
    assert told({**rule, key: "???"}) == [f"groups.0.{key}: the value is missing ('???'); set it"]
    (problem,) = told({**rule, key: "${scale}"})
    assert problem.startswith(f"groups.0.{key}: the interpolation '${{scale}}' is not resolved here")


def test_no_hyperparameter_may_have_the_name_of_a_key_of_rules(optimizer):
    for name in ("layers", "embeddings", "layer_decay", "lr_scale", "freeze", "freeze_steps", "optimizer"):
        optimizer(f"odd_{name}", f"{name}: float = 1.0")
        with pytest.raises(optreg.PluginError, match=f"names are reserved in specs: {name}$"):
            optreg.Registry().optimizer(f"odd_{name}")

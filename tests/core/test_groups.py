"""Param groups: rules that combine, every parameter exactly once."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import optreg
from optreg import Position, SpecError
from optreg.criteria import NamedParameter, matcher
from optreg.groups import partition
from optreg.spec import Rule

ADAMW = optreg.load_spec({"optimizer": {"name": "adamw"}}).optimizer

rates = itertools.count(1)


def asking(where=None, **criteria):
    """A rule that sets a rate like no other rule's."""
    return Rule(tuple(criteria.items()), (("lr", 1 / next(rates)),), where=where)


def setting(criteria, **settings):
    return Rule(tuple(criteria.items()), tuple(settings.items()))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.linear = nn.Linear(4, 4)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.block = Block()
        self.head = nn.Linear(4, 5, bias=False)


def grouped(model, *rules):
    """The names in each group, with the number of the rule that sets its rate."""
    numbers = {rule.settings["lr"]: number for number, rule in enumerate(rules)}
    groups = partition(model, rules, ADAMW)
    return {numbers.get(group.settings.get("lr")): [m.name for m in group.members] for group in groups}


def refused(model, *rules):
    with pytest.raises(SpecError) as caught:
        partition(model, rules, ADAMW)
    return [str(problem) for problem in caught.value.problems]


def test_without_rules_all_parameters_are_one_group():
    assert grouped(Small()) == {None: [name for name, _ in Small().named_parameters()]}


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (asking(match=("*.bias",)), ["block.norm.bias", "block.linear.bias"]),
        (asking(match=("head.*", "embed.weight")), ["embed.weight", "head.weight"]),
        (asking(regex=("norm|head",)), ["block.norm.weight", "block.norm.bias", "head.weight"]),
        (asking(ndim=(1,)), ["block.norm.weight", "block.norm.bias", "block.linear.bias"]),
        (asking(type=("LayerNorm",)), ["block.norm.weight", "block.norm.bias"]),
        (asking(type=("*Norm", "Embedding")), ["embed.weight", "block.norm.weight", "block.norm.bias"]),
        (asking(type=("Linear",), ndim=(2,)), ["block.linear.weight", "head.weight"]),
        (asking(match=("*.weight",), type=("Linear",), regex=("^head",)), ["head.weight"]),
    ],
)
def test_a_rule_matches_by_name_dimensions_and_type_all_of_them(rule, names):
    assert grouped(Small(), rule)[0] == names


def test_a_type_also_matches_subclasses():
    MyNorm = type("MyNorm", (nn.LayerNorm,), {})
    assert grouped(nn.Sequential(nn.Linear(2, 2), MyNorm(2)), asking(type=("LayerNorm",)))[0] == ["1.weight", "1.bias"]


def test_of_one_setting_the_first_match_wins_and_the_unmatched_come_first():
    rules = asking(match=("*.bias",)), asking(ndim=(1,)), asking(match=("head.*",))
    assert list(grouped(Small(), *rules).items()) == [
        (None, ["embed.weight", "block.linear.weight"]),
        (0, ["block.norm.bias", "block.linear.bias"]),
        (1, ["block.norm.weight"]),
        (2, ["head.weight"]),
    ]


def test_a_rule_that_matches_nothing_is_an_error_with_its_place_and_examples():
    rule = asking(match=("*.layernorm.*", "*bais"), where=Position("run.yaml", 7, 5))
    (problem,) = refused(Small(), asking(ndim=(1,)), rule)
    assert problem.startswith("run.yaml:7:5: the rule 'match: *.layernorm.*, *bais' (number 2) matches no parameter; ")
    assert "the model has, for example, '" in problem
    assert "'block.linear.weight'" in refused(Small(), asking(match=("*linear.wieght",)))[0]


def test_a_rule_of_which_no_setting_reaches_a_parameter_is_an_error():
    (problem,) = refused(Small(), asking(ndim=(1,)), asking(match=("*.bias",)))
    message = "matches 2 parameters, but earlier rules already set lr there; move it up or remove it"
    assert problem == f"the rule 'match: *.bias' {message}"


def tied():
    model = Small()
    model.head.weight = model.embed.weight
    return model


def test_a_tied_parameter_is_in_one_group_once_and_a_rule_may_use_any_of_its_names():
    assert grouped(tied())[None].count("embed.weight") == 1
    assert "head.weight" not in grouped(tied())[None]
    assert grouped(tied(), asking(match=("head.*",)))[0] == ["embed.weight"]
    assert grouped(tied(), asking(match=("embed.*", "head.*")))[0] == ["embed.weight"]


def test_rules_that_disagree_about_a_tied_parameter_are_an_error():
    rules = asking(match=("embed.*",)), asking(match=("head.*",), where=Position("run.yaml", 9, 5))
    problem = refused(tied(), *rules)[0]
    assert problem.startswith("run.yaml:9:5: a tied parameter has several names and rules disagree about its lr: ")
    assert "'embed.weight' matches rule 1 (match: embed.*), 'head.weight' matches rule 2 (match: head.*)" in problem
    assert grouped(tied(), asking(match=("embed.*", "head.*")), asking(ndim=(1,)))[0] == ["embed.weight"]


def test_rules_combine_setting_by_setting_in_any_order():
    decay = setting({"match": ("*.bias", "*norm*")}, weight_decay=0.0)
    slow = setting({"match": ("block.*",)}, lr=0.5)
    for rules in ((decay, slow), (slow, decay)):
        found = {
            tuple(member.name for member in group.members): group.settings for group in partition(Small(), rules, ADAMW)
        }
        assert found == {
            ("embed.weight", "head.weight"): {},
            ("block.norm.weight", "block.norm.bias", "block.linear.bias"): {"weight_decay": 0.0, "lr": 0.5},
            ("block.linear.weight",): {"lr": 0.5},
        }


def test_each_setting_comes_from_the_first_rule_that_states_it():
    rules = (
        setting({"match": ("*.bias",)}, weight_decay=0.0),
        setting({"ndim": (1,)}, weight_decay=0.5, lr=0.25),
        setting({"match": ("*",)}, lr=0.125, eps=0.0625),
    )
    biases, norm, others = partition(Small(), rules, ADAMW)
    assert others.settings == {"lr": 0.125, "eps": 0.0625}
    assert biases.settings == {"weight_decay": 0.0, "lr": 0.25, "eps": 0.0625}
    assert norm.settings == {"weight_decay": 0.5, "lr": 0.25, "eps": 0.0625}
    assert biases.rules == {"weight_decay": (rules[0],), "lr": (rules[1],), "eps": (rules[2],)}


def test_parameters_with_equal_settings_are_one_group_whichever_rules_gave_them():
    rules = (
        setting({"match": ("*.bias",)}, weight_decay=0.0),
        setting({"match": ("head.*",)}, lr=0.5),
        setting({"type": ("LayerNorm",)}, weight_decay=0.0),
    )
    rest, plain, head = partition(Small(), rules, ADAMW)
    assert [member.name for member in plain.members] == ["block.norm.weight", "block.norm.bias", "block.linear.bias"]
    assert plain.rules == {"weight_decay": (rules[0], rules[2])}
    assert str(plain) == "match: *.bias; type: LayerNorm"
    assert [member.name for member in rest.members] == ["embed.weight", "block.linear.weight"]
    assert [member.name for member in head.members] == ["head.weight"]


def test_groups_stand_in_the_order_of_the_rules_that_made_them():
    rules = (
        setting({"match": ("head.*",)}, lr=0.5),
        setting({"match": ("*.weight",)}, weight_decay=0.25),
        setting({"match": ("*norm*",)}, eps=0.5),
    )
    groups = partition(Small(), rules, ADAMW)
    made_by = [sorted({rules.index(rule) for given in group.rules.values() for rule in given}) for group in groups]
    assert made_by == [[], [0, 1], [1], [1, 2], [2]]


def test_rules_that_combine_reach_the_optimizer():
    model = Small()
    rules = [{"match": "block.*", "lr": 0.5}, {"ndim": 1, "weight_decay": 0.0}]
    optimizer = optreg.optimizer("adamw", model, lr=0.1, weight_decay=0.25, groups=rules)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.1, 0.25), (0.5, 0.25), (0.5, 0.0),
    ]  # fmt: skip


def test_a_rule_that_sets_nothing_is_an_error():
    (problem,) = refused(Small(), setting({"match": ("head.*",)}))
    assert problem == "the rule 'match: head.*' sets nothing; add a setting, such as 'weight_decay: 0'"
    with pytest.raises(SpecError, match=r"groups\.0: the rule sets nothing; add a setting"):
        optreg.optimizer("adamw", Small(), groups=[{"ndim": 1}])


def test_rules_that_set_different_things_or_the_same_agree_about_a_tied_parameter():
    embed, head = {"match": ("embed.*",)}, {"match": ("head.*",)}
    rules = setting(embed, lr=0.5), setting(head, weight_decay=0.0)
    assert partition(tied(), rules, ADAMW)[1].settings == {"lr": 0.5, "weight_decay": 0.0}
    rules = setting(embed, lr=0.5), setting(head, lr=0.5, eps=0.25)
    assert partition(tied(), rules, ADAMW)[1].settings == {"lr": 0.5, "eps": 0.25}


def test_frozen_parameters_are_in_the_groups_that_the_rules_give_them():
    model = Small()
    rules = asking(match=("embed.*",)), asking(ndim=(1,))
    before = grouped(model, *rules)
    model.embed.requires_grad_(False)
    model.block.norm.weight.requires_grad_(False)
    assert grouped(model, *rules) == before
    assert before[0] == ["embed.weight"]


def test_weights_in_integers_are_in_no_group_and_a_rule_may_match_them_alone():
    model = Small()
    model.head.weight = nn.Parameter(torch.ones(5, 4, dtype=torch.uint8), requires_grad=False)
    assert grouped(model, asking(match=("head.*",)), asking(ndim=(1,))) == {
        None: ["embed.weight", "block.linear.weight"],
        1: ["block.norm.weight", "block.norm.bias", "block.linear.bias"],
    }


def test_a_model_with_nothing_to_train_is_an_error():
    assert refused(Small().requires_grad_(False)) == [
        "no parameter of the model has requires_grad=True; there is nothing to train"
    ]


def test_named_parameters_and_bare_ones_will_do():
    model = Small()
    assert grouped(model.named_parameters(), asking(match=("*.bias",))) == grouped(model, asking(match=("*.bias",)))
    groups = partition(model.parameters(), [asking(ndim=(1,))], ADAMW)
    assert [len(group.members) for group in groups] == [3, 3]
    assert all(isinstance(param, nn.Parameter) for param in groups[0].as_param_group()["params"])


def test_rules_that_ask_for_more_than_was_given_are_errors():
    model = Small()
    assert "pass the model or model.named_parameters()" in refused(model.parameters(), asking(match=("*",)))[0]
    assert "pass the model itself" in refused(model.named_parameters(), asking(type=("Linear",)))[0]


def test_groups_carry_names_and_settings_into_the_optimizer():
    model = Small()
    optimizer = optreg.optimizer("adamw", model, lr=0.1, groups=[{"ndim": 1, "weight_decay": 0.0, "lr": 0.5}])
    scheduler = optreg.scheduler("constant", optimizer, factor=0.5)
    first, second = optimizer.param_groups
    assert second["param_names"] == ["block.norm.weight", "block.norm.bias", "block.linear.bias"]
    assert (first["weight_decay"], second["weight_decay"]) == (0.01, 0.0)
    assert scheduler.get_last_lr() == [0.05, 0.25]


globs = st.sampled_from(["*", "*.bias", "*norm*", "head.*", "embed.*", "nothing", "*.weight"])
rules = st.fixed_dictionaries(
    {},
    optional={
        "match": st.lists(globs, min_size=1, max_size=2).map(tuple),
        "ndim": st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple),
        "type": st.lists(st.sampled_from(["Linear", "LayerNorm", "Module"]), min_size=1, max_size=1).map(tuple),
    },
).map(lambda criteria: asking(**criteria))


@given(st.lists(rules, max_size=4), st.booleans(), st.sets(st.integers(0, 5), max_size=5))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_every_parameter_is_in_exactly_one_group_frozen_or_not(chosen, tie, frozen):
    model = tied() if tie else Small()
    for index, param in enumerate(model.parameters()):
        param.requires_grad_(index not in frozen)
    try:
        groups = partition(model, chosen, ADAMW)
    except SpecError:
        return
    found = [id(member.param) for group in groups for member in group.members]
    assert sorted(found) == sorted(id(param) for param in model.parameters())
    assert all(group.members for group in groups)
    assert torch.optim.SGD([group.as_param_group() for group in groups], lr=1.0)


stated = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.sampled_from([0.5, 0.25]),
        "weight_decay": st.sampled_from([0.0, 0.125]),
        "lr_scale": st.sampled_from([0.5, 2.0]),
        "freeze": st.sampled_from([0, 3]),
    },
)


@given(st.lists(st.tuples(rules, stated), max_size=4))
@settings(derandomize=True, max_examples=300, deadline=None)
def test_each_parameter_has_what_the_first_matching_rules_state_setting_by_setting(drawn):
    chosen = [Rule(rule.criterion_pairs, tuple(own.items())) for rule, own in drawn if rule.criterion_pairs]
    model = Small()
    try:
        groups = partition(model, chosen, ADAMW)
    except SpecError:
        return
    found = {member.name: group for group in groups for member in group.members}
    for module in model.modules():
        for name, param in model.named_parameters():
            if not any(param is own for own in module.parameters(recurse=False)):
                continue
            seen = NamedParameter(name, type(module), param)
            matching = [rule.settings for rule in chosen if matcher(rule.criteria)(seen)]
            first = {key: value for rule in reversed(matching) for key, value in rule.items()}
            scale, freeze = first.pop("lr_scale", None), first.pop("freeze", 0)
            if scale is not None:
                first["lr"] = first.get("lr", ADAMW.settings["lr"]) * scale
            if freeze:
                first["freeze_steps"] = freeze
            assert found[name].settings == first, name
    assert len({group.pairs for group in groups}) == len(groups)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "not NoneType"),
        ([1], "this contains int"),
        (torch.nn.Parameter(torch.ones(2, 2)), "not Parameter"),
        ([("a", torch.nn.Parameter(torch.ones(2)), 3)], "this contains tuple"),
        ([(1, torch.nn.Parameter(torch.ones(2)))], "this contains tuple"),
    ],
)
def test_what_is_no_model_is_told_so(model, message):
    with pytest.raises(TypeError, match=f"a model is a module, named parameters or parameters.*{message}"):
        partition(model, [], ADAMW)


class Twice(nn.Module):
    """One block under two names, and a parameter of the model's own."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.scale = nn.Parameter(torch.ones(()))


def test_a_module_under_two_names_gives_each_of_its_parameters_two():
    (group,) = partition(Twice(), [], ADAMW)
    assert [member.names for member in group.members] == [
        ["scale"],
        ["first.0.weight", "second.0.weight"],
        ["first.0.bias", "second.0.bias"],
        ["first.1.weight", "second.1.weight"],
        ["first.1.bias", "second.1.bias"],
    ]


def test_a_rule_on_the_second_name_of_a_module_takes_its_parameters_unless_an_earlier_one_does():
    linear, norm = ["first.0.weight", "first.0.bias"], ["first.1.weight", "first.1.bias"]
    second = asking(match=("second.*",))
    assert grouped(Twice(), second) == {None: ["scale"], 0: linear + norm}
    assert grouped(Twice(), asking(type=("*Norm",)), second, asking(ndim=(0,))) == {0: norm, 1: linear, 2: ["scale"]}


def test_every_tied_parameter_that_rules_disagree_about_is_told():
    problems = refused(Twice(), asking(match=("first.*",)), asking(match=("second.*",)))
    said = [problem for problem in problems if "disagree" in problem]
    assert len(said) == 4
    assert "'first.1.bias' matches rule 1 (match: first.*), 'second.1.bias' matches rule 2 (match: s" in said[3]


def test_pairs_that_give_a_parameter_two_names_hold_it_once():
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    rest, chosen = partition([("a", weight), ("b", bias), ("c", weight)], [asking(match=("c",))], ADAMW)
    assert [member.name for member in rest.members] == ["b"]
    assert [member.names for member in chosen.members] == [["a", "c"]]


def test_a_parameter_given_twice_without_names_is_held_once():
    weight = nn.Parameter(torch.ones(2))
    (group,) = partition(iter([weight, weight]), [], ADAMW)
    assert [id(param) for param in group.as_param_group()["params"]] == [id(weight)]


def test_the_order_of_groups_is_the_order_of_rules_whatever_the_model_says_first():
    model = Twice()
    for rules in ([{"ndim": 0}, {"ndim": 1}], [{"ndim": 1}, {"ndim": 0}]):
        rules = [{**rule, "lr": float(number + 1)} for number, rule in enumerate(rules)]
        optimizer = optreg.optimizer("lion", model, lr=9.0, groups=rules)
        assert [group["lr"] for group in optimizer.param_groups] == [9.0, 1.0, 2.0]
        scheduler = optreg.scheduler("constant", optimizer, factor=0.5)
        assert scheduler.base_lrs == [9.0, 1.0, 2.0]
        assert scheduler.get_last_lr() == [4.5, 0.5, 1.0]


def test_parameters_of_which_some_have_names_are_built_without():
    model = torch.nn.Linear(2, 2)
    groups = [{"ndim": 1, "lr": 0.5}]
    optimizer = optreg.optimizer("adamw", [("weight", model.weight), model.bias], groups=groups)
    assert [group["params"] for group in optimizer.param_groups] == [[model.weight], [model.bias]]
    assert all("param_names" not in group for group in optimizer.param_groups)

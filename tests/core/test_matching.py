"""Which rules match a parameter: the same ones as by trying every rule, with far fewer tries."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import optreg
from optreg import Position, SpecError, criteria
from optreg.criteria import NamedParameter, matcher
from optreg.groups import partition
from optreg.matching import Matching
from optreg.spec import Rule

TENSOR = torch.ones(2)
ADAMW = optreg.load_spec({"optimizer": {"name": "adamw"}}).optimizer
LR = (("lr", 0.5),)

words = st.text("ab.*?[]!", min_size=1, max_size=5)
asked = st.fixed_dictionaries(
    {"match": st.lists(words, min_size=1, max_size=3).map(tuple)}, optional={"ndim": st.sampled_from([(1,), (2,)])}
)


@given(st.lists(asked, max_size=5), st.text("ab.[]!", max_size=6))
@settings(derandomize=True, max_examples=1000, deadline=None)
def test_the_rules_that_match_are_those_found_by_trying_all(asked, name):
    parameter = NamedParameter(name, nn.Linear, TENSOR)
    found = Matching([Rule(tuple(each.items())) for each in asked]).of(parameter)
    assert found == [number for number, each in enumerate(asked) if matcher(each)(parameter)]


@pytest.mark.parametrize("form", ["{}.{}", "{}.{}*", "*{}.{}", "{}.*{}"])
def test_thousands_of_rules_are_not_each_tried_on_thousands_of_parameters(monkeypatch, form):
    tries = 0

    def counted(asked):
        test = matcher(asked)

        def counting(parameter):
            nonlocal tries
            tries += 1
            return test(parameter)

        return counting

    monkeypatch.setattr("optreg.matching.matcher", counted)
    layers = 300
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(layers)))
    asked = [form.format(n, kind) for n in range(layers) for kind in ("weight", "bias")]
    asked.sort(key=len, reverse=True)  # `*12.bias` before `*2.bias`
    rules = [Rule((("match", (glob,)),), (("lr", float(n)),)) for n, glob in enumerate(asked)]
    assert len(partition(model, rules, ADAMW)) == 2 * layers
    assert tries <= 3 * 2 * layers  # `2.bias`, `12.bias` and `112.bias` for one name; all would be 600 times 600


ENDLESS = "^(?:[a-z]|[a-z]{2})+$"


@pytest.mark.timeout(60)  # without a bound, it takes hours
def test_a_pattern_that_would_never_end_is_refused_at_its_place_with_the_remedy(monkeypatch):
    monkeypatch.setattr(criteria, "PATIENCE", 0.2)
    rule = Rule((("regex", (ENDLESS,)),), LR, where=Position("run.yaml", 4, 5))
    with pytest.raises(SpecError) as caught:
        partition([("a" * 40 + "1", nn.Parameter(torch.ones(2)))], [rule], ADAMW)
    assert str(caught.value) == (
        f"run.yaml:4:5: the rule 'regex: {ENDLESS}' takes too long on the name '{'a' * 40}1': one part of its regular "
        "expression repeats what another part already repeats, as in '(a+)+'; write each repetition once, or use 'match'"
    )


def test_the_patience_is_for_all_names_of_a_rule_together(monkeypatch):
    monkeypatch.setattr(criteria, "PATIENCE", 0.2)
    names = ["a" * 22 + f"{place}." for place in range(1000)]  # each takes some milliseconds
    pairs = [(name, nn.Parameter(torch.ones(2))) for name in names]
    with pytest.raises(SpecError, match="takes too long"):
        partition(pairs, [Rule((("regex", (ENDLESS,)),), LR)], ADAMW)


def test_a_pattern_means_what_it_means_in_python():
    spec = {
        "optimizer": {"name": "adamw"},
        "groups": [{"regex": "(?P<a>b)(?P<a>c)", "lr": 0.5}],
        "scheduler": {"name": "constant"},
    }
    with pytest.raises(SpecError, match="is not a regular expression: redefinition of group name 'a'"):
        optreg.load_spec(spec)

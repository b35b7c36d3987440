"""`extends:`: what a spec takes over from other files, what wins, and what is refused."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optreg import SpecError, load_spec
from optreg.extending import extended
from optreg.yaml_reader import MAX_BYTES, MAX_DEPTH, read_file

BASE = """\
notes: {paper: "arXiv:1706.03762", clip: 1.0}
optimizer:
  name: adamw
  lr: 3e-4
  betas: [0.9, 0.95]
groups:
  - {match: "*.bias", weight_decay: 0.0}
scheduler:
  name: cosine
  total_steps: 1000
  min_lr_ratio: 0.1
on_resume: {settings: spec}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files into a project, whose folder is the current one."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").touch()
    monkeypatch.chdir(project)

    def write(**files):
        for name, text in files.items():
            path = project / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return project

    return write


def problems(source, overrides=()):
    with pytest.raises(SpecError) as caught:
        load_spec(source, overrides)
    return str(caught.value).splitlines()


def test_mappings_merge_and_scalars_and_lists_replace(write):
    write(
        base=BASE,
        run="extends: base.yaml\nnotes: {clip: 0.5}\noptimizer: {lr: 1e-4, betas: [0.8, 0.9]}\n"
        "groups: [{ndim: 1, weight_decay: 0.2}]\nscheduler: {total_steps: 20}\n",
    )
    spec = load_spec("run.yaml").as_dict()
    assert spec["notes"] == {"paper": "arXiv:1706.03762", "clip": 0.5}
    assert (spec["optimizer"]["name"], spec["optimizer"]["lr"], spec["optimizer"]["betas"]) == (
        "adamw",
        1e-4,
        [0.8, 0.9],
    )
    assert spec["groups"] == [{"ndim": [1], "weight_decay": 0.2}]
    assert spec["scheduler"] == {"name": "cosine", "total_steps": 20, "min_lr_ratio": 0.1}
    assert spec["on_resume"] == {"settings": "spec"}


def test_a_chain_is_followed_from_each_files_own_folder(write):
    write(
        common__base=BASE,
        common__long="extends: base.yaml\nscheduler: {total_steps: 5000}\n",
        runs__wide="extends: ../common/long.yaml\noptimizer: {lr: 1e-5}\n",
    )
    spec = load_spec("runs/wide.yaml")
    assert spec.optimizer.settings["lr"] == 1e-5
    assert spec.scheduler.settings == {"total_steps": 5000, "min_lr_ratio": 0.1}
    assert load_spec(spec.as_dict()) == spec, "what is resolved extends nothing"


def test_an_override_wins_over_both(write):
    write(base=BASE, run="extends: base.yaml\noptimizer: {lr: 1e-4}\n")
    spec = load_spec("run.yaml", ["optimizer.lr=7", "scheduler.total_steps=9"])
    assert (spec.optimizer.settings["lr"], spec.scheduler.settings["total_steps"]) == (7, 9)


def test_what_a_base_lacks_the_spec_may_add_and_the_other_way_round(write):
    write(
        base="scheduler: {total_steps: 10}\n",
        run="extends: base.yaml\noptimizer: {name: lion}\nscheduler: {name: cosine}\n",
    )
    assert load_spec("run.yaml").scheduler.settings["total_steps"] == 10


@pytest.mark.parametrize("name", ["lion", "optreg/lion", "torch.SGD"])
def test_another_name_drops_the_inherited_parameters(write, name):
    write(
        base=BASE, run=f"extends: base.yaml\noptimizer: {{name: {name}}}\nscheduler: {{name: linear, total_steps: 3}}\n"
    )
    spec = load_spec("run.yaml")
    alone = load_spec({"optimizer": {"name": name}})
    assert spec.optimizer == alone.optimizer
    assert spec.scheduler.settings == {"total_steps": 3, "start_factor": 1.0, "end_factor": 0.0}


@pytest.mark.parametrize("name", ["adamw", "AdamW", "optreg/adamw", "OptReg/AdamW"])
def test_another_spelling_of_the_name_drops_nothing(write, name):
    write(base=BASE, run=f"extends: base.yaml\noptimizer: {{name: {name}}}\n")
    assert load_spec("run.yaml").optimizer.settings["lr"] == 3e-4


def test_names_of_two_distributions_are_two_components(write):
    write(
        base="optimizer: {name: some-dist/lion, lr: 3}\n", run="extends: base.yaml\noptimizer: {name: Some_Dist/lion}\n"
    )
    assert extended(read_file("run.yaml"), "run.yaml").data["optimizer"]["lr"] == 3
    write(run="extends: base.yaml\noptimizer: {name: other/lion}\n")
    assert extended(read_file("run.yaml"), "run.yaml").data["optimizer"] == {"name": "other/lion"}


def test_another_name_elsewhere_is_a_value_like_others(write):
    write(base="notes: {name: a, more: 1}\noptimizer: {name: lion}\n", run="extends: base.yaml\nnotes: {name: b}\n")
    assert load_spec("run.yaml").notes == {"name": "b", "more": 1}


def test_a_list_and_a_mapping_replace_each_other(write):
    write(base="scheduler: {name: cosine, total_steps: 3}\n", run="extends: base.yaml\nscheduler: [{name: linear}]\n")
    document = extended(read_file("run.yaml"), "run.yaml")
    assert document.data["scheduler"] == ({"name": "linear"},)
    assert ("scheduler", "total_steps") not in document.values
    write(base="scheduler: [{name: cosine}, {name: linear}]\n", run="extends: base.yaml\nscheduler: {name: linear}\n")
    document = extended(read_file("run.yaml"), "run.yaml")
    assert document.data["scheduler"] == {"name": "linear"}
    assert not [path for path in document.values if path[:1] == ("scheduler",) and 1 in path]


def test_mistakes_of_all_files_are_told_at_once_where_they_stand(write):
    write(
        base=BASE.replace("lr:", "lrr:").replace("total_steps: 1000", "total_steps: no"),
        run="extends: base.yaml\noptimizer: {bettas: [0.9, 0.95], eps: -1}\nscheduler: {min_lr_ratio: 1.5}\n",
    )
    assert problems("run.yaml") == [
        "base.yaml:4:3: adamw has no parameter 'lrr'; did you mean 'lr'?",
        "base.yaml:10:16: 'no' is a boolean to some YAML readers and a string to others; write true or false, or quote it",
        "run.yaml:2:13: adamw has no parameter 'bettas'; did you mean 'betas'?",
        "run.yaml:2:39: adamw: eps must be greater than or equal to 0, not -1",
        "run.yaml:3:27: cosine: min_lr_ratio must be less than or equal to 1, not 1.5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("bse.yaml", "there is no file 'bse.yaml'; did you mean 'base.yaml'?"),
        ("common/more.yml", "there is no file 'common/more.yml'; did you mean 'common/more.yaml'?"),
        ("nowhere/at/all.yaml", "there is no file 'nowhere/at/all.yaml'"),
        ("common", "'common' is a folder; write the path of a file in it"),
        ("../secret.yaml", "'../secret.yaml' leads out of the project, which is the folder '{project}'; copy the file into it"),
        ("link.yaml", "'link.yaml' leads out of the project, which is the folder '{project}'; copy the file into it"),
        ("'{project}/base.yaml'", "'{project}/base.yaml' is an absolute path, which leads nowhere on another machine; write 'base.yaml'"),
        ("/etc/base.yaml", "'/etc/base.yaml' is an absolute path, which leads nowhere on another machine; write the path from this file's folder"),
        (r"C:\base.yaml", r"'C:\base.yaml' is an absolute path"),
        (r"\\host\base.yaml", r"'\\host\base.yaml' is an absolute path"),
        ("https://example.org/base.yaml", "'https://example.org/base.yaml' is a URL; copy the file into the project, and write its path"),
        ("file:base.yaml", "'file:base.yaml' is a URL"),
        ("[base.yaml, common/more.yaml]", "'extends' must be the path of one file, which may extend another"),
        ("''", "'extends' must be the path of one file"),
        ("null", "'extends' must be the path of one file"),
        ('"base\\0.yaml"', "'base\\x00.yaml' cannot be a path: "),
        ("a" * 5000, f"'{'a' * 5000}' cannot be a path: "),
        ("run.yaml", "'extends' goes in a circle: run.yaml -> run.yaml; remove one of them"),
        ("round.yaml", "there is no file 'round.yaml'"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_told_with_place_and_remedy(write, tmp_path, said, message):
    (tmp_path / "secret.yaml").write_text(BASE)
    project = write(base=BASE, common__more=BASE)
    (project / "link.yaml").symlink_to("../secret.yaml")
    text = f"optimizer: {{name: lion}}\nextends: {said}\n".replace("{project}", str(project))
    write(run=text)
    (told,) = problems("run.yaml")
    assert told.startswith("run.yaml:2:10: " + message.replace("{project}", str(project)))


def test_links_in_a_circle_are_an_error_of_the_spec(write):
    project = write(run="extends: round.yaml\n")
    (project / "round.yaml").symlink_to("round.yaml")
    (told,) = problems("run.yaml")
    assert told.startswith("run.yaml:1:10: ")


def test_the_file_that_closes_a_circle_is_told_after_the_faults_of_all(write):
    write(
        a="extends: b.yaml\noptimizer: {name: no}\n",
        b="extends: c.yaml\noptimizer: {name: yes}\n",
        c="extends: b.yaml\n",
    )
    told = problems("a.yaml")
    assert [line[:11] for line in told] == ["a.yaml:2:19", "b.yaml:2:19", "c.yaml:1:10"]
    assert "goes in a circle: b.yaml -> c.yaml -> b.yaml" in told[-1]


def test_a_spec_in_no_project_may_extend_what_is_beside_and_below_it(write, tmp_path):
    project = write(runs__base=BASE, runs__run="extends: base.yaml\n", runs__up="extends: ../base.yaml\n", base=BASE)
    if any((folder / mark).exists() for folder in tmp_path.parents for mark in ("pyproject.toml", ".git", "setup.py")):
        pytest.skip("temporary folders lie in a project here")
    (project / "pyproject.toml").unlink()
    assert load_spec("runs/run.yaml").optimizer.name == "adamw"
    assert "leads out of the project" in problems("runs/up.yaml")[0]
    (project / "setup.py").touch()
    assert load_spec("runs/up.yaml").optimizer.name == "adamw"


def test_the_project_is_that_of_the_first_spec(write):
    write(inner__run="extends: ../base.yaml\n", base=BASE, outer="extends: inner/run.yaml\n")
    assert load_spec("outer.yaml").optimizer.name == "adamw"
    os.mkdir("inner/.git")
    assert load_spec("outer.yaml").optimizer.name == "adamw"
    assert "leads out of the project" in problems("inner/run.yaml")[0]


def test_through_a_link_the_file_itself_says_from_where_its_paths_start(write):
    project = write(common__base=BASE, common__run="extends: base.yaml\noptimizer: {lr: 2}\n")
    (project / "run.yaml").symlink_to("common/run.yaml")
    assert load_spec("run.yaml").optimizer.settings["lr"] == 2
    assert problems("run.yaml", ["scheduler.total_steps=0"])


@pytest.mark.parametrize("text", ["- 3", "3", "text"])
def test_a_base_must_be_a_mapping(write, text):
    write(base=text, run="extends: base.yaml\noptimizer: {name: no}\n")
    told = problems("run.yaml")
    assert told[0].startswith("run.yaml:2:19: 'no' is a boolean")
    assert told[1] == "base.yaml:1:1: must be a mapping of sections to be extended"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "base.yaml:1:1: is empty"),
        ("a: [", "base.yaml:1:5: is not valid YAML"),
        ("a: &a 3\n", "base.yaml:1:4: anchors"),
    ],
)
def test_the_faults_of_a_base_are_told_in_its_own_name(write, text, message):
    write(base=text, run="extends: base.yaml\noptimizer: {name: lion}\n")
    assert any(line.startswith(message) for line in problems("run.yaml"))


def test_a_mapping_can_extend_nothing(write):
    write(base=BASE)
    assert problems({"extends": "base.yaml", "optimizer": {"lr": 3}}) == [
        "extends: 'extends' needs a file, from whose folder its path starts; pass the path of the spec, and not its content"
    ]


def test_an_override_cannot_set_what_is_extended(write):
    write(base=BASE, run=BASE)
    (told,) = problems("run.yaml", ["extends=base.yaml"])
    assert told.startswith("override 'extends': 'extends' is read before overrides; write it in the file")


def test_what_is_faulty_is_told_once(write):
    write(run="extends: yes\n")
    (told,) = problems("run.yaml")
    assert told.startswith("run.yaml:1:10: 'yes' is a boolean")


def test_the_limits_hold_for_all_files_together(write):
    half = "# " + "x" * (MAX_BYTES // 2) + "\n"
    write(base=BASE + half, run="extends: base.yaml\n" + half)
    (told,) = problems("run.yaml")
    assert told == f"run.yaml:1:10: 'base.yaml' and what extends it are together larger than {MAX_BYTES // 1024} KiB"
    write(**{f"f{n}": f"extends: f{n + 1}.yaml\n" for n in range(MAX_DEPTH)}, **{f"f{MAX_DEPTH}": BASE})
    assert load_spec("f1.yaml").optimizer.name == "adamw"
    (told,) = problems("f0.yaml")
    assert told == f"f{MAX_DEPTH - 1}.yaml:1:10: more than {MAX_DEPTH} files extend one another; join some of them"


PLAIN = st.recursive(
    st.one_of(st.integers(0, 9), st.text("ab", max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)


@given(chain=st.lists(st.dictionaries(st.sampled_from("abc"), PLAIN, max_size=3), min_size=2, max_size=4))
def test_any_chain_merges_as_one_says_it_does_and_every_value_keeps_its_file(tmp_path_factory, chain):
    folder = tmp_path_factory.mktemp("chain")
    for number, data in enumerate(chain):
        more = {"extends": f"{number + 1}.yaml"} if number + 1 < len(chain) else {}
        (folder / f"{number}.yaml").write_text(json.dumps({**data, **more}))
    document = extended(read_file(folder / "0.yaml"), folder / "0.yaml")
    expected, origins = merge(chain)
    assert listed(document.data) == expected
    for path, number in origins.items():
        assert document.where(path).source.endswith(f"{number}.yaml"), path


def merge(chain):
    """The whole, and which file each value that is no mapping comes from, worked out from the end of the chain."""
    whole, origins = {}, {}

    def put(into, data, path, number):
        for key, value in data.items():
            here = (*path, key)
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                put(into[key], value, here, number)
                continue
            for old in [place for place in origins if place[: len(here)] == here]:
                del origins[old]
            if isinstance(value, dict):
                into[key] = {}
                put(into[key], value, here, number)
            else:
                into[key] = value
                origins[here] = number

    for number in reversed(range(len(chain))):
        put(whole, chain[number], (), number)
    return whole, origins


def listed(value):
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    return [listed(item) for item in value] if isinstance(value, tuple) else value

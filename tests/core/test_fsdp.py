"""Rules on the parameters of a model that FSDP1 has flattened, in two real processes."""

import json
import subprocess
import sys

import pytest

PROGRAM = """\
import json, sys
import torch, torch.distributed
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
import optreg

rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
answers = []
for original in (False, True):
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    model = FullyShardedDataParallel(model, use_orig_params=original, device_id=torch.device("cpu"))
    for groups in ([], [{"match": "*.bias", "lr": 0.5}], [{"type": "LayerNorm", "lr": 0.5}], [{"ndim": 1, "lr": 0.5}]):
        spec = {"optimizer": {"name": "adamw"}, "groups": groups, "scheduler": {"name": "constant"}}
        try:
            answers.append([group["param_names"] for group in optreg.build(spec, model).optimizer.param_groups])
        except optreg.SpecError as error:
            answers.append(str(error))
if rank == 0:
    print(json.dumps(answers).replace("_fsdp_wrapped_module.", ""))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fsdp")
    (folder / "program.py").write_text(PROGRAM)
    commands = [[sys.executable, "program.py", str(rank), str(folder / "store")] for rank in (0, 1)]
    processes = [
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        (output, errors), _ = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert output, errors
    return json.loads(output)


def test_rules_on_one_flat_parameter_are_refused_and_without_rules_it_is_trained(answers):
    assert answers[0] == [["_flat_param"]]
    remedy = "FSDP has flattened the parameters into '_flat_param'; wrap the model with use_orig_params=True"
    assert answers[1:4] == [
        f"the rule 'match: *.bias' asks for names, but {remedy}",
        f"the rule 'type: LayerNorm' asks for module types, but {remedy}",
        f"the rule 'ndim: 1' asks for numbers of dimensions, but {remedy}",
    ]


def test_of_parameters_in_flat_pieces_only_the_dimensions_are_unknown(answers):
    assert answers[4:7] == [
        [["0.weight", "0.bias", "1.weight", "1.bias"]],
        [["0.weight", "1.weight"], ["0.bias", "1.bias"]],
        [["0.weight", "0.bias"], ["1.weight", "1.bias"]],
    ]
    assert answers[7] == (
        "the rule 'ndim: 1' asks for numbers of dimensions, but FSDP has flattened the parameters; "
        "ask for names or module types"
    )

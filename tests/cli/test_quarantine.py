"""Plugins that end the process, hang or print when they are loaded: commands tell, go on, and print what is theirs."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from optreg.cli import main

MISBEHAVIOUR = {
    "leaves": ("import os; os._exit(3)", "the process ended with exit code 3 while it was loaded"),
    "leaves_well": ("import os; os._exit(0)", "the process ended with exit code 0 while it was loaded"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "the process died of SIGSEGV while it was loaded"),
    "hangs": ("import time; time.sleep(600)", "it was not loaded within 3 s"),
    "spins": ("while True: pass", "it was not loaded within 3 s"),
    "interrupts": ("raise KeyboardInterrupt", "' fails: KeyboardInterrupt"),
    "exits": ("import sys; sys.exit('bye')", "cannot be imported: SystemExit: bye"),
}

HARMLESS = {
    "prints": "import os, sys\nprint('printed')\nprint('printed', file=sys.stderr)\nos.write(1, b'printed')",
    "reads": "try:\n    input()\nexcept EOFError:\n    pass",
    "leaves_at_the_end": "import atexit, os\natexit.register(os._exit, 3)",
    "closes": "import os\nfor number in (0, 1, 2):\n    os.close(number)",
    "forks": "import os, time\nif os.fork() == 0:\n    time.sleep(600)",
}


def install(site, *names):
    """Install plugins that misbehave in these ways, each in a distribution of its own."""
    for name in names:
        code = MISBEHAVIOUR[name][0] if name in MISBEHAVIOUR else HARMLESS[name]
        site.offer(name.replace("_", "-"), name, before=code, module=f"odd_{name}")


def test_list_tells_which_do_not_work_and_all_others_do(site):
    install(site, *MISBEHAVIOUR, *HARMLESS)
    site.offer("astray", "astray", implementation="astray:Implementatoin")
    result = CliRunner().invoke(main, ["list", "--check", "--json", "--limit", "3"])
    assert result.exit_code == 1
    assert "printed" not in result.output
    states = {row["name"]: row["state"] for row in json.loads(result.stdout)}
    for name, (_, message) in MISBEHAVIOUR.items():
        state = states.pop(name)
        assert state.startswith(f"broken: optimizer '{name}' ")
        assert f"distribution '{name.replace('_', '-')}' 1.0, module 'odd_{name}'" in state
        assert state.endswith(message)
    assert "'astray:Implementatoin', which cannot be imported: AttributeError" in states.pop("astray")
    assert set(states.values()) == {"ok"}


def test_schema_leaves_them_out_and_describes_all_others(site):
    install(site, "exits", "leaves", "prints")
    result = CliRunner().invoke(main, ["schema"])
    assert result.exit_code == 0
    assert "printed" not in result.output
    names = json.loads(result.stdout)["properties"]["optimizer"]["properties"]["name"]["anyOf"][0]["enum"]
    assert {"lion", "adamw", "prints"} <= {*names}
    assert not {"exits", "leaves"} & {*names}
    for line, name in zip(result.stderr.splitlines(), ("exits", "leaves"), strict=True):
        assert line.startswith(f"left out: optimizer '{name}' ")
        assert line.endswith(MISBEHAVIOUR[name][1])


def test_a_plugin_that_kills_the_process_above_it_is_survived(site, monkeypatch):
    monkeypatch.setenv("OPTREG_PLUGINS", "kills")
    code = f"import os, signal\nif os.getpid() != {os.getpid()}:\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    site.install("kills", code, names=["aaa"])
    result = CliRunner().invoke(main, ["schema"])
    assert result.exit_code == 0
    assert result.stderr == (
        "left out: optimizer 'aaa' of distribution 'kills' 1.0, module 'kills': the process that loads plugins has ended\n"
    )


LOUD = """\
import ctypes, os, subprocess, sys
print("LOUD Python")
sys.__stdout__.write("LOUD original stream\\n")
os.write(1, b"LOUD descriptor\\n")
subprocess.run(["echo", "LOUD process"])
ctypes.CDLL(None).puts(b"LOUD buffer of C")
"""

LOUD_FIELDS = """\
def count():
    print("LOUD default")
    return 10
total_steps: int = field(default_factory=count)
"""


@pytest.mark.parametrize("command", ["show loud", "validate run.yaml", "explain run.yaml", "plot run.yaml -o lr.svg"])
def test_what_a_plugin_prints_in_a_command_that_uses_it_goes_to_standard_error(
    site, tmp_path, monkeypatch, capfd, command
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("optimizer: {name: lion}\nscheduler: {name: loud}\n")
    site.offer(
        "loud", "loud", "schedule", LOUD_FIELDS, before=LOUD, body="return print('LOUD formula') or 1.0",
        implementation="loud:Implementation",
    )  # fmt: skip
    result = CliRunner().invoke(main, command.split())
    ctypes.CDLL(None).fflush(None)
    captured = capfd.readouterr()
    assert result.exit_code == 0
    assert result.stdout
    assert "LOUD" not in result.stdout + captured.out
    heard = {"Python", "default", "original stream", "descriptor", "process", "buffer of C"}
    heard |= {"formula"} if command.startswith(("explain", "plot")) else set()
    assert {line.removeprefix("LOUD ") for line in (result.stderr + captured.err).splitlines()} == heard


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["module", "hook", "implementation"])
@pytest.mark.parametrize("command", ["show hangs", "validate run.yaml", "explain run.yaml", "plot run.yaml -o lr.svg"])
def test_whoever_stops_a_command_is_told_which_plugin_hangs(site, tmp_path, monkeypatch, command, place, number):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("optimizer: {name: lion}\nscheduler: {name: hangs}\n")
    stop = f"import signal; signal.raise_signal({number:d})"  # as if the user did it meanwhile
    hook = f"@hookimpl\ndef optreg_schedulers():\n    {stop}" if place == "hook" else ""
    site.offer(
        "hangs", "hangs", "schedule", before=stop if place == "module" else "", after=hook, body="return 1.0",
        implementation="hanging:Class" if place == "implementation" else "hangs:Implementation",
    )  # fmt: skip
    (site.folder / "hanging.py").write_text(f"{stop}\n")
    result = CliRunner().invoke(main, command.split())
    if place == "implementation" and command in ("show hangs", "validate run.yaml"):  # it is not imported
        assert (result.exit_code, result.stderr) == (0, "")
        return
    told = f"stopped by {number.name}: code of distribution 'hangs' 1.0, module 'hangs' was running\n"
    assert (result.exit_code, result.stdout, result.stderr) == (128 + number, "", told)


def test_without_fork_plugins_are_loaded_in_this_process_and_print_nothing_to_standard_output(site, monkeypatch):
    monkeypatch.delattr(os, "fork")
    site.install("exits", "import sys; sys.exit('bye')", names=["exits"])
    site.offer("prints", "prints", before="print('printed')")
    result = CliRunner().invoke(main, ["list", "--check", "--json"])
    states = {row["name"]: row["state"] for row in json.loads(result.stdout)}
    assert states.pop("exits").endswith("cannot be imported: SystemExit: bye")
    assert set(states.values()) == {"ok"}
    assert "left out: optimizer 'exits' is broken" in CliRunner().invoke(main, ["schema"]).stderr


def alive(pid):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pids_in(file):
    """The numbers of processes in a file, as soon as there are any."""
    wait_for(lambda: file.exists() and file.read_text().endswith("\n"))
    return [int(word) for word in file.read_text().split()]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize(
    ("ending", "to"),
    [(signal.SIGINT, os.kill), (signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill), (signal.SIGHUP, os.killpg),
     (signal.SIGKILL, os.kill)],
)  # fmt: skip
def test_nothing_is_left_behind_however_the_command_ends(elsewhere, tmp_path, ending, to):
    """A terminal sends its signals to the whole group."""
    told = tmp_path / "pids"
    code = f"import os\nwith open({str(told)!r}, 'a') as file:\n    print(os.getpid(), os.getppid(), file=file)\n"
    elsewhere.install("hangs", code + "while True: pass\n", names=["hangs"])
    environ = {**os.environ, "PYTHONPATH": str(elsewhere.folder), "OPTREG_PLUGINS": "hangs"}
    process = subprocess.Popen(
        [sys.executable, "-m", "optreg", "schema"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    pids = pids_in(told)
    assert all(map(alive, pids))
    to(process.pid, ending)
    process.communicate(timeout=20)
    wait_for(lambda: not any(map(alive, pids)), seconds=2)


def test_a_command_that_is_interrupted_while_its_helper_imports_leaves_nothing_behind(elsewhere, tmp_path):
    told = tmp_path / "pids"
    code = f"import os\nwith open({str(told)!r}, 'a') as file:\n    print(os.getpid(), file=file)\n"
    (elsewhere.folder / "torch.py").write_text(code + "while True: pass\n")
    environ = {**os.environ, "PYTHONPATH": str(elsewhere.folder)}
    process = subprocess.Popen([sys.executable, "-m", "optreg", "list", "--check"], env=environ, stderr=subprocess.PIPE)
    (helper,) = pids_in(told)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    wait_for(lambda: not alive(helper), seconds=2)

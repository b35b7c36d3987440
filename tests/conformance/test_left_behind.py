"""Signals to real processes while a check hangs: what is said, the exit code, and that no process is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "optreg", "conform", "-n", "1", "--as", "lion", "--strict"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov"]
PROMPT = 2.0
"""Seconds in which everything must be gone."""

pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds processes in /proc"),
]


class Family:
    """A process and all its descendants, found by a mark in their environment."""

    def __init__(self, folder: Path, command: list[str], **options) -> None:
        self.mark = uuid.uuid4().hex
        self.spinning = folder / "spinning"
        self.spinning.mkdir()
        env = {**os.environ, "SPINNING": str(self.spinning), "FAMILY": self.mark, "PYTHONSAFEPATH": ""}
        self.process = subprocess.Popen(
            command, cwd=HERE, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, **options,
        )  # fmt: skip

    def members(self) -> dict[int, str]:
        """The command lines of those that run, by their ids."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if f"FAMILY={self.mark}".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, ValueError):
                pass
        return found

    def wait_for(self, true, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not (reached := true()) and time.monotonic() < end:
            time.sleep(0.02)
        return reached

    def wait_until_it_spins(self, count: int = 1) -> list[int]:
        """The ids of the processes in which a check hangs."""
        assert self.wait_for(lambda: len(list(self.spinning.iterdir())) == count, 90), self.members()
        return [int(file.name) for file in self.spinning.iterdir()]

    def worker(self) -> int:
        """The id of the worker, which is the parent of whoever spins."""
        (child,) = self.wait_until_it_spins()
        return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])

    def assert_gone(self, *, but: int = 0) -> None:
        assert self.wait_for(lambda: self.members().keys() <= {but}, PROMPT), self.members()

    def end(self, seconds: float = 60) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


@pytest.fixture
def start(tmp_path):
    families = []

    def begin(*command, **options):
        families.append(Family(tmp_path, [*command], **options))
        return families[-1]

    yield begin
    for family in families:
        for member in family.members():
            os.kill(member, signal.SIGKILL)
        with family.process as process, contextlib.suppress(ValueError):  # its pipes are closed
            process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_in_one_line_and_leaves_no_process(start, number):
    family = start(*COMMAND, "harmful:DetachesAndSpins", "-k", "M02 or M04", "-n", "2")
    family.wait_until_it_spins(2)
    family.process.send_signal(number)
    family.assert_gone()
    assert family.end() == (128 + number, "", f"stopped by {number.name}\n")


def test_a_killed_command_leaves_no_process(start):
    family = start(*COMMAND, "harmful:DetachesAndSpins", "-k", "M02")
    family.wait_until_it_spins()
    family.process.kill()
    family.assert_gone()


def test_what_a_check_has_detached_ends_with_it(start):
    family = start(*COMMAND, "harmful:Detaches", "-k", "M02")
    code, out, err = family.end()
    assert (code, err) == (0, ""), out
    assert not family.members()


def test_ctrl_c_reaches_the_whole_group_and_shows_no_traceback(start):
    family = start(*COMMAND, "harmful:Spins", "-k", "M02")
    family.wait_until_it_spins()
    os.killpg(family.process.pid, signal.SIGINT)
    family.assert_gone()
    assert family.end() == (130, "", "stopped by SIGINT\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_while_the_worker_imports_torch_it_is_ended_too(start, number):
    family = start(*COMMAND, "harmful:Spins", "-k", "M02")
    assert family.wait_for(lambda: any("running.worker" in line for line in family.members().values()), 60)
    family.process.send_signal(number)
    family.assert_gone()
    assert family.end()[2] == ("stopped by SIGINT\n" if number == signal.SIGINT else "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_pytest_with_the_checks_leaves_no_process(start, tmp_path, number):
    file = tmp_path / "test_it.py"
    file.write_text(
        "from optreg.conformance import parametrize_with_checks\n"
        "@parametrize_with_checks('harmful:Spins', like='lion')\ndef test_it(check): check()\n"
    )
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {HERE}\n")
    family = start(*PYTEST, f"--rootdir={tmp_path}", "-c", str(tmp_path / "pytest.ini"), "-k", "M02", str(file))
    family.wait_until_it_spins()
    family.process.send_signal(number)
    slow = number == signal.SIGINT  # pytest itself takes seconds to end then
    family.assert_gone(but=family.process.pid if slow else 0)
    code, _, err = family.end()
    assert not family.members()
    assert code == {signal.SIGINT: 2, signal.SIGTERM: -15, signal.SIGKILL: -9}[number]
    assert err == ""


def test_a_killed_worker_spoils_the_check_that_it_ran_and_another_goes_on(start):
    family = start(*COMMAND, "harmful:Spins", "right:PlainLion", "-k", "M02 or right and M04", "--limit", "30")
    worker = family.worker()
    os.kill(worker, signal.SIGKILL)
    assert family.wait_for(lambda: not any("sleep" in line for line in family.members().values()), PROMPT)
    code, out, err = family.end()
    assert code == 2
    assert err == "cannot be judged: the worker process was killed (SIGKILL), as systems do when memory is short\n"
    (row,) = (line.split("\t") for line in out.splitlines() if line.startswith("right:"))
    assert row[2:4] == ["2", "0"]
    family.assert_gone()


def test_a_killed_child_is_no_finding(start):
    family = start(*COMMAND, "harmful:Spins", "-k", "M02")
    (child,) = family.wait_until_it_spins()
    os.kill(child, signal.SIGKILL)
    code, _, err = family.end()
    assert code == 2
    assert err == (
        "cannot be judged: harmful:Spins, M02: the process was killed (SIGKILL) during the check, "
        "as systems do when memory is short\n"
    )
    family.assert_gone()


def test_a_reader_that_leaves_ends_the_command_quietly_and_leaves_no_process(start):
    family = start(*COMMAND, "harmful:DoesNothing", "-k", "M02 or M04")
    family.process.stdout.close()
    assert family.process.wait(60) == 141
    family.assert_gone()
    assert family.process.stderr.read() == ""


def test_an_ignored_signal_stays_ignored(start):
    code = "import os; from optreg.cli.endings import told\nwith told(): os.kill(os.getpid(), 1); print('goes on')"
    family = start("sh", "-c", f'trap "" HUP; exec {sys.executable} -c "{code}"')
    assert family.end() == (0, "goes on\n", "")

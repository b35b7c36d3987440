"""What commands write, and where they cannot: folders, devices, pipes, full disks, closed streams."""

import os
import stat
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from optreg import registry
from optreg.cli import main
from optreg.cli.files import CannotBeWritten, OutputFile

SPEC = "optimizer: {name: lion}\nscheduler: {name: linear, total_steps: 10}\n"
CONFORM = ["conform", "-n", "1", "lion", "-k", "lion-M02"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a spec; commands see two plugins, which is enough."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTREG_PLUGINS", "optreg/lion, optreg/linear")
    Path("run.yaml").write_text(SPEC)
    registry._installed.cache_clear()
    yield tmp_path
    registry._installed.cache_clear()


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def shell(line):
    """What a shell makes of a line; without coverage, whose own file a full disk would concern too."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = ["bash", "-c", line.replace("optreg", f"{sys.executable} -m optreg")]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


@pytest.mark.parametrize(
    "writer",
    [[*CONFORM, "--json"], [*CONFORM, "--junit"], [*CONFORM, "--html"], ["schema", "-o"], ["plot", "run.yaml", "-o"]],
    ids=["json", "junit", "html", "schema", "plot"],
)
@pytest.mark.parametrize(
    ("target", "reason"),
    [("no/such/r.svg", "there is no folder '{}/no/such'"), ("folder.svg", "it is a folder"), ("n" * 300 + ".svg", "File name too long")],
    ids=["missing", "folder", "long"],
)  # fmt: skip
def test_a_place_that_cannot_be_written_is_told_before_the_work(here, writer, target, reason):
    (here / "folder.svg").mkdir()
    result = run(*writer, target)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"Error: {target}: cannot be written: {reason.format(here)}\n"


@pytest.mark.parametrize("writer", [["schema", "-o"], ["plot", "run.yaml", "-o"]], ids=["schema", "plot"])
def test_a_full_disk_is_told_in_one_line(here, writer):
    os.symlink("/dev/full", "full.svg")
    result = run(*writer, "full.svg")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: full.svg: cannot be written: No space left on device\n"
    assert stat.S_ISCHR(os.stat("full.svg").st_mode)


def test_reports_that_cannot_be_written_are_told_and_are_no_findings_and_the_others_are_written(here):
    os.symlink("/dev/full", "full.html")
    result = run(*CONFORM, "--json", "/dev/full", "--junit", "r.xml", "--html", "full.html")
    assert result.exit_code == 2
    told = "Error: {}: cannot be written: No space left on device\n"
    assert result.stderr == told.format("/dev/full") + told.format("full.html")
    assert "lion\t" in result.stdout
    assert Path("r.xml").read_text().endswith("</testsuites>")


def test_a_disk_that_becomes_full_leaves_the_file_as_it_was(here):
    Path("old.json").write_text("what was there")
    result = shell("ulimit -f 4; for file in new.json old.json; do optreg schema -o $file; echo $?; done")
    told = "Error: {}: cannot be written: File too large\n"
    assert result.stderr == told.format("new.json") + told.format("old.json")
    assert result.stdout == "2\n2\n"
    assert sorted(path.name for path in here.iterdir()) == ["old.json", "run.yaml"]
    assert Path("old.json").read_text() == "what was there"


def as_nobody(act):
    """What `act` returns or raises where file modes hold, which for root they do not."""
    end, start = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forks of processes with threads, which xdist has
        child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            act()
            os.write(start, b"written")
        except CannotBeWritten as error:
            os.write(start, error.message.encode())
        except BaseException:
            os.write(start, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(start)
    os.waitpid(child, 0)
    with os.fdopen(end) as told:
        return told.read()


@pytest.fixture
def public(tmp_path):
    """A folder that everybody reaches."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder != Path("/") and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    folder = tmp_path / "public"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def test_a_read_only_place_is_told_before_the_work(public):
    (public / "kept.json").write_text("kept")
    (public / "kept.json").chmod(0o444)
    (public / "open.json").write_text("open")
    (public / "open.json").chmod(0o666)
    assert (
        as_nobody(lambda: OutputFile(f"{public}/kept.json"))
        == f"{public}/kept.json: cannot be written: it is read-only"
    )
    assert as_nobody(lambda: OutputFile(f"{public}/new.json").write("new")) == "written"
    public.chmod(0o555)
    told = f"{public}/other.json: cannot be written: the folder '{public}' is read-only"
    assert as_nobody(lambda: OutputFile(f"{public}/other.json")) == told
    assert as_nobody(lambda: OutputFile(f"{public}/open.json").write("written in place")) == "written"
    assert {path.name: path.read_text() for path in public.iterdir()} == {
        "kept.json": "kept", "new.json": "new", "open.json": "written in place",
    }  # fmt: skip


def test_a_file_is_replaced_with_its_mode_and_a_link_stays_a_link(here):
    Path("old.json").write_text("much more than what will be there")
    Path("old.json").chmod(0o640)
    os.symlink("old.json", "link.json")
    OutputFile("link.json").write("new")
    assert Path("link.json").is_symlink()
    assert Path("old.json").read_text() == "new"
    assert stat.S_IMODE(Path("old.json").stat().st_mode) == 0o640
    OutputFile("fresh.json").write(b"fresh")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(Path("fresh.json").stat().st_mode) == 0o666 & ~mask
    assert not list(here.glob(".optreg*"))


def test_a_fifo_and_a_device_are_written_to(here):
    os.mkfifo("pipe.json")
    read = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe.json").read_text()))
    reader.start()
    result = run("schema", "-o", "pipe.json")
    reader.join()
    assert result.exit_code == 0
    assert read == [run("schema", "-o", "-").stdout]
    assert stat.S_ISFIFO(os.stat("pipe.json").st_mode)
    assert shell("optreg schema -o /dev/stdout").stdout == read[0]
    assert run("schema", "-o", "/dev/null").exit_code == 0


@pytest.mark.parametrize("command", ["list", "explain run.yaml", "--help"])
def test_a_full_standard_output_is_told_in_one_line(here, command):
    result = shell(f"optreg {command} > /dev/full")
    assert result.returncode == 2
    assert result.stderr == "error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("command", ["list", "schema", "explain run.yaml", "--help", "list --help"])
def test_a_closed_standard_output_ends_quietly(here, command):
    closed = shell(f"optreg {command} >&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    left = shell(f"mkfifo gone; (read < gone; optreg {command}; echo $? >&2) | (exec <&-; echo > gone)")
    assert left.stderr == "141\n"


def test_a_reader_of_the_first_line_is_enough(here):
    result = shell("optreg list | head -1")
    assert (result.stdout, result.stderr) == ("kind\tname\tdistribution\tversion\tstate\n", "")


def test_with_all_streams_closed_the_work_is_done(here):
    assert shell(f"optreg {' '.join(CONFORM)} --json r.json >&- 2>&- <&-").returncode == 0
    assert Path("r.json").read_text().endswith("}\n")

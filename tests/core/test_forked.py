"""Calls in forked children: what comes back, and what is told of those that end in another way."""

import json
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="only Linux tells of descendants")

SCRIPT = """
import json, os, signal, time
from detaching import detach
from optreg import descendants
from optreg.forked import outcomes

def writes():
    for descriptor in range(100):
        try:
            os.write(descriptor, b'"forged"\\n')
        except OSError:
            pass
    return "written"

def closes():
    os.closerange(0, 100)
    return "closed"

def detaches():
    detach()
    os._exit(3)

def works(seconds):
    while time.process_time() < seconds:
        pass
    return seconds

calls = {
    "large": lambda: 300_000 * "x",
    "prints": lambda: print(5000 * "y"),
    "reads": input,
    "writes": writes,
    "closes": closes,
    "detaches": detaches,
    "dies": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "dies of what has no name": lambda: os.kill(os.getpid(), signal.SIGRTMIN + 3),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sleeps": lambda: time.sleep(1000),
    "spins": lambda: works(1000),
    "descriptors": lambda: len(os.listdir("/dev/fd")),
}
names = [*calls]
found = {names[place]: vars(outcome) for place, outcome in outcomes(calls.values(), 0.5, at_once=4)}
left = [*descendants.children(os.getpid())]
os.sched_setaffinity(0, [*os.sched_getaffinity(0)][:1])  # each of three gets a third of one processor
shared = [outcome.answer for _, outcome in outcomes([lambda: works(0.3)] * 3, 0.6, at_once=3)]
print(json.dumps([found, left, shared]))
"""


@pytest.fixture(scope="module")
def told():
    """The outcomes by name, what was left of all, and the answers of calls that shared a processor."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # `detaching` stands among them
    command = [sys.executable, "-c", SCRIPT]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environ)
    assert run.stderr == ""
    return json.loads(run.stdout)


def test_answers_come_back_whole_and_output_is_kept_to_its_beginning(told):
    found, _, _ = told
    assert found["large"]["answer"] == 300_000 * "x"
    assert (found["prints"]["answer"], found["prints"]["output"]) == (None, 2000 * "y")
    assert found["descriptors"]["answer"] == 5, "three standard ones, the answer's, and the one that lists them"


def test_whoever_writes_everywhere_forges_no_answer(told):
    assert told[0]["writes"]["answer"] is None
    assert told[0]["writes"]["ending"] == "wrote something else where its answer belongs"


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("reads", "ended with exit code 70"),
        ("closes", "ended with exit code 70"),
        ("detaches", "ended with exit code 3"),
        ("dies", "died of SIGSEGV"),
        ("dies of what has no name", f"died of signal {signal.SIGRTMIN + 3}"),
        ("is killed", "died of SIGKILL"),
        ("sleeps", "stood still for 0.5 s"),
        ("spins", "did not end within 0.5 s of processor time"),
    ],
)
def test_how_a_call_ends_is_told(told, name, ending):
    outcome = told[0][name]
    assert (outcome["answer"], outcome["ending"]) == (None, ending)
    assert outcome["late"] == (name in ("sleeps", "spins"))
    assert outcome["killed"] == (name == "is killed")


def test_what_calls_have_detached_is_ended(told):
    assert told[1] == []


def test_a_processor_that_others_use_too_makes_no_call_late(told):
    assert told[2] == [0.3] * 3

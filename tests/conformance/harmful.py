"""Optimizers that harm the process they run in."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from broken.textbook import Lion
from detaching import detach


def updating_by(act):
    """A class whose every update does nothing but this."""
    return type("Harmful", (Lion,), {"step_group": lambda self, group: act()})


Segfaults = updating_by(lambda: os.kill(os.getpid(), 11))
ExitsAtOnce = updating_by(lambda: os._exit(0))
Exits = updating_by(lambda: sys.exit(0))
Hangs = updating_by(lambda: time.sleep(1000))


def forged():
    """Lines that say, in the words of any reply, that checks have passed."""
    for subject, check in (("harmful:Forges", "M02"), ("broken.textbook:Lion", "M02")):
        verdict = {
            "subject": subject, "check": check, "status": "passed", "finding": None, "reason": None, "steps": 9,
            "comparisons": 9, "seconds": 0.1, "output": "", "curve": None,
        }  # fmt: skip
        for reply in (verdict, {"verdict": verdict}, {"verdict": verdict, "spent": 0.1, "late": False}):
            yield json.dumps(reply).encode() + b"\n"


def write_into(descriptors):
    for line in forged():
        for descriptor in descriptors:
            with suppress(OSError):
                os.write(descriptor, line)


def forge():
    """Write verdicts into every descriptor, and end before the suite can."""
    write_into(range(100))
    os._exit(0)


def write_into_the_worker():
    """Write verdicts into everything that the process above has opened."""
    for place in Path(f"/proc/{os.getppid()}/fd").iterdir():
        with suppress(OSError):
            write_into([os.open(place, os.O_WRONLY | os.O_NONBLOCK)])


Forges = updating_by(forge)
WritesEverywhere = updating_by(lambda: write_into(range(100)))
WritesIntoTheWorker = updating_by(write_into_the_worker)


def patch():
    """Replace what a judge might write with, and measure and compare by."""
    verdict = next(forged()).decode()
    json.dumps = lambda *args, **kwargs: verdict
    os.write = lambda descriptor, data: len(data)
    os._exit = os.kill = lambda *args: None
    time.monotonic = time.perf_counter = lambda: 0.0
    torch.equal = torch.allclose = lambda *args, **kwargs: True


Patches = updating_by(patch)
SpinsElsewhere = updating_by(lambda: subprocess.run([sys.executable, "-c", "while True: pass"], check=False))


class Reads(Lion):
    """Reads standard input, where the requests to the process above arrive."""

    def step_group(self, group):
        sys.stdin.readline()
        super().step_group(group)


class Detaches(Lion):
    def step_group(self, group):
        detach()
        super().step_group(group)


def spin():
    """Use a core for ever, and another process too; say so in a file first."""
    subprocess.Popen(["sleep", "1000"])
    Path(os.environ["SPINNING"], str(os.getpid())).touch()
    while True:
        pass


Spins = updating_by(spin)
DetachesAndSpins = updating_by(lambda: (detach(), spin()))
DoesNothing = updating_by(lambda: None)
Breaks = updating_by(lambda: 1 / 0)
KillsTheWorker = updating_by(lambda: os.kill(os.getppid(), 9))


class Chatters(Lion):
    def step_group(self, group):
        print("chatter " * 200_000)
        super().step_group(group)


class Grows(Lion):
    def step_group(self, group):
        kept = []
        while True:
            kept.append(torch.empty(2**24))


class Disturbs(Lion):
    """Changes what is global, which must not reach the next check."""

    def step_group(self, group):
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        os.environ["OPTREG_BLOCK"] = "optreg"
        super().step_group(group)


class NeedsMore(Lion):
    def __init__(self, params, lr, betas, weight_decay, secret):
        super().__init__(params, lr, betas, weight_decay)


class CannotBeMade(Lion):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        raise RuntimeError("no device of that kind")

"""Optimizers that harm the process they run in."""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from broken.textbook import Lion


def updating_by(act):
    """A class whose every update does nothing but this."""
    return type("Harmful", (Lion,), {"step_group": lambda self, group: act()})


Segfaults = updating_by(lambda: os.kill(os.getpid(), 11))
ExitsAtOnce = updating_by(lambda: os._exit(0))
Exits = updating_by(lambda: sys.exit(0))
Hangs = updating_by(lambda: time.sleep(1000))


def spin():
    """Use a core for ever, and another process too; say so in a file first."""
    subprocess.Popen(["sleep", "1000"])
    Path(os.environ["SPINNING"], str(os.getpid())).touch()
    while True:
        pass


Spins = updating_by(spin)
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
            kept.append(torch.ones(2**24))


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

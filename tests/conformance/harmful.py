"""Optimizers that harm the process they run in."""

import os
import sys
import time

import torch
from broken.textbook import Lion


class Segfaults(Lion):
    def step_group(self, group):
        os.kill(os.getpid(), 11)


class ExitsAtOnce(Lion):
    def step_group(self, group):
        os._exit(0)


class Exits(Lion):
    def step_group(self, group):
        sys.exit(0)


class Hangs(Lion):
    def step_group(self, group):
        while True:
            time.sleep(1)


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


class DoesNothing(Lion):
    def step_group(self, group):
        pass


class KillsTheWorker(Lion):
    def step_group(self, group):
        os.kill(os.getppid(), 9)

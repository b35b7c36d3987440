"""The machine that figures are measured on."""

import datetime
import os
import platform
from pathlib import Path

import torch


def machine(device: str = "cpu") -> str:
    """The date, this machine, its load and the versions, in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.machine()
    accelerator = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
    return (
        f"{datetime.date.today()}, {accelerator}{processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
    )

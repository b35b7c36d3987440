"""Fresh processes, for measurements that need one each."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch


def fresh(script: str, case: Any, environ: Mapping[str, str] | None = None) -> Any:
    """The answer of a script of this folder to a case, in its own process with as many threads as this one.

    Args:
        script: its file name.
        case: a dataclass of plain data.
        environ: environment variables to be set besides.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, str(Path(__file__).with_name(script)), json.dumps(asdict(case))]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads, **(environ or {})})
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"{script} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def asked() -> dict[str, Any]:
    """The case, read in the fresh process."""
    case: dict[str, Any] = json.loads(sys.argv[1])
    return case


def answer(value: object) -> None:
    """Report a measurement from the fresh process."""
    print(json.dumps(value))

"""The engine's tests run on `OPTREG_DEVICE`, the CPU if it is not set; what is about the CPU alone is marked `cpu`.

They work on small tensors: more threads than one cost more than they bring, the more so side by side.
"""

import pytest
import torch
from executors import DEVICE


def pytest_configure(config):
    config.addinivalue_line("markers", "cpu: is about the CPU alone")


def pytest_runtest_setup(item):
    if DEVICE.type != "cpu" and item.get_closest_marker("cpu"):
        pytest.skip("is about the CPU alone")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

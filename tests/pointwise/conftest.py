"""The engine's tests work on small tensors: more threads than one cost more than they bring, the more so side by side."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

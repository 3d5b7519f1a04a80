import ctypes
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from sadpm.running.device import select_device


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_memory_that_tensors_leave_is_not_asked_for_again_at_each_step():
    program = """
import resource, torch
from sadpm.running.device import select_device

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    for tensor in [torch.ones(2**20) for _ in range(16)]:
        del tensor

assert select_device().type == "cpu"
step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)
"""
    command, environment = [sys.executable, "-c", program], {**os.environ, "SADPM_DEVICE": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    pages_of_a_step = 16 * 2**22 // 4096
    assert int(done.stdout) < pages_of_a_step


def test_the_gpu_that_is_asked_for_becomes_the_current_one(monkeypatch):
    """Streams, events and recordings are made for that one, whichever a tensor lies on."""
    chosen = []
    monkeypatch.setenv("SADPM_DEVICE", "cuda:1")
    monkeypatch.setattr(torch, "empty", lambda *_, device: SimpleNamespace(device=torch.device(device)))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert select_device() == torch.device("cuda:1")
    assert chosen == [torch.device("cuda:1")]

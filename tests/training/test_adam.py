import copy
import subprocess
import sys

import torch
from torch import nn

from sadpm.training.adam import Adam


def weights(make, steps, start=None):
    """The weights of a small network after some steps at a rate that falls, and the optimiser."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3)).to(memory_format=torch.channels_last)
    optimizer = make(module) if start is None else start
    images = torch.randn(5, 1, 4, 4)
    for step in range(steps):
        optimizer.zero_grad()
        module(images).square().sum().backward()
        optimizer.step(0.1 / (step + 1))
    return [parameter.detach() for parameter in module.parameters()], optimizer


class Torchs(torch.optim.Adam):
    def step(self, rate):
        self.param_groups[0]["lr"] = rate
        super().step()


def test_it_is_torchs_adam_to_the_bit():
    ours, our_state = weights(lambda module: Adam(list(module.parameters())), 4)
    theirs, their_state = weights(lambda module: Torchs(module.parameters(), fused=True), 4)
    assert all(map(torch.equal, ours, theirs))
    for place, moments in their_state.state_dict()["state"].items():
        for name, expected in moments.items():
            found = our_state.state_dict()["state"][place][name]
            assert torch.equal(found, expected)
            assert found.stride() == expected.stride()


def test_it_goes_on_from_its_state_and_from_torchs():
    for make in (lambda parameters: Adam(parameters), lambda parameters: Torchs(parameters, fused=True)):
        parameter = torch.tensor([1.0, -2.0], requires_grad=True)
        whole, gradients = Adam([parameter]), [torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.5])]
        other = parameter.detach().clone().requires_grad_()
        first = make([other])
        parameter.grad = other.grad = gradients[0]
        whole.step(0.1)
        first.step(0.1)
        second = Adam([other])
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        parameter.grad = other.grad = gradients[1]
        whole.step(0.1)
        second.step(0.1)
        assert torch.equal(other, parameter)


def test_training_does_not_import_the_compiler():
    """It takes a second of processor time, which each training and each fit would pay."""
    program = """
import sys
import torch
from sadpm.training.state import TrainingState
state = TrainingState(torch.nn.Linear(2, 1), learning_rate=0.1, ema_decay=0.5, max_grad_norm=1.0, log_every=2)
for _ in range(2):
    state.update(state.module(torch.ones(3, 2)).sum())
state.load_state_dict(state.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

import math

import pytest
import torch
from torch import nn

from sadpm.running.files import UserError
from sadpm.training.state import EXPLODED, TrainingState


def make(**changes):
    module = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -2.0]]))
    options = {"learning_rate": 0.1, "ema_decay": 0.75, "max_grad_norm": None, "log_every": 2}
    return TrainingState(module, **{**options, **changes})


def loss_of(state, scale=1.0):
    return scale * state.module.weight.square().sum()


def test_the_average_starts_as_the_weights_after_the_first_step():
    state = make()
    weights = []
    for _ in range(3):
        state.update(loss_of(state))
        weights.append(state.module.weight.detach().clone())
    expected = weights[0]
    for later in weights[1:]:
        expected = 0.75 * expected + 0.25 * later
    torch.testing.assert_close(state.ema.weight, expected)


def test_the_first_step_is_adams():
    state = make()
    state.update(loss_of(state))
    torch.testing.assert_close(state.module.weight, torch.tensor([[0.9, -1.9]]), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("bound", "largest"), [(None, 2e6), (1.0, 1.0)])
def test_gradients_are_clipped_by_their_norm(bound, largest):
    state = make(max_grad_norm=bound)
    state.update(loss_of(state, scale=1e6))
    assert state.module.weight.grad.norm().item() == pytest.approx(largest * (5**0.5 if bound is None else 1), rel=1e-4)


def test_the_history_holds_means_over_its_interval():
    state = make(learning_rate=1e-12)
    for scale in (1.0, 3.0, 5.0, 5.0, 9.0):
        loss = loss_of(state, scale)
        state.update(loss, 2 * loss)
    assert [row[0] for row in state.history] == [2, 4]
    assert [value for row in state.history for value in row[1:]] == pytest.approx([10, 20, 25, 50])


def test_a_state_goes_on_to_the_bit():
    whole, half = make(), make()
    for _ in range(3):
        whole.update(loss_of(whole))
        half.update(loss_of(half))
    resumed = make()
    resumed.load_state_dict(half.state_dict())
    for state in (whole, resumed):
        for _ in range(2):
            state.update(loss_of(state))
    assert torch.equal(whole.module.weight, resumed.module.weight)
    assert torch.equal(whole.ema.weight, resumed.ema.weight)
    assert whole.history == resumed.history
    assert len(whole.history) == 2


def test_a_loss_that_is_not_finite_is_told_when_it_is_fetched():
    state = make(max_grad_norm=1.0)
    for scale in (1.0, 1.0, math.inf):
        state.update(loss_of(state, scale))
    with pytest.raises(
        UserError, match=r"diverged: the loss is nan in steps 3 to 4. Lower learning_rate \(now 0.1\); "
    ):
        state.update(loss_of(state))
    assert [row[0] for row in state.history] == [2]


@pytest.mark.parametrize("damaged", ["module", "ema"])
def test_weights_that_are_not_finite_never_reach_a_checkpoint(damaged):
    state = make(log_every=1000)
    state.update(loss_of(state))
    getattr(state, damaged).weight.data[0, 1] = math.nan
    with pytest.raises(UserError, match=r"after step 1, weight holds values that are not finite.*or set max_grad_norm"):
        state.state_dict()


@pytest.mark.parametrize("log_every", [2, 1000])
def test_a_loss_that_explodes_is_told_at_the_latest_with_the_checkpoint(log_every):
    state = make(log_every=log_every, loss_of_zero=5.0)
    state.update(loss_of(state, scale=2 * EXPLODED))

    def go_on():
        state.update(loss_of(state, scale=2 * EXPLODED))
        state.state_dict()

    with pytest.raises(UserError, match=r"steps 1 to 2 is .* more than 1,000 times the 5 of a network that always"):
        go_on()


@pytest.mark.parametrize("log_every", [2, 1000])
def test_a_large_loss_is_no_explosion(log_every):
    state = make(log_every=log_every, loss_of_zero=5.0)
    for _ in range(2):
        state.update(loss_of(state, scale=0.9 * EXPLODED))
    assert state.state_dict()["step"] == 2


def at_losses(losses, **changes):
    """A state whose log has these means of 500 steps each; a module that answers 0 has a loss of 10."""
    state = make(learning_rate=1e-12, log_every=500, loss_of_zero=10.0, **changes)
    for loss in losses:
        state.step += 499
        state._sums = torch.tensor([499.0 * loss])
        state.update(loss_of(state, loss / 5))
    return state


def test_a_module_that_has_long_forgotten_what_it_learned_is_lost():
    with pytest.raises(
        UserError, match=r"the loss of steps 1001 to 2000 is 12, more than the 10 of a network that always answers 0"
    ):
        at_losses([11, 4, 11, 12])


@pytest.mark.parametrize(
    ("losses", "sound"),
    [
        ([11, 4, 11], False),  # it may recover, but is not worth the place of an older checkpoint
        ([11, 4, 11, 9], True),
        ([4, 11, 9, 11, 9], True),
        ([30, 20, 12, 11], True),  # a slow start
        ([6, 11, 12, 12], True),  # never much better than a module that answers 0
    ],
)
def test_spikes_and_slow_starts_are_gone_on_with(losses, sound):
    state = at_losses(losses)
    assert state.sound == sound
    again = make(log_every=500, loss_of_zero=10.0)
    again.load_state_dict(state.state_dict())
    assert again.sound == sound


def test_without_a_loss_of_zero_nothing_is_forgotten():
    state = make(log_every=1, learning_rate=1e-12)
    for scale in (1.0, 1e6):
        state.update(loss_of(state, scale))
    assert state.sound


def test_the_norm_of_the_gradient_is_kept_where_it_is_known():
    known, unknown = make(max_grad_norm=1.0), make()
    for state in (known, unknown):
        state.update(loss_of(state))
    assert known.gradient_norm.item() == pytest.approx(2 * 5**0.5)
    assert unknown.gradient_norm is None


def test_the_learning_rate_of_the_last_step_is_known():
    state = make(learning_rate=lambda step: 0.1 / (1 + step))
    for _ in range(2):
        state.update(loss_of(state))
    assert state.last_rate == 0.05

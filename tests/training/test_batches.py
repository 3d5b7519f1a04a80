import numpy as np
import pytest
import torch

from sadpm.training.batches import TrainingBatches, to_model_range

CPU = torch.device("cpu")


def test_model_range():
    x = to_model_range(torch.tensor([0, 255, 51], dtype=torch.uint8))
    torch.testing.assert_close(x, torch.tensor([-1.0, 1.0, -0.6]))


def numbered(count):
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


def shown(batches, steps):
    pixels = [((batches.at(step).flatten() + 1) * 127.5).round().int() for step in steps]
    return torch.cat(pixels).tolist()


@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (10, 10), (7, 20), (5, 1)])
def test_every_epoch_shows_every_image_once_in_a_new_order(count, batch_size):
    seen = shown(TrainingBatches(numbered(count), batch_size, 0, CPU), range(4 * count))
    epochs = [tuple(seen[i : i + count]) for i in range(0, len(seen) - count + 1, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_a_batch_depends_on_its_step_alone():
    pixels = numbered(10)
    forwards = [shown(TrainingBatches(pixels, 4, 3, CPU), [step]) for step in range(9)]
    batches = TrainingBatches(pixels, 4, 3, CPU)
    assert [shown(batches, [step]) for step in reversed(range(9))] == forwards[::-1]
    assert shown(TrainingBatches(pixels, 4, 4, CPU), [0]) != forwards[0]


def test_flips_mirror_about_half_of_the_images():
    pixels = np.tile(np.array([[0, 255]], np.uint8)[None, ..., None], (400, 1, 1, 1))
    x0 = TrainingBatches(pixels, 400, 0, CPU, flip=True).at(0)
    flipped = x0[:, 0, 0, 0] == 1
    assert 150 < flipped.sum() < 250
    assert torch.equal(x0[:, 0, 0, 1] == -1, flipped)

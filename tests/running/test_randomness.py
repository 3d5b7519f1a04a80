import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sadpm.running.randomness import DRAW_SIZE, ImageNoise, generator, position_seed, random_signs


@given(st.tuples(st.integers(0, 99), st.sampled_from(["a", "b"]), st.integers(0, 10**9)), st.data())
def test_different_positions_have_different_seeds(position, data):
    other = data.draw(st.tuples(st.integers(0, 99), st.sampled_from(["a", "b"]), st.integers(0, 10**9)))
    assert (position_seed(*position) == position_seed(*other)) == (position == other)
    assert 0 <= position_seed(*position) < 2**63


def test_a_seed_means_the_same_for_ever():
    assert position_seed(0, "samples", 0) == 5432779184042162921
    assert torch.randn(1, generator=generator(0, "samples", 0)).item() == pytest.approx(0.302427)


def test_random_signs_are_as_often_positive_as_negative():
    signs = random_signs((100, 100), generator(0, "signs", 0))
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean().item()) < 5 / 100
    assert torch.equal(signs, random_signs((100, 100), generator(0, "signs", 0)))


def draws(images, count):
    noise = ImageNoise(7, "samples", images, (1, 2, 2))
    return torch.stack([noise.at_start(), *(noise.of_step(j) for j in range(count - 1))])


@pytest.mark.parametrize("cut", [DRAW_SIZE, 2 * DRAW_SIZE])
def test_noise_of_an_image_does_not_depend_on_its_batch(cut):
    total = 2 * DRAW_SIZE + 17
    whole = draws(range(total), 3)
    parts = [draws(range(cut), 3), draws(range(cut, total), 3)]
    assert torch.equal(whole, torch.cat(parts, dim=1))


def test_the_noise_of_a_step_does_not_depend_on_what_was_drawn_before():
    noise = ImageNoise(7, "samples", range(DRAW_SIZE), (1, 2, 2))
    assert torch.equal(noise.of_step(1), draws(range(DRAW_SIZE), 3)[2])


def test_draws_and_images_are_independent():
    noise = draws(range(2 * DRAW_SIZE), 4).flatten(0, 1).flatten(1)
    assert len(noise.unique(dim=0)) == len(noise)


def test_a_range_must_start_at_a_group():
    with pytest.raises(ValueError, match=f"multiple of {DRAW_SIZE}, not at 10"):
        ImageNoise(0, "samples", range(10, 20), (1, 2, 2))

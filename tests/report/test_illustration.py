import math

import pytest
import torch

from sadpm.config.outputs import IllustrationFigure
from sadpm.diffusion.gap import total_gap
from sadpm.report.illustration import best_prediction, illustration, noise_schedule, root_mean_square, simulate

FIGURE = IllustrationFigure(kind="illustration", title="Errors", steps=64, chains=500, error=0.1)


@pytest.fixture(scope="module")
def both():
    return simulate(FIGURE)


def test_the_best_predictor_is_the_conditional_mean():
    """Regression of eps on x_n: with standard normal data, E[eps | x_n] is linear with slope sqrt(1 - abar_n)."""
    schedule, generator = noise_schedule(FIGURE.steps), torch.Generator().manual_seed(7)
    x0, noise = torch.randn(2, 200_000, generator=generator, dtype=torch.float64)
    for n in (2, 30, 65):
        x = schedule.add_noise(x0, noise, torch.full_like(x0, n, dtype=torch.long))
        residual = noise - best_prediction(schedule, x, n)
        assert (residual * x).mean().abs() < 0.01
        assert residual.var() == pytest.approx(float(schedule.alphas_cumprod[n]), rel=0.02)


def test_every_single_error_has_the_same_size(both):
    for chains in both:
        assert torch.equal(chains.errors.abs(), torch.full_like(chains.errors, FIGURE.error))
        assert len(chains.steps) == FIGURE.steps
    independent, persistent = (chains.errors[2:] for chains in both)
    assert (persistent == persistent[0]).all()
    assert persistent[0].mean().abs() < 0.02
    assert (independent[1:] * independent[:-1]).mean().abs() < 0.05 * FIGURE.error**2


def test_simple_loss_is_the_same(both):
    """E (f - eps)^2 under the forward process exceeds the best predictor's by error^2 for both predictors.

    Each draw comes with its negative, so that the mixed term vanishes exactly.
    """
    schedule, generator = noise_schedule(FIGURE.steps), torch.Generator().manual_seed(3)
    draws = torch.randn(2, 50, FIGURE.chains, generator=generator, dtype=torch.float64)
    x0, noise = torch.cat([draws, -draws], dim=1)
    x = schedule.add_noise(x0, noise, torch.full((100,), 20))
    best = best_prediction(schedule, x, 20) - noise
    for chains in both:
        excess = (best + chains.errors[20]).square().mean() - best.square().mean()
        assert excess == pytest.approx(FIGURE.error**2, rel=1e-9)


def test_theorem_1(both):
    schedule = noise_schedule(FIGURE.steps)
    for chains in both:
        errors = {step.level: step.error for step in chains.steps}
        assert list(errors) == list(range(FIGURE.steps + 1, 1, -1))
        torch.testing.assert_close(total_gap(schedule, errors), chains.steps[-1].gap, rtol=1e-10, atol=1e-12)


def test_added_gap_is_what_the_linear_chain_makes_of_the_errors(both):
    """An error at level n is scaled by its coefficient and then by sqrt(alpha) of each of the steps below."""
    schedule = noise_schedule(FIGURE.steps)
    carried = (schedule.alphas_cumprod[1:-1] / schedule.alphas_cumprod[1]).sqrt()
    weights = (schedule.error_coefficients[2:] * carried)[: FIGURE.steps]
    assert weights.max() < 1.25 * weights.min()
    for chains in both:
        torch.testing.assert_close(chains.added_gap[-1], weights @ chains.errors[2:], rtol=1e-9, atol=1e-12)


def test_persistent_errors_add_up(both):
    independent, persistent = (float(root_mean_square(chains.added_gap)[-1]) for chains in both)
    assert persistent / independent == pytest.approx(math.sqrt(FIGURE.steps), rel=0.1)
    assert persistent > FIGURE.error > 3 * independent


@pytest.mark.parametrize("changes", [{"steps": 2, "chains": 2}, {"steps": 3, "chains": 40, "error": 2.0}])
def test_smallest_settings(changes):
    assert illustration(FIGURE.model_copy(update=changes)).axes


def test_figure_says_how_large_errors_and_gaps_are(both):
    canvas = illustration(FIGURE)
    entries = [text.get_text() for text in canvas.axes[3].get_legend().get_texts()]
    last = [float(root_mean_square(chains.added_gap)[-1]) for chains in both]
    assert entries == [f"independent: 0.10, {last[0]:#.2g}", f"persistent: 0.10, {last[1]:#.2g}"]

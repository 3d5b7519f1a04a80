"""Samplers on Gaussian data, where the law of every state is known, and against the samplers of diffusers."""

import math
from types import SimpleNamespace

import pytest
import torch
from gaussian import GaussianData, correlated, diagonal, distribution_of_chain, isotropic
from hypothesis import given, settings
from hypothesis import strategies as st
from random_schedules import KINDS_THAT_KEEP_SOME_SIGNAL, schedules_with_levels

from sadpm.diffusion.samplers import (
    DDIMStep,
    DDPMStep,
    Prediction,
    pixel_variance,
    predict_x0,
    reverse_process,
    to_uint8,
)
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.timesteps import timesteps

quick = settings(max_examples=60, deadline=None)
SCHEDULE = NoiseSchedule.create("linear", 60, 1e-3, 0.25)
FEW_LEVELS = [1, 4, 23, 60]
OPTIMAL_STEPS = {
    "ddpm": DDPMStep("optimal"),
    "ddim": DDIMStep(0.0, "optimal"),
    "ddim-eta0.5": DDIMStep(0.5, "optimal"),
    "ddim-eta1": DDIMStep(1.0, "optimal"),
}


def images(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


def chain_of(data, step, levels, estimator=None, schedule=SCHEDULE):
    start = data.marginal(schedule, levels[-1])
    return distribution_of_chain(data.model(schedule, estimator), schedule, levels, step, start)


class TestGaussianData:
    """The exact noise predictor makes every step affine; means and covariances are compared, not samples."""

    @pytest.mark.parametrize("step", OPTIMAL_STEPS.values(), ids=OPTIMAL_STEPS)
    @pytest.mark.parametrize(
        ("data", "estimator"),
        [
            (isotropic(0.3), "analytic"),
            (isotropic(0.3), "npr"),
            (isotropic(1.7), "sn"),
            (diagonal(), "npr"),
            (diagonal(), "sn"),
        ],
        ids=str,
    )
    def test_optimal_variance_reproduces_every_marginal_in_few_steps(self, data, estimator, step):
        for state in chain_of(data, step, FEW_LEVELS, estimator):
            mean, covariance = data.marginal(SCHEDULE, state.level)
            assert_close(state.mean, mean)
            noiseless_last_step = state.variance.diag() if state.level == 0 else 0
            assert_close(state.covariance + noiseless_last_step, covariance)

    @pytest.mark.parametrize("step", OPTIMAL_STEPS.values(), ids=OPTIMAL_STEPS)
    @pytest.mark.parametrize("levels", [[1, 23], [4, 60]])
    def test_one_step_keeps_the_variance_of_each_correlated_pixel(self, levels, step):
        data = correlated()
        landing = chain_of(data, step, levels, "npr")[0]
        _, covariance = data.marginal(SCHEDULE, levels[0])
        assert_close(landing.covariance.diagonal(), covariance.diagonal())
        landing = chain_of(data, step, levels, "analytic")[0]
        assert_close(landing.covariance.trace(), covariance.trace())

    @pytest.mark.parametrize("step", [DDPMStep("small"), DDIMStep(1.0), DDIMStep(0.4), DDIMStep(0.0)], ids=str)
    def test_small_variance_is_exact_for_a_single_image(self, step):
        data = isotropic(0.0)
        for state in chain_of(data, step, FEW_LEVELS):
            mean, covariance = data.marginal(SCHEDULE, state.level)
            assert_close(state.mean, mean)
            assert_close(state.covariance, covariance)

    def test_large_variance_is_exact_for_white_noise(self):
        data = isotropic(1.0)
        for state in chain_of(data, DDPMStep("large"), FEW_LEVELS):
            mean, covariance = data.marginal(SCHEDULE, state.level)
            assert_close(state.mean, mean)
            noiseless_last_step = state.variance.diag() if state.level == 0 else 0
            assert_close(state.covariance + noiseless_last_step, covariance)

    @quick
    @given(schedules_with_levels(2, KINDS_THAT_KEEP_SOME_SIGNAL), st.floats(0.01, 0.99))
    def test_small_and_large_bound_the_optimal_variance_of_pixels_below_unit_variance(self, drawn, variance):
        schedule, (s, t) = drawn
        data, x = isotropic(variance), images(2, 1, 1, 3)
        prediction = data.model(schedule, "npr")(x, t)
        small, optimal, large = (
            DDPMStep(kind)(schedule, x, prediction, s, t).variance for kind in ("small", "optimal", "large")
        )
        assert (small < optimal).all()
        assert (optimal < large).all()

    @pytest.mark.parametrize("levels", [FEW_LEVELS, [60], list(range(1, 61))], ids=len)
    @pytest.mark.parametrize("data", [isotropic(0.3), diagonal(), correlated()], ids=["isotropic", "diagonal", "full"])
    def test_ddim_shrinks_each_principal_axis_by_cosines(self, data, levels):
        """On an axis with standard deviation S, x_n = R_n (cos a_n, sin a_n) . (x_0/S, eps) with
        tan a_n = sqrt(1 - abar_n) / (S sqrt(abar_n)); a step multiplies the deviation by cos(a_t - a_s) R_s / R_t.
        """
        variances, axes = torch.linalg.eigh(data.covariance)
        angles = {
            n: torch.atan2(SCHEDULE.betas_cumprod[n].sqrt(), (SCHEDULE.alphas_cumprod[n] * variances).sqrt())
            for n in (0, *levels)
        }
        shrinkage, before = torch.ones(3, dtype=torch.float64), levels[-1]
        for state in chain_of(data, DDIMStep(), levels):
            shrinkage = shrinkage * torch.cos(angles[before] - angles[state.level])
            before = state.level
            mean, covariance = data.marginal(SCHEDULE, state.level)
            assert_close(state.mean, mean)
            expected = axes.T @ covariance @ axes * shrinkage**2
            torch.testing.assert_close(axes.T @ state.covariance @ axes, expected, rtol=1e-7, atol=1e-11)

    @pytest.mark.parametrize("step", [DDPMStep("small"), DDPMStep("large"), DDIMStep(), DDIMStep(0.5)], ids=str)
    def test_more_steps_converge_to_the_data(self, step):
        schedule, data = (
            NoiseSchedule.create("linear", 1000),
            GaussianData(correlated().mean[:2], diagonal().covariance[:2, :2]),
        )
        white = torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
        errors = []
        for count in (20, 80, 320):
            levels = timesteps("linear", 1000, count)
            last = distribution_of_chain(data.model(schedule), schedule, levels, step, white)[-1]
            errors.append((last.covariance - data.covariance).abs().max().item())
            torch.testing.assert_close(last.mean, data.mean, rtol=0, atol=0.01)
        assert errors[0] > 2.5 * errors[1] > 6.25 * errors[2], errors
        assert errors[2] < 0.02


def toy_noise(x, n):
    return torch.tanh(0.7 * x + 0.3 * math.sin(n)) + 0.1 * x


def toy(x, n):
    return Prediction(toy_noise(x, n))


def of_diffusers(name, schedule, dtype, **options):
    """A scheduler of diffusers with our betas; it rounds them to float32 unless told the products in float64."""
    import diffusers

    scheduler = getattr(diffusers, name)(
        num_train_timesteps=schedule.num_train_timesteps,
        trained_betas=schedule.betas[1:].tolist(),
        prediction_type="epsilon",
        timestep_spacing="leading",
        **options,
    )
    if dtype == torch.float64:
        scheduler.alphas_cumprod = schedule.alphas_cumprod[1:]
    return scheduler


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("clip_sample", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize("count", [5, 60])
class TestAgainstDiffusers:
    # float32 accuracy is that of 1 - abar_1, which is 1e-2 here
    schedule = NoiseSchedule.create("linear", 60, 1e-2, 0.15)
    shape = (2, 3, 4, 4)

    def assert_same_chain(self, scheduler, step, count, dtype, noise_of, step_options):
        scheduler.set_timesteps(count)
        levels = timesteps("uniform", 60, count)
        assert scheduler.timesteps.tolist() == [level - 1 for level in reversed(levels)]
        x = images(*self.shape, seed=1, dtype=dtype)
        theirs = []
        for j, tau in enumerate(scheduler.timesteps.tolist()):
            before = theirs[-1].prev_sample if theirs else x
            theirs.append(scheduler.step(toy_noise(before, tau + 1), tau, before, **step_options(j)))
        ours = list(reverse_process(toy, x, levels, self.schedule, step, noise_of))
        accuracy = 1e-10 if dtype == torch.float64 else 1e-5
        scale = max(state.prev_sample.abs().max() for state in theirs)
        for our, their in zip(ours, theirs, strict=True):
            torch.testing.assert_close(our.x, their.prev_sample, rtol=accuracy, atol=accuracy * scale)
            x0 = their.pred_original_sample
            torch.testing.assert_close(our.transition.x0, x0, rtol=accuracy, atol=accuracy * max(x0.abs().max(), 1))
            assert our.x.dtype == dtype

    @pytest.mark.parametrize("variance", ["small", "large"])
    def test_ddpm(self, count, variance, clip_sample, dtype):
        generator = torch.Generator().manual_seed(7)
        noise = [torch.randn(self.shape, generator=generator, dtype=dtype) for _ in range(count)]
        theirs = torch.Generator().manual_seed(7)
        self.assert_same_chain(
            of_diffusers(
                "DDPMScheduler", self.schedule, dtype, variance_type=f"fixed_{variance}", clip_sample=clip_sample
            ),
            DDPMStep(variance, clip_sample=clip_sample),
            count,
            dtype,
            noise.__getitem__,
            lambda j: {"generator": theirs},
        )

    @pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
    def test_ddim(self, count, eta, clip_sample, dtype):
        noise = images(count, *self.shape, seed=3, dtype=dtype)
        self.assert_same_chain(
            of_diffusers("DDIMScheduler", self.schedule, dtype, clip_sample=clip_sample, set_alpha_to_one=True),
            DDIMStep(eta, clip_sample=clip_sample),
            count,
            dtype,
            noise.__getitem__,
            lambda j: {"eta": eta, "variance_noise": noise[j]},
        )


class TestSteps:
    @quick
    @given(schedules_with_levels(2, KINDS_THAT_KEEP_SOME_SIGNAL))
    def test_ddpm_is_ddim_of_eta_one(self, drawn):
        schedule, (s, t) = drawn
        x = images(2, 1, 2, 2)
        prediction = Prediction(toy_noise(x, t), x**2)
        for variance in ("small", "optimal"):
            ddpm = DDPMStep(variance)(schedule, x, prediction, s, t)
            ddim = DDIMStep(1.0, variance)(schedule, x, prediction, s, t)
            scale = ddpm.x0.abs().max().item()
            torch.testing.assert_close(ddim.mean, ddpm.mean, rtol=1e-9, atol=1e-11 * scale)
            torch.testing.assert_close(ddim.variance, ddpm.variance, rtol=1e-7, atol=1e-11 * scale**2)

    @quick
    @given(schedules_with_levels(2, KINDS_THAT_KEEP_SOME_SIGNAL), st.floats(0, 1))
    def test_with_the_true_noise_ddim_lands_on_the_marginal_of_the_image(self, drawn, eta):
        schedule, (s, t) = drawn
        x0, noise = images(2, 2, 1, 2, 2)
        x = schedule.add_noise(x0, noise, torch.tensor([t, t]))
        transition = DDIMStep(eta)(schedule, x, Prediction(noise), s, t)
        signal, left = schedule.alphas_cumprod[s].sqrt(), schedule.betas_cumprod[s]
        torch.testing.assert_close(transition.x0, x0, rtol=1e-7, atol=1e-7)
        of_noise = (transition.mean - signal * x0) / noise
        torch.testing.assert_close(of_noise**2 + transition.variance, left.expand_as(x), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(transition.variance, eta**2 * schedule.posterior_variance(s, t))

    @quick
    @given(schedules_with_levels(1, KINDS_THAT_KEEP_SOME_SIGNAL, lowest=1))
    def test_a_step_to_the_same_level_changes_nothing(self, drawn):
        schedule, (n,) = drawn
        x = images(2, 1, 2, 2)
        prediction = Prediction(toy_noise(x, n), x**2)
        for step in (DDPMStep("small"), DDPMStep("large"), DDPMStep("optimal", True), DDIMStep(0.0), DDIMStep(1.0)):
            transition = step(schedule, x, prediction, n, n)
            torch.testing.assert_close(transition.mean, x, rtol=1e-9, atol=1e-9)
            assert (transition.variance == 0).all()

    @pytest.mark.parametrize("step", [DDPMStep(clip_sample=True), DDIMStep(0.3, clip_sample=True)], ids=str)
    def test_clipping_keeps_the_predicted_image_in_range_and_nothing_else(self, step):
        x, noise = images(2, 3, 4, 4), images(2, 3, 4, 4, seed=1)
        free = predict_x0(SCHEDULE, x, noise, 20, clip_sample=False)
        clipped = step(SCHEDULE, x, Prediction(noise), 9, 20)
        assert_close(clipped.x0, free.clamp(-1, 1))
        assert free.abs().max() > 1
        inside = free.abs() <= 1
        unclipped = type(step)(**{**vars(step), "clip_sample": False})(SCHEDULE, x, Prediction(noise), 9, 20)
        assert_close(clipped.mean[inside], unclipped.mean[inside])
        of_x0 = (unclipped.mean - clipped.mean)[~inside] / (free - clipped.x0)[~inside]
        assert_close(of_x0, of_x0[0].expand_as(of_x0))
        assert of_x0[0] > 0
        assert clipped.variance == unclipped.variance

    @pytest.mark.parametrize("step", [DDPMStep("optimal"), DDIMStep(0.0, "optimal")], ids=str)
    def test_optimal_variance_without_a_covariance(self, step):
        x = images(1, 1, 2, 2)
        with pytest.raises(ValueError, match="optimal variance needs a model that predicts a covariance"):
            step(SCHEDULE, x, Prediction(x), 3, 9)

    @pytest.mark.parametrize("shape", [(), (2, 1, 1, 1), (2, 3, 4, 4)])
    @pytest.mark.parametrize("step", [DDPMStep("optimal"), DDIMStep(0.5, "optimal")], ids=str)
    def test_covariances_of_any_resolution(self, step, shape):
        x, covariance = images(2, 3, 4, 4), images(*shape).square()
        transition = step(SCHEDULE, x, Prediction(x, covariance), 3, 9)
        assert transition.variance.shape == shape
        full = step(SCHEDULE, x, Prediction(x, covariance.expand_as(x)), 3, 9)
        assert_close(transition.variance.expand_as(x), full.variance)


class TestLoop:
    def run(self, levels, step, predict=toy, **options):
        """States of a chain, with the steps j for which noise was asked and the levels that the model saw."""
        record = SimpleNamespace(asked=[], seen=[])

        def recorded(x, n):
            record.seen.append(n)
            return predict(x, n)

        def draw_noise(j):
            record.asked.append(j)
            return images(2, 1, 2, 2, seed=j)

        x = images(2, 1, 2, 2, seed=99)
        record.states = list(reverse_process(recorded, x, levels, SCHEDULE, step, draw_noise, **options))
        return record

    def test_levels_go_down_to_clean_data(self):
        record = self.run([2, 7, 30], DDPMStep())
        assert record.seen == [30, 7, 2]
        assert [state.level for state in record.states] == [7, 2, 0]
        assert torch.equal(record.states[-1].x, record.states[-1].transition.mean)

    def test_each_state_is_a_draw_of_its_transition(self):
        record = self.run([2, 7, 30], DDPMStep("large"))
        for j, state in enumerate(record.states[:-1]):
            noise = (state.x - state.transition.mean) / state.transition.variance.sqrt()
            assert_close(noise, images(2, 1, 2, 2, seed=j))

    @pytest.mark.parametrize(
        ("step", "asked"),
        [(DDPMStep("small"), [0, 1, 2]), (DDPMStep("large"), [0, 1, 2]), (DDIMStep(0.5), [0, 1, 2]), (DDIMStep(), [])],
        ids=str,
    )
    def test_noise_is_asked_for_where_there_is_variance(self, step, asked):
        assert self.run([2, 5, 7, 30], step).asked == asked

    @pytest.mark.parametrize("step", [DDPMStep("small"), DDPMStep("large"), DDIMStep(0.5), DDIMStep()], ids=str)
    def test_repeated_levels_are_passed_over_but_counted(self, step):
        record = self.run([2, 2, 7, 7, 7, 30], step)
        assert record.seen == [30, 7, 7, 7, 2, 2]
        assert set(record.asked) <= {0, 3}
        for before, after in ((0, 1), (1, 2), (3, 4)):
            assert_close(record.states[after].x, record.states[before].x)

    @pytest.mark.parametrize(("clamped_steps", "clamped"), [(1, [2]), (2, [2, 5]), (3, [2, 5, 7])])
    def test_the_clamp_is_for_the_last_noisy_steps(self, clamped_steps, clamped):
        limit = 1e-9
        free = self.run([2, 5, 7, 30], DDPMStep("large"))
        record = self.run([2, 5, 7, 30], DDPMStep("large"), max_variance=limit, clamped_steps=clamped_steps)
        variances = {state.level: state.transition.variance.item() for state in record.states}
        for state in free.states[:-1]:
            assert variances[state.level] == (limit if state.level in clamped else state.transition.variance.item())
        for j, state in enumerate(record.states[:-1]):
            noise = (state.x - state.transition.mean) / variances[state.level] ** 0.5
            torch.testing.assert_close(noise, images(2, 1, 2, 2, seed=j), rtol=1e-5, atol=1e-7)

    def test_the_clamp_leaves_smaller_variances_and_means_and_removes_negative_variances(self):
        def predict(x, n):
            covariance = torch.tensor([-9.0, 0.01, 9.0, 0.0] if n == 5 else [9.0] * 4)
            return Prediction(toy_noise(x, n), covariance.double().reshape(1, 1, 2, 2))

        free = self.run([2, 5, 30], DDIMStep(0.5, "optimal"), predict)
        clamped = self.run([2, 5, 30], DDIMStep(0.5, "optimal"), predict, max_variance=0.1)
        assert torch.equal(free.states[0].x, clamped.states[0].x)
        assert (free.states[0].transition.variance > 0.1).all()
        before, after = (run.states[1].transition for run in (free, clamped))
        assert torch.equal(before.mean, after.mean)
        assert before.variance.min() < 0
        assert before.variance.max() > 0.1
        _, second, _, fourth = before.variance.flatten().tolist()
        assert after.variance.flatten().tolist() == [0.0, second, 0.1, fourth]
        assert clamped.states[-1].x.isfinite().all()

    @pytest.mark.parametrize(("pixels", "variance"), [(1, 9.663e-5), (2, 3.865e-4)])
    def test_pixel_variance_is_that_of_a_gaussian_with_this_mean_deviation(self, pixels, variance):
        assert pixel_variance(pixels) == pytest.approx(variance, rel=1e-3)
        assert math.sqrt(pixel_variance(pixels) * 2 / math.pi) == pytest.approx(pixels * 2 / 255)


class TestPixels:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_all_grey_levels_survive(self, dtype):
        grey = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
        scaled = 2 * grey.to(dtype) / 255 - 1
        assert torch.equal(to_uint8(scaled), grey.movedim(1, -1))
        assert torch.equal(to_uint8(grey.to(dtype) / 127.5 - 1), grey.movedim(1, -1))

    def test_rounding_is_to_the_nearest_level_and_clamps(self):
        levels = torch.tensor([-1e9, -1.0, -0.49, 0.49, 0.51, 99.49, 99.51, 254.51, 255.49, 256.0, 1e9])
        x = (levels.double() / 127.5 - 1).reshape(1, 1, 1, -1)
        assert to_uint8(x).flatten().tolist() == [0, 0, 0, 0, 1, 99, 100, 255, 255, 255, 255]

    def test_halves_go_up(self):
        below = torch.arange(255)
        x = (2 * below + 1).double() / 255 - 1
        exact = (x + 1) * 127.5 == below + 0.5
        assert exact[below % 2 == 0].any()
        assert torch.equal(to_uint8(x[exact].reshape(1, 1, 1, -1)).flatten(), (below[exact] + 1).to(torch.uint8))

    def test_channels_come_last(self):
        x = torch.arange(24).reshape(2, 3, 2, 2) / 127.5 - 1
        pixels = to_uint8(x)
        assert pixels.shape == (2, 2, 2, 3)
        assert pixels.dtype == torch.uint8
        assert pixels[1, 0, 1].tolist() == [13, 17, 21]

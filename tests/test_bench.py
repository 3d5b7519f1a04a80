"""The benchmarks: their arithmetic on clocks that are made up, and each case really run once, as small as it gets."""

import json
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import bench
from cases import fitting, sampling, scoring, starting, training
from cases.subject import Subject
from paired.floors import Rates, best, measured_rates
from paired.report import markdown, time
from paired.rounds import MOST, Side, alternate, compared
from paired.running import OF_BATCH, Case, affordable, run
from sadpm.config.files import read_config
from sadpm.config.loading import load_config
from sadpm.networks import execution
from sadpm.networks.execution import Executed
from sadpm.networks.unet import UNet
from sadpm.running.files import UserError
from sadpm.stages.plan import read_throughput
from test_config import CONFIGS

CPU = torch.device("cpu")
CONFIG = CONFIGS / "test.yaml"
DIGITS = Subject(load_config(read_config(CONFIG)), "digits", CPU)
RATES = Rates({"float32": 100.0}, 10.0)
GENEROUS = Rates({"float32": 1e15}, 1e15)


class Clock:
    """Time that passes only in the work."""

    def __init__(self):
        self.now, self.done = 0.0, []

    def __call__(self):
        return self.now

    def side(self, name, *seconds, **moved):
        """A side whose n-th time takes the n-th of these seconds, and the last of them from then on."""
        left = list(seconds)

        def work():
            self.done.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return Side(name, work, **moved)


@pytest.fixture
def clock():
    return Clock()


def test_sides_take_turns_until_the_time_is_spent_and_the_first_round_does_not_count(clock):
    sides = [clock.side("a", 100, 1), clock.side("b", 200, 2)]
    rounds = alternate(sides, 305, clock=clock, wall=clock)
    assert rounds == [{"a": 1, "b": 2}] * 2
    assert [list(times) for times in rounds] == [["a", "b"]] * 2
    assert clock.done == ["a", "b", "a", "b", "b", "a"]
    assert len(alternate(sides, 1e9, clock=clock, wall=clock)) == MOST


def test_one_round_counts_where_there_is_no_time_for_two(clock):
    assert alternate([clock.side("a", 7), clock.side("b", 9)], 10, clock=clock, wall=clock) == [{"a": 7, "b": 9}]
    assert clock.done == ["a", "b"]


def test_what_is_fast_is_timed_several_times_at_once_on_all_sides(clock):
    sides = [clock.side("slow", 0.25), clock.side("fast", 0.015625)]
    assert alternate(sides, 0.5, clock=clock, wall=clock) == [{"slow": 0.25, "fast": 0.015625}]
    assert clock.done == ["slow", "fast"] + ["slow"] * 4 + ["fast"] * 4


def test_warming_up_and_waiting_for_the_device(clock):
    alternate([clock.side("a", 8, 4, 1)], 0, clock=clock, wall=clock, warm_up=3, finish=lambda: clock.done.append("."))
    assert clock.done == ["a", "a", "a", ".", "a", "."]


def test_ratios_are_of_rounds_and_not_of_medians():
    times = [{"ours": 1.0, "usual": 2.0}, {"ours": 10.0, "usual": 20.0}, {"ours": 3.0, "usual": 12.0}]
    found = compared(times)
    assert found["usual"]["seconds"] == {"median": 12, "low": 7, "high": 16}
    assert found["usual"]["times_the_first"] == {"median": 2, "low": 2, "high": 3}
    assert found["ours"]["times_the_first"] == {"median": 1, "low": 1, "high": 1}
    assert found["ours"]["rounds"] == [1, 10, 3]


def test_a_floor_is_what_takes_longer_of_products_and_memory():
    assert RATES.floor(Side("", print, flops=50), "float32") == 0.5
    assert RATES.floor(Side("", print, flops=50, bytes=20), "float32") == 2
    assert RATES.floor(Side("", print), "float32") is None


def test_the_best_of_several_times_is_a_rate(clock):
    assert best(clock.side("", 3, 1, 2).work, lambda: None, clock) == 1
    found = measured_rates(CPU, 8, 4096)
    assert list(found.flops) == ["float32"]
    assert min(found.flops["float32"], found.bytes) > 0


def made_up(clock, *sides, **changes):
    @contextmanager
    def of_batch(batch):
        yield [replace(side, flops=side.flops * batch) for side in sides]

    return Case("kind/digits", "some work", of_batch, clock=clock, **changes)


def test_the_share_of_the_floor_that_is_reached(clock):
    case = made_up(clock, clock.side("ours", 4, flops=50), clock.side("usual", 8, flops=50), batch=4, flops=100)
    found = run(case, RATES, CPU, 8.0, 1e9)
    assert found["batch"] == 4
    assert [side["floor"] for side in found["sides"]] == [2, 2]
    assert [side["reached"] for side in found["sides"]] == [0.5, 0.25]


def test_a_batch_is_halved_until_a_round_fits():
    assert [affordable(batch, 1.0, 6.0) for batch in (1, 6, 7, 128)] == [1, 6, 3, 4]
    assert affordable(8, 99.0, 1.0) == 1


def test_cases_share_the_batch_of_the_largest_of_them(clock):
    case = made_up(clock, clock.side("ours", 1), batch=64, flops=100, largest=400)
    assert run(case, RATES, CPU, 16 / OF_BATCH, 1e9)["batch"] == 4


@pytest.mark.parametrize(
    ("seconds", "left", "reason"),
    [(0.9, 1e9, "one round of one image takes at least 4 s"), (3, 7, "no time was left"), (3, 0, "no time was left")],
)
def test_what_would_take_too_long_is_left_out(clock, seconds, left, reason):
    case = made_up(clock, clock.side("ours", 1), flops=400)
    assert run(case, RATES, CPU, seconds, left)["left_out"] == reason
    assert clock.done == []


@pytest.mark.parametrize(("fits", "result"), [(32, 32), (1, 1), (0, None)])
def test_a_batch_is_halved_until_the_memory_suffices(clock, fits, result):
    @contextmanager
    def of_batch(batch):
        if batch > fits:
            raise torch.OutOfMemoryError
        yield [clock.side("ours", 1)]

    found = run(replace(made_up(clock, batch=128), sides=of_batch), RATES, CPU, 0, 1e9)
    assert found.get("batch") == result
    assert ("left_out" in found) == (result is None)


SMALLEST = [
    *training.cases(DIGITS),
    *sampling.cases(DIGITS),
    *sampling.chains(DIGITS, steps=2),
    *fitting.cases(DIGITS),
    *scoring.cases(CPU, features=4, images=40),
    *starting.cases(CONFIG, stages=("table",)),
]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("case", SMALLEST, ids=lambda case: case.name)
def test_each_case_runs(case):
    found = run(replace(case, batch=case.batch and 2), GENEROUS, CPU, 1e-6, 1e9)
    assert min(side["seconds"]["median"] for side in found["sides"]) > 0
    has_floor = case.name.startswith(("training", "update", "sampling", "chain", "fitting"))
    assert {side["floor"] is not None for side in found["sides"]} == {has_floor}
    assert case.flops == sum(side["flops"] for side in found["sides"]) / ((case.batch and 2) or 1)


@pytest.mark.parametrize("length", [1, 3])
def test_both_ways_of_training_learn_the_same(length):
    x0, objective = DIGITS.images(4), training.objective_of(length)
    step, ours = training.trained(DIGITS, objective, x0)
    step_as_usual, usual = training.trained_as_usual(DIGITS, objective, x0)
    for _ in range(3):
        step()
        step_as_usual()
    same(ours.module, usual.network)
    same(ours.ema, usual.ema)
    assert not torch.equal(ours.ema.conv_out.weight, ours.module.conv_out.weight)


def same(ours, others):
    for mine, other in zip(ours.parameters(), others.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_the_usual_way_shows_the_network_one_level_at_a_time(monkeypatch):
    shown, forward = [], UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, x, t: shown.append(len(x)) or forward(self, x, t))
    for way in (training.trained, training.trained_as_usual):
        way(DIGITS, training.objective_of(3), DIGITS.images(4))[0]()
    assert shown == [12, 4, 4, 4]


def test_both_ways_work_on_a_device_without_asking_it(monkeypatch):
    """On the device `meta`, which has no values, nor generators."""
    far, draw = replace(DIGITS, device=torch.device("meta")), training.draws_at

    def drawn_here(step, job, schedule, x0):
        x0, draws = draw(step, job, schedule, torch.zeros(x0.shape))
        return x0.to("meta"), {name: values.to("meta") for name, values in draws.items()}

    monkeypatch.setattr(training, "draws_at", drawn_here)
    for case in (*training.cases(far), *sampling.cases(far)):
        with case.sides(2) as sides:
            for side in sides:
                side.work()


def test_recorded_steps_learn_the_same(monkeypatch):
    monkeypatch.setattr(Executed, "_no_graphs", lambda self, dropout: None)
    monkeypatch.setattr(execution, "recorder", Pretender)
    recorded = Subject(load_config({**read_config(CONFIG), "execution": {"cuda_graphs": True}}), "digits", CPU)
    step, ours = training.trained(recorded, training.objective_of(2), DIGITS.images(4))
    step_as_usual, usual = training.trained_as_usual(recorded, training.objective_of(2), DIGITS.images(4))
    for _ in range(6):
        step()
        step_as_usual()
    same(ours.module, usual.network)


class Pretender:
    """Records the work of a training step, and replays it by doing it."""

    def run(self, work, inputs):
        return work(*inputs)

    def record(self, work, inputs):
        return lambda: work(*inputs), None


def test_npr_is_fitted_alone_and_with_all_that_share_its_pass_and_ocm_by_itself():
    assert ["+".join(fit) for fit in fitting.fits()] == ["npr", "analytic+npr+sn", "ocm"]
    alone, together, ocm = (fitting.flops_of(DIGITS, fit) for fit in fitting.fits())
    assert ocm - alone == DIGITS.flops
    assert 2 * (alone - DIGITS.flops) == together - DIGITS.flops


def test_all_distances_agree():
    gaussians = scoring.gaussians_of(6)
    distances, _ = scoring.peers()
    expected = scoring.frechet_distance(*gaussians)
    assert {scoring.PYTORCH_FID, scoring.FIDELITY} >= distances.keys() - {scoring.METRICS}
    for distance in distances.values():
        found = distance(*gaussians)
        assert float(found["frechet_inception_distance"] if isinstance(found, dict) else found) == pytest.approx(
            expected
        )


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_files_score_as_the_array_does(tmp_path):
    if scoring.PYTORCH_FID not in scoring.peers()[0]:
        pytest.skip("pytorch-fid does not run with what is installed")
    sampled, real = np.random.default_rng(0).integers(0, 256, (2, 70, 8, 8, 3)).astype(np.uint8)
    network = scoring.Narrow().eval()
    ours = scoring.looking(network, CPU)
    reference = scoring.gaussian_of(real, ours)
    expected = scoring.frechet_distance(*scoring.gaussian_of(sampled, ours), *reference)
    theirs = scoring.score_of_files(sampled, tmp_path, network, CPU, reference)
    assert theirs == pytest.approx(expected, rel=1e-2)


def test_who_can_not_be_asked_is_a_row_and_no_failure(monkeypatch):
    monkeypatch.setattr(scoring, "find_spec", lambda name: None if name == "torchmetrics" else object())
    monkeypatch.setattr(scoring, "_torch_fidelity", lambda: partial(int, "a base other than", wrong=10))
    distances, absent = scoring.peers()
    assert absent["torchmetrics"] == "not installed"
    assert absent["torch-fidelity"].startswith("does not run with what is installed")
    assert not distances.keys() & absent.keys()


def test_a_process_that_fails_is_no_fast_one():
    with pytest.raises(RuntimeError, match="no_such_stage"):
        starting.python("-m", "sadpm.stages.no_such_stage")


@pytest.fixture
def asked(tmp_path, monkeypatch):
    monkeypatch.setenv("SADPM_DEVICE", "")  # and back, after the test
    monkeypatch.setattr(bench, "MATRIX", {"cpu": 8})
    monkeypatch.setattr(bench, "COPIED", 4096)
    # Matrices so small are slow to multiply, and everything else would seem to take too long.
    monkeypatch.setattr(bench, "measured_rates", lambda *sizes: measured_rates(*sizes) and GENEROUS)
    return lambda *options: bench.main(
        ["--config", str(CONFIG), "--seconds", "0.01", "--minutes", "1e6", "--output", str(tmp_path), *options]
    )


def test_one_run_writes_a_table_and_what_the_plan_reads(asked, tmp_path, capsys):
    asked("--dataset", "patches", "digits", "--only", "training/digits/K1", "sampling", "update/patches")
    told = capsys.readouterr()
    names = [line.split(", ")[1].split(":")[0] for line in told.err.splitlines() if " of 4, " in line]
    assert names == ["sampling/patches", "sampling/digits", "training/digits/K1", "update/patches"]
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["machine"].keys() >= {"device", "processor", "threads", "torch", "python", "commit", "dirty", "date"}
    speed = read_throughput(tmp_path / "bench.json")
    assert (speed.device, speed.dtype, list(speed.networks)) == ("cpu", "float32", ["digits"])
    trained = next(case for case in content["cases"] if case["name"] == "training/digits/K1")
    ours = trained["sides"][0]
    assert speed.of("digits").training == pytest.approx(3 * trained["batch"] * DIGITS.flops / ours["seconds"]["median"])
    table = (tmp_path / "bench.md").read_text()
    assert table == markdown(content)
    assert f"| digits: a training step, K = 1, batch {trained['batch']} | sadpm | " in table


def test_without_training_and_sampling_there_is_nothing_for_the_plan(asked, tmp_path):
    asked("--dataset", "digits", "--only", "update")
    with pytest.raises(UserError, match=r"bench\.json: not a file of .* with its cases `training` and `sampling`"):
        read_throughput(tmp_path / "bench.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "trainin"], "no case trainin; there are starting/stages, starting/workflow, scoring"),
        (["--dataset", "cifar10"], "no data set cifar10"),
        (["--device", "cuda"], "sees no GPU here; `make bench` measures the CPU"),
    ],
)
def test_what_can_not_be_done_is_said(asked, capsys, monkeypatch, tmp_path, options, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as end:
        asked(*(["--dataset", "digits"] if "--dataset" not in options else []), *options)
    assert end.value.code != 0
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_table_says_what_was_not_measured():
    content = {
        "machine": {
            "device": "NVIDIA", "processor": "P", "cores": 2, "threads": 1, "torch": "3", "cuda": "13",
            "python": "3.14", "commit": "abc", "dirty": True, "date": "today",
        },
        "rates": {"flops": {"float32": 2e9, "bfloat16": 4e12}, "bytes": 3e9},
        "cases": [
            {
                "name": "distance", "about": "a distance", "precision": "float32", "batch": None,
                "sides": [
                    {
                        "side": "sadpm", "seconds": {"median": 2.0, "low": 1.0, "high": 3.0}, "rounds": [1, 2, 3],
                        "times_the_first": {"median": 1.0, "low": 1.0, "high": 1.0}, "floor": None, "reached": None,
                    },
                    {
                        "side": "other", "rounds": [1, 2, 3], "seconds": {"median": 0.004, "low": 0.003, "high": 0.005},
                        "times_the_first": {"median": 0.002, "low": 0.001, "high": 0.003}, "floor": 1e-5,
                        "reached": 0.25,
                    },
                ],
                "absent": {"torchmetrics": "not installed"},
            },
            {"name": "training/celeba/K4", "about": "a step", "precision": "bfloat16", "left_out": "no time was left"},
        ],
    }  # fmt: skip
    lines = markdown(content).splitlines()
    assert "NVIDIA; processor P, 2 cores, 1 threads of torch; torch 3 with CUDA 13" in lines[0]
    assert "commit abc, with changes; today. Products of large matrices: 2.0 GFLOP/s in float32, 4,000.0" in lines[0]
    assert lines[4] == "| a distance | sadpm | 2 s | 1 s to 3 s, 3 rounds | 1.00 | 1.00 to 1.00 | - | - |"
    assert lines[5] == "|  | other | 4 ms | 3 ms to 5 ms, 3 rounds | 0.00 | 0.00 to 0.00 | 10 µs | 25 % |"
    assert lines[6] == "|  | torchmetrics | not installed | - | - | - | - | - |"
    assert lines[-1] == "* celeba: a step, bfloat16: no time was left"


def test_seconds_are_readable():
    assert [time(seconds) for seconds in (123.4, 1, 0.9999, 0.0123, 4.56e-7)] == [
        "123 s", "1 s", "1 s", "12.3 ms", "0.456 µs"
    ]  # fmt: skip

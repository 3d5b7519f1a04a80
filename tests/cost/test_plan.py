import csv
import json
import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import throughput
from cases import training
from cases.subject import Subject
from sadpm.config.grid import table_cells
from sadpm.config.jobs import RULES
from sadpm.config.loading import load_config
from sadpm.config.telling import train_job
from sadpm.cost.flops import head_cost, unet_flops, unet_parameters
from sadpm.cost.graph import closure, outputs_of
from sadpm.cost.plan import EVERYTHING, Cost, Row, Speed, Throughput, plan_rows
from sadpm.diffusion.gap import estimation_gap
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.theory import errors_by_level, two_sides
from sadpm.extractors.inception import FLOPS
from sadpm.networks.unet import UNet
from sadpm.objectives.ddpm import DDPM
from sadpm.objectives.sequence_aware import SequenceAware
from sadpm.running.files import UserError
from sadpm.stages.plan import as_csv, by_target, plan
from sadpm.training.state import TrainingState
from sadpm.training.step import draws_at, loss_of
from test_config import CONFIGS, changed

SNAKEFILE = str(CONFIGS.parent / "workflow/Snakefile")
VALUES = yaml.safe_load((CONFIGS / "test.yaml").read_text())
CONFIG = load_config(VALUES)
SPEED = Throughput.model_validate(
    {
        "device": "a test",
        "networks": {"digits": {"training": 1e9, "sampling": 2e9}, "patches": {"training": 3e9, "sampling": 4e9}},
    }
)
DIGITS = (CONFIG.datasets["digits"].network, 8, 1)
UNET_FLOPS = unet_flops(*DIGITS)
HEAD = head_cost(*DIGITS, "simple")


def rows_of(config):
    return plan_rows(config, outputs_of(config, SNAKEFILE), SPEED)


@pytest.fixture(scope="module")
def graph():
    return outputs_of(CONFIG, SNAKEFILE)


@pytest.fixture(scope="module")
def rows(graph):
    return plan_rows(CONFIG, graph, SPEED)


def costs(rows: Sequence[Row], target: str = EVERYTHING) -> dict[tuple[str, str], Cost]:
    return {(row.rule, row.dataset): row.cost for row in rows if row.target == target}


def outputs(folder: Path) -> list[str | Path]:
    return [SNAKEFILE, *(folder / f"plan.{form}" for form in ("md", "csv", "json"))]


def large(**changes):
    """The tests' grid with the Inception extractor on CIFAR-10."""
    values = changed(VALUES, "datasets/digits/source", "cifar10")
    values = changed(values, "datasets/digits/extractor", "inception")
    for path, value in changes.items():
        values = changed(values, path.replace("__", "/"), value)
    return load_config(values)


def test_costs_of_the_tests_configuration_by_hand(rows):
    found = costs(rows)
    parameters = unet_parameters(*DIGITS)
    trained = 6 * 8 * (1 + 2 + (3 + 1))  # base, SA-2, SA-3 with a window of its own
    assert found["train", "digits"] == Cost(
        3, trained, 3 * trained * UNET_FLOPS, pytest.approx(3 * trained * UNET_FLOPS / 1e9 / 3600), 3 * 4 * parameters
    )
    fitted = 2 * 4 * 250  # for two models
    heads = 2 * 3 * fitted * HEAD.flops
    hours = (fitted * UNET_FLOPS / 2e9 + heads / 1e9) / 3600
    assert found["fit_covariances", "digits"] == Cost(
        2, fitted, fitted * UNET_FLOPS + heads, pytest.approx(hours), 2 * (2 * 4 * HEAD.parameters + 3 * 8 * 1001)
    )
    steps = 2 * (8 * 2) + (2 + 5 - 2) + 2  # table 1 for two models; table 4 adds base in 5 and SA-3 in 2 steps
    with_head = 2 * 4 * 2  # two models, two samplers, NPR and SN
    sampled = 60 * steps * UNET_FLOPS + 60 * with_head * HEAD.flops
    assert found["sample", "digits"].calls == 60 * steps
    assert found["sample", "digits"].flops == sampled
    assert found["sample", "digits"].hours == pytest.approx(sampled / 2e9 / 3600)
    assert found["sample", "digits"].bytes == 60 * 18 * 64
    drawn = CONFIG.datasets["patches"].num_samples * 2  # cells, in two parts each
    steps = sum(cell.steps for cell in table_cells(CONFIG, "table3"))
    assert found["sample_part", "patches"].calls == drawn // 2 * steps
    assert found["sample_part", "patches"].bytes == found["join_parts", "patches"].calls == 0
    assert found["join_parts", "patches"].bytes == drawn * 192
    gap = 2 * 4 * 4
    assert found["measure_gap", "digits"] == Cost(
        2, gap, gap * UNET_FLOPS, pytest.approx(gap * UNET_FLOPS / 2e9 / 3600)
    )
    assert found["prepare_data", "digits"] == Cost(1, bytes=1797 * 64)
    assert found["prepare_data", "patches"] == Cost(1, bytes=8480 * 192)
    assert found["table", ""] == Cost(5)
    bounded = 60 * (2 + 4)  # of table 5, by each of two covariances
    assert found["measure_likelihood", "digits"] == Cost(
        2, 2 * bounded, 2 * bounded * UNET_FLOPS + bounded * HEAD.flops,
        pytest.approx((2 * bounded * UNET_FLOPS + bounded * HEAD.flops) / 2e9 / 3600),
    )  # fmt: skip
    theorems = 4 * (4 + 999)
    assert found["measure_theory", "digits"] == Cost(
        1, theorems, theorems * UNET_FLOPS, pytest.approx(theorems * UNET_FLOPS / 2e9 / 3600)
    )
    assert found["theory_table", ""] == Cost(1)
    assert found["figure", ""] == Cost(7)
    assert found["score", "digits"].calls == 0


def test_what_needs_the_hessian_is_fitted_in_a_pass_of_twice_the_price():
    found = costs(rows_of(load_config(changed(VALUES, "tables/table1/covariances", ["ocm"]))), "table1")
    fitted = 2 * 4 * 250  # for two models
    product = fitted * UNET_FLOPS + 3 * fitted * HEAD.flops
    hours = (fitted * UNET_FLOPS / 2e9 + product / 1e9) / 3600
    assert found["fit_covariances", "digits"] == Cost(
        2, fitted, fitted * UNET_FLOPS + product, pytest.approx(hours), 2 * 4 * HEAD.parameters
    )


@pytest.mark.parametrize(
    ("metric", "other", "passes"), [("fd", "fd", 1), ("is", "fd", 2), ("kid", "fd", 2), ("kid", "is", 2)]
)
def test_inception_looks_once_for_fid_and_once_for_all_other_metrics(metric, other, passes):
    found = costs(rows_of(large(tables__table2__metric=metric, tables__table4__metric=other)))
    assert found["score", "digits"].calls == passes * 60 * 18
    assert found["score", "digits"].flops == passes * 60 * 18 * FLOPS
    assert found["measure_reference", "digits"].calls == 50_000 * (2 if metric == "kid" else 1)
    assert found["score", "patches"].calls == 0


def test_published_statistics_cost_nothing():
    found = costs(rows_of(large(datasets__digits__reference="x.npz")))
    assert found["measure_reference", "digits"] == Cost(1)


def test_an_imported_model_is_not_trained():
    imported = changed(VALUES, "models/base", {"checkpoint": {"digits": {"path": "x"}}})
    found = costs(rows_of(load_config(imported)))
    assert found["train", "digits"].calls == 6 * 8 * (2 + 4)
    assert found["train", "patches"].jobs == 1
    assert found["import_model", "digits"] == Cost(1, bytes=4 * unet_parameters(*DIGITS))


def test_multipliers_multiply():
    double = load_config(changed(VALUES, "models/base", {"batch_multiplier": 3, "steps_multiplier": 2}))
    calls = [costs(rows_of(config))["train", "patches"].calls for config in (CONFIG, double)]
    assert calls == [48, 6 * 48]


def test_each_seed_costs_its_own_models_and_one_data_set():
    one, two = (costs(rows_of(load_config(changed(VALUES, "seeds", seeds)))) for seeds in ([0], [0, 1]))
    assert two["train", "digits"].flops == 2 * one["train", "digits"].flops
    assert two["prepare_data", "digits"] == one["prepare_data", "digits"]


def test_all_together_cost_less_than_each_alone_and_no_more_than_the_dearest(rows):
    everything = sum(cost.flops for cost in costs(rows).values())
    alone = [sum(cost.flops for cost in costs(rows, name).values()) for name in [*CONFIG.tables, *CONFIG.figures]]
    assert max(alone) < everything < sum(alone)
    assert costs(rows, "figure1") == {("figure", ""): Cost(1)}


def test_a_table_alone_needs_no_other_tables_models(rows):
    found = costs(rows, "table3")
    assert found["train", "patches"].jobs == 1
    assert {dataset for _, dataset in found} == {"patches", ""}


def test_only_draws_with_a_covariance_need_one(graph):
    drawing = [job for job in closure(graph) if job.rule in ("sample", "sample_part")]
    assert {bool(chain.fit) for job in drawing for chain in job.told.chains} == {True, False}
    for job in drawing:
        needs_a_fit = any(need.rule == "fit_covariances" for need in job.needs)
        assert needs_a_fit == any(chain.fit for chain in job.told.chains)


def test_a_plan_is_that_of_an_empty_folder_and_leaves_everything_as_it_is(tmp_path, monkeypatch, capfd, graph):
    values = changed(VALUES, "results", str(tmp_path / "results"))
    values = changed(values, "models/base", {"checkpoint": {"digits": {"path": "none.pth"}}})
    values = changed(values, "datasets/patches/source", {"kind": "images", "path": "none", "size": 8})
    values = changed(values, "published", "none.csv")
    config = load_config(values)
    made = tmp_path / "results/test/digits/base/seed0"
    (made / "covariance").mkdir(parents=True)
    (made / "covariance/npr.safetensors").touch()
    (made / "training.json").write_text(json.dumps({"provenance": {"job": {"seed": 7}}}))
    monkeypatch.chdir(tmp_path)
    found = closure(outputs_of(config, SNAKEFILE))
    assert len(found) == len(closure(graph))
    assert {job.wildcards["fits"] for job in found if job.rule == "fit_covariances"} == {"analytic+npr+sn"}
    assert {path.name for path in tmp_path.iterdir()} == {"results"}
    assert Path.cwd() == tmp_path
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_can_not_be_built_is_told(tmp_path):
    (tmp_path / "Snakefile").write_text("rule tables:\n    input: 'nowhere'\n\nrule figures:\n")
    with pytest.raises(UserError, match=r"the graph of jobs can't be built: (.|\n)*nowhere"):
        outputs_of(CONFIG, str(tmp_path / "Snakefile"))


def test_every_rule_has_its_class_of_jobs(graph):
    for job in closure(graph):
        assert type(job.told) is RULES[job.rule]
    assert {job.output for job in graph} == {*CONFIG.tables, *CONFIG.figures, "claims"}


def test_an_experiment_may_have_no_figures():
    found = costs(rows_of(load_config({**VALUES, "figures": {}, "claims": {}})))
    assert found["table", ""].jobs == 5
    assert ("figure", "") not in found


class Counting(nn.Module):
    """Stands for the network, and counts the images it sees."""

    def __init__(self):
        super().__init__()
        self.images = 0

    def forward(self, x, _):
        self.images += len(x)
        return x


@pytest.mark.parametrize("window", ["anchored", "sliding"])
@pytest.mark.parametrize(("length", "weight"), [(None, 0), (2, 1.0), (3, 0.5), (3, 0.0)])
def test_training_sees_as_many_images_as_planned(window, length, weight):
    objective = SequenceAware(K=length, lam=weight, window=window) if length else DDPM()
    job = train_job(CONFIG, "digits", "base", 0).model_copy(update={"objective": objective})
    network, schedule = Counting(), NoiseSchedule.create(**CONFIG.schedule.model_dump())
    loss_of(job, schedule, network, *draws_at(0, job, schedule, torch.zeros(6, 1, 8, 8)))
    assert network.images == 6 * objective.images_per_training_image()


def test_the_gap_takes_as_many_passes_as_planned(rows):
    network, schedule = Counting(), NoiseSchedule.create(**CONFIG.schedule.model_dump())
    x = torch.zeros(4, 1, 8, 8)
    for _ in estimation_gap(lambda x, t: Prediction(network(x, t)), schedule, x, x, 5, lambda _: torch.zeros_like(x)):
        pass
    assert network.images == costs(rows)["measure_gap", "digits"].calls // 2


def test_the_theorems_take_as_many_passes_as_planned(rows):
    network, schedule = Counting(), NoiseSchedule.create(**CONFIG.schedule.model_dump())
    x = torch.zeros(4, 1, 8, 8)
    arguments = (lambda x, t: Prediction(network(x, t)), schedule, x)
    for _ in chain(two_sides(*arguments, x, 5, lambda _: x), errors_by_level(*arguments, lambda _: x)):
        pass
    assert network.images == costs(rows)["measure_theory", "digits"].calls


def test_a_target_of_the_theorems_has_figure_and_table(rows):
    found = costs(rows, "theory")
    assert {rule for rule, _ in found} == {"prepare_data", "train", "measure_theory", "theory_table", "figure"}
    assert {cost.jobs for cost in found.values()} == {1}


@pytest.mark.parametrize(
    "source",
    ["digits", "photographs", {"kind": "digits", "split": "train"}, {"kind": "digits", "split": "test"}],
    ids=str,
)
def test_embedded_images_have_the_planned_shape(source):
    source = load_config(changed(VALUES, "datasets/patches/source", source)).datasets["patches"].source
    stream, shape = source.open(), source.shape()
    assert (shape.number, shape.size, shape.size, shape.channels) == (stream.count, *stream.shape)


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("cifar10", (50_000, 32, 3)),
        ({"kind": "cifar10", "split": "test"}, (10_000, 32, 3)),
        ({"kind": "celeba", "split": "test"}, (19_962, 64, 3)),
        ("celeba", (162_770, 64, 3)),
        ({"kind": "celeba", "split": "train+val", "size": 32}, (182_637, 32, 3)),
        ({"kind": "images", "path": "x", "size": 16, "mode": "grey"}, (None, 16, 1)),
        ({"kind": "images", "path": "x", "size": 16}, (None, 16, 3)),
        ({"kind": "array", "path": "no such file.npy"}, None),
    ],
)
def test_shapes_of_sources(source, shape):
    assert load_config(changed(VALUES, "datasets/patches/source", source)).datasets["patches"].source.shape() == shape


def array_config(path: Path):
    return load_config(changed(VALUES, "datasets/patches/source", {"kind": "array", "path": str(path)}))


def test_an_arrays_shape_is_read_from_its_header(tmp_path):
    np.save(tmp_path / "grey.npy", np.zeros((5, 8, 8), np.uint8))
    assert costs(rows_of(array_config(tmp_path / "grey.npy")))["prepare_data", "patches"].bytes == 5 * 64
    np.save(tmp_path / "long.npy", np.zeros((5, 8, 16), np.uint8))
    with pytest.raises(UserError, match="square images, not 8x16"):
        rows_of(array_config(tmp_path / "long.npy"))


def test_what_is_not_known_is_left_out_and_said_so(tmp_path, capsys):
    plan(array_config(tmp_path / "later.npy"), *outputs(tmp_path))
    shown = capsys.readouterr().out
    assert "The files of `patches` are not there yet" in shown
    assert "| table3 | 8 | 408 | ≥ 0 FLOP | ≥ 0 | ≥ 0 B |" in shown
    assert "≥" not in next(line for line in shown.splitlines() if line.startswith("| table1"))
    rows = rows_of(array_config(tmp_path / "later.npy"))
    assert {(row.rule, row.dataset) for row in rows if not row.cost.complete} >= {("train", "patches")}
    files = {"kind": "images", "path": "x", "size": 8}
    plan(load_config(changed(VALUES, "datasets/patches/source", files)), *outputs(tmp_path))
    assert "the disk of `patches`" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "plan.csv").read_text().splitlines()))
    left_out = {row["rule"] for row in rows if row["complete"] == "False"}
    assert left_out == {"prepare_data"}
    measured = changed(changed(VALUES, "datasets/patches/source", files), "datasets/patches/extractor", "inception")
    left_out = {row.rule for row in rows_of(load_config(measured)) if not row.cost.complete}
    assert left_out == {"prepare_data", "measure_reference"}


def test_a_network_that_does_not_fit_an_array_is_told_before_it_is_trained(tmp_path):
    np.save(tmp_path / "odd.npy", np.zeros((5, 7, 7), np.uint8))
    with pytest.raises(UserError, match=r"datasets\.patches\.network: images of 7x7 can't be halved"):
        plan(array_config(tmp_path / "odd.npy"), *outputs(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["odd.npy"]


def test_an_assumption_is_called_one(tmp_path, capsys):
    values = changed(VALUES, "plan", {"assumed_device": "a toaster", "assumed_tflops": 0.002})
    plan(load_config(values), *outputs(tmp_path))
    assert "**Assumed, not measured:** a toaster at 0.002 TFLOP/s" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "plan.csv").read_text().splitlines()))
    assert {row["measured"] for row in rows} == {"False"}
    for row in rows:
        assert math.isclose(float(row["hours"]), float(row["flops"]) / 2e9 / 3600)
    assert (tmp_path / "plan.md").read_text().count("| sample | digits |") == 1


def test_the_precision_that_is_reckoned_with_is_named(tmp_path, capsys):
    config = load_config(changed(VALUES, "execution", {"precision": "bfloat16"}))
    plan(config, *outputs(tmp_path))
    assert "TFLOP/s in bfloat16, whatever the network" in capsys.readouterr().out
    path = tmp_path / "throughput.json"
    path.write_text(SPEED.model_dump_json())
    plan(config, *outputs(tmp_path), [path])
    assert "in sampling. **The configuration asks for bfloat16.**" in capsys.readouterr().out


def test_a_measurement_takes_the_place_of_the_assumption(tmp_path, capsys, rows):
    path = tmp_path / "throughput.json"
    path.write_text(SPEED.model_dump_json())
    plan(CONFIG, *outputs(tmp_path), [path])
    shown = capsys.readouterr().out
    assert "Measured on a test in float32, in TFLOP/s: digits 0.001 in training and 0.002 in sampling" in shown
    assert "ssumed" not in shown
    assert (tmp_path / "plan.csv").read_text() == as_csv(rows, SPEED)


def test_a_network_that_was_not_measured_is_reckoned_as_the_first_and_named(tmp_path, capsys):
    content = SPEED.model_dump()
    content["networks"]["other"] = content["networks"].pop("patches")
    path = tmp_path / "throughput.json"
    path.write_text(json.dumps(content))
    plan(CONFIG, *outputs(tmp_path), [path])
    assert "patches 0.001 in training and 0.002 in sampling (not measured: as the first)" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{}", "no json", '{"device": "x", "networks": {}}'])
def test_another_file_is_no_measurement(tmp_path, content):
    path = tmp_path / "throughput.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"throughput\.json"):
        plan(CONFIG, *outputs(tmp_path), [path])


def test_large_and_small_numbers_are_readable():
    rows = [Row(EVERYTHING, "train", "digits", Cost(1234, 999_600, 12_345 * 10**15, 8378.4, 0))]
    assert by_target(CONFIG, rows).splitlines()[-1] == "| all | 1,234 | 1 M | 12.3 EFLOP | 8,378 | 0 B |"
    rows = [Row(EVERYTHING, "train", "digits", Cost(1, 0, 999, 0.0001, 1500))]
    assert by_target(CONFIG, rows).splitlines()[-1] == "| all | 1 | 0 | 999 FLOP | < 0.001 | 1.5 kB |"


def test_the_benchmark_writes_what_the_plan_reads(tmp_path, capsys):
    path = tmp_path / "throughput.json"
    arguments = ["--dataset", "patches", "digits", "--seconds", "0.02", "--output", str(path)]
    throughput.main([str(CONFIGS / "test.yaml"), *arguments])
    assert "patches: training" in capsys.readouterr().out
    measured = Throughput.model_validate_json(path.read_text())
    assert measured.measured
    assert measured.torch == torch.__version__
    assert list(measured.networks) == ["patches", "digits"]
    with pytest.raises(SystemExit):
        throughput.main([str(CONFIGS / "test.yaml"), "--dataset", "nope"])


def test_the_benchmark_divides_by_the_clock_and_multiplies_with_the_counted_flops(monkeypatch):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(throughput, "time", clock)

    def step(*_):
        clock.now += 0.25

    assert throughput.rate(step, torch.device("cpu"), 10) == 4
    monkeypatch.setattr(TrainingState, "learn", step)
    monkeypatch.setattr(TrainingState, "end", lambda _: None)
    monkeypatch.setattr(training, "add_gradients", lambda *_: None)
    monkeypatch.setattr(UNet, "see", lambda _, x, t: (step(), x, x, x)[1:])
    found = throughput.speed_of(Subject(CONFIG, "digits", torch.device("cpu")), 10)
    assert found == Speed(training=4 * 8 * 3 * UNET_FLOPS, sampling=4 * 60 * UNET_FLOPS)

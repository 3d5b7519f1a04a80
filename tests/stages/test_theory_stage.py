"""The theorems' numbers of a trained network, and the figure and tables that show them."""

import csv
import json

import numpy as np
import pytest
import torch
from tiny import SCHEDULE

import sadpm.stages.measure_theory as stage
from sadpm.config.grid import GapCurve
from sadpm.config.jobs import FigureJob, GapJob, TheoryJob
from sadpm.config.outputs import TheoryFigure
from sadpm.diffusion.samplers import Prediction
from sadpm.diffusion.schedule import NoiseSchedule
from sadpm.diffusion.theory import SequenceBounds
from sadpm.running.files import UserError, read_json, write_json
from sadpm.stages.figure import draw, figure
from sadpm.stages.measure_gap import measure_gap
from sadpm.stages.theory_table import theory_table

JOB = TheoryJob(schedule=SCHEDULE, start=20, num_images=12, lengths=(2, 3), seed=0)
FIGURE = TheoryFigure(
    kind="theory", title="The theorems", dataset="d", models=("base", "sa_2"), start=20, lengths=(2, 3)
)
LABELS = {"model": {"base": "Baseline $5"}}


@pytest.fixture(scope="module")
def measured(digits, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("theory") / "theory.json"
    stage.measure_theory(JOB, digits, trained / "model", path)
    return path


@pytest.fixture
def shown(measured, tmp_path):
    """The job of a figure of two models; the numbers of the second are scaled, so that they can be told apart."""
    numbers = read_json(measured)
    for sides in numbers["sides"]:
        sides |= {side: 4 * sides[side] for side in ("upper", "sequence", "lower")}
    write_json(tmp_path / "second.json", numbers)
    curves = tuple(GapCurve("d", model, 0, 20, 12) for model in FIGURE.models)
    job = FigureJob(name="theory", figure=FIGURE, cells=(), curves=curves, labels=LABELS)
    return job, [measured, tmp_path / "second.json"]


def drawn(job, files):
    return draw(job, samples=(), sample_reports=(), data=(), scores=(), curves=(), theorems=files)


class TestMeasuring:
    def test_theorem_1_is_the_gap_that_the_other_stage_measures(self, measured, digits, trained, tmp_path):
        chain = read_json(measured)["chain"]
        assert chain["level"] == list(range(19, 0, -1))
        assert (np.array(chain["residual"]) <= 1e-9 * np.array(chain["gap"])).all()
        np.testing.assert_allclose(chain["by_errors"], chain["gap"], rtol=1e-9)
        gap = GapJob(**JOB.model_dump(exclude={"lengths"}))
        measure_gap(gap, digits, trained / "model", tmp_path / "gap.csv", tmp_path / "gap.json")
        in_float32 = np.genfromtxt(tmp_path / "gap.csv", delimiter=",", names=True)["gap"]
        np.testing.assert_allclose(chain["gap"], in_float32, rtol=1e-3)

    def test_theorem_2_from_the_errors_by_level(self, measured):
        found, schedule = read_json(measured), NoiseSchedule.create(**SCHEDULE.model_dump())
        levels, pixels = found["levels"], 64
        assert levels["level"] == list(range(2, 51))
        assert levels["tau"] == schedule.tau[2:].tolist()
        assert [(s["weights"], s["K"]) for s in found["sides"]] == [(w, k) for w in ("theory", "unit") for k in (2, 3)]
        squares = pixels * np.square(levels["error"])
        for sides in found["sides"]:
            weights = np.square(levels["tau"]) if sides["weights"] == "theory" else 1
            assert sides["upper"] == pytest.approx((weights * squares).sum() / (50 + sides["K"]))
            assert sides["upper"] > sides["sequence"] > sides["lower"] > 0

    def test_says_what_it_was_made_of(self, measured):
        provenance = read_json(measured)["provenance"]
        assert TheoryJob.model_validate(provenance["job"]) == JOB
        assert set(provenance["inputs"]) == {"images", "model"}

    def test_a_network_that_has_diverged_is_named(self, digits, trained, tmp_path, monkeypatch):
        monkeypatch.setattr(stage, "Predictor", lambda network: lambda x, n: Prediction(x * float("inf")))
        with pytest.raises(UserError, match=r"model: the errors of the network are not finite.*train it again"):
            stage.measure_theory(JOB, digits, trained / "model", tmp_path / "theory.json")
        assert not (tmp_path / "theory.json").exists()

    def test_a_broken_theorem_is_no_users_mistake(self):
        chain = {"level": [2, 1], "gap": [1.0, 0.5], "residual": [1e-10, 1e-9]}
        sides = torch.tensor([[3.0], [2.0], [1.0]])
        with pytest.raises(ArithmeticError, match=r"Theorem 1 fails at level 1: its sides differ by 1e-09 of 0\.5"):
            stage.check(chain, {2: SequenceBounds(*sides)})
        chain["residual"] = [0.0, 0.0]
        stage.check(chain, {2: SequenceBounds(*sides)})
        with pytest.raises(ArithmeticError, match="Theorem 2 fails for K = 3"):
            stage.check(chain, {2: SequenceBounds(*sides), 3: SequenceBounds(*sides.flip(0))})


class TestFigure:
    def test_what_is_drawn(self, shown):
        job, files = shown
        first, second = map(read_json, files)
        weights, chain, tau, unit = drawn(job, files).axes
        assert weights.lines[0].get_ydata().tolist() == first["levels"]["tau"]
        assert set(weights.lines[1].get_ydata()) == {1}
        assert [line.get_ydata().tolist() for line in chain.lines[:2]] == [
            first["chain"][side] for side in ("gap", "by_errors")
        ]
        assert chain.get_xlim() == (19, 1)
        for ax, kind in ((tau, "theory"), (unit, "unit")):
            for place, numbers in ((0, first), (3, second)):
                sides = [sides for sides in numbers["sides"] if sides["weights"] == kind]
                for line, side in zip(ax.lines[place : place + 3], ("upper", "sequence", "lower"), strict=True):
                    assert line.get_ydata().tolist() == [s[side] for s in sides]
        assert {ax.get_yscale() for ax in (weights, chain, tau, unit)} == {"log"}

    def test_names_are_printed_and_inside_the_paper(self, shown):
        canvas = drawn(*shown)
        (legend,) = canvas.legends
        assert [text.get_text() for text in legend.get_texts()][:3] == ["Baseline $5", "sa_2", "(N-1)/(N+K) L_simple"]
        canvas.draw_without_rendering()
        box, paper = legend.get_window_extent(), canvas.bbox
        assert paper.x0 <= box.x0 < box.x1 <= paper.x1
        assert not [tick for ax in canvas.axes for tick in ax.get_yticklabels() if "$" in tick.get_text()]

    def test_is_written(self, shown, tmp_path):
        job, files = shown
        outputs = [tmp_path / f"f.{form}" for form in ("pdf", "png", "json")]
        figure(job, *outputs, theorems=files)
        assert outputs[0].read_bytes().startswith(b"%PDF")
        assert outputs[1].read_bytes().startswith(b"\x89PNG")
        assert read_json(outputs[2])["provenance"]["job"]["figure"]["kind"] == "theory"

    def test_missing_and_damaged_files(self, shown, tmp_path):
        job, files = shown
        with pytest.raises(UserError, match="theory: 1 files of the theorems' numbers given, 2 needed"):
            drawn(job, files[:1])
        numbers = read_json(files[1])
        del numbers["chain"]["gap"]
        write_json(files[1], numbers)
        with pytest.raises(UserError, match=r"second\.json: chain\.gap: .*delete it to have it measured again"):
            drawn(job, files)
        files[1].write_text(json.dumps({"chain": float("nan")}))
        with pytest.raises(UserError, match=r"second\.json: can't be read"):
            drawn(job, files)


class TestTable:
    def test_every_number_in_three_forms(self, shown, tmp_path):
        job, files = shown
        outputs = [tmp_path / f"theory.{form}" for form in ("csv", "tex", "md", "json")]
        theory_table(job, files, *outputs)
        rows = list(csv.DictReader(outputs[0].read_text().splitlines()))
        assert len(rows) == 2 * (3 + 3 * 4)
        second = read_json(files[1])
        found = {(r["weights"], r["K"], r["quantity"]): float(r["value"]) for r in rows if r["model"] == "sa_2"}
        for sides in second["sides"]:
            for side in ("upper", "sequence", "lower"):
                assert found[sides["weights"], str(sides["K"]), side] == sides[side]
        assert found["", "", "gap"] == second["chain"]["gap"][-1]
        assert found["", "", "by_errors"] == second["chain"]["by_errors"][-1]
        assert 0 < found["", "", "largest_residual"] < 1e-9
        assert {row["sha256_model"] for row in rows} == {second["provenance"]["inputs"]["model"]}
        printed = f"{second['sides'][0]['sequence']:#.4g}"
        lines = outputs[2].read_text().splitlines()
        assert any(line.startswith(r"| sa\_2 | tau | 2 |") and f" {printed} |" in line for line in lines)
        assert any(line.startswith(r"| Baseline \$5 | ") for line in lines)
        latex = outputs[1].read_text()
        assert rf"sa\_2 & tau & 2 & {second['sides'][0]['upper']:#.4g} & {printed}" in latex
        assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 2
        assert r"\label{tab:theory}" in latex
        assert read_json(outputs[3])["provenance"]["job"]["name"] == "theory"

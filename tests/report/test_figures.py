import io
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sadpm.config.grid import Cell, GapCurve
from sadpm.config.jobs import FigureJob
from sadpm.config.outputs import Figure, GapFigure, IllustrationFigure, MemorisedFigure, QualityFigure, SamplesFigure
from sadpm.report.figures import gap_curves, sample_grid, save, tile
from sadpm.running.files import UserError, read_json, sha256, write_json
from sadpm.stages import command
from sadpm.stages.figure import draw, figure

LABELS = {"model": {"base": "Baseline $5", "sa2": "SA-2 (λ = 1)"}, "sampler": {"ddpm": "DDPM"}, "covariance": {}}


def make_job(figure: Figure, cells=(), curves=()):
    return FigureJob(name="f", figure=figure, cells=tuple(cells), curves=tuple(curves), labels=LABELS)


@pytest.fixture
def illustration_job():
    return make_job(IllustrationFigure(kind="illustration", title="Errors", steps=8, chains=20))


SAMPLES = SamplesFigure(kind="samples", title="Samples", dataset="d", models=("base", "sa2"), steps=(1, 10), columns=3)


@pytest.fixture
def samples(tmp_path):
    """A job with the files it needs: 4 x 4 images in colour, of which each has one value.

    Each model's file holds a cell that the figure does not show, and its own cells in another order.
    """
    cells = [Cell("d", model, 0, "ddpm", "fixed", steps) for model in SAMPLES.models for steps in SAMPLES.steps]

    def images(number):
        values = 10 * number + np.arange(8, dtype=np.uint8)
        return np.broadcast_to(values[:, None, None, None], (8, 4, 4, 3))

    np.save(tmp_path / "data.npy", images(0))
    for model in SAMPLES.models:
        held = [cell for cell in reversed(cells) if cell.model == model]
        np.save(tmp_path / f"{model}.npy", [images(9), *(images(1 + cells.index(cell)) for cell in held)])
        other = Cell("d", model, 0, "ddim", "fixed", 1)
        write_json(tmp_path / f"{model}.json", {"draws": [{"cell": cell.as_dict()} for cell in (other, *held)]})
    paths = {form: [tmp_path / f"{model}.{form}" for model in SAMPLES.models] for form in ("npy", "json")}
    return make_job(SAMPLES, cells), {
        "samples": paths["npy"], "sample_reports": paths["json"], "data": [tmp_path / "data.npy"]
    }  # fmt: skip


GAP = GapFigure(kind="gap", title="Gap", dataset="d", models=("base", "sa2"), start=5)


@pytest.fixture
def gap(tmp_path):
    """Curves of two models and two seeds; the last gap is 3 on average for the first and 1.5 for the second."""
    which = [GapCurve("d", model, seed, 5, 9) for model in GAP.models for seed in (0, 1)]
    paths = [tmp_path / f"gap{i}.csv" for i in range(4)]
    for path, last in zip(paths, (2.0, 4.0, 1.0, 2.0), strict=True):
        rows = [f"{step},{last / step},{last / step / 3},{(last - step * last / 4) / 9}" for step in (4, 3, 2, 1)]
        path.write_text("\n".join(["step,gap,mean_gap,official_gap", *rows, ""]))
    return make_job(GAP, curves=which), {"curves": paths}


QUALITY = QualityFigure(
    kind="quality",
    title="Q",
    metric="fd",
    dataset="d",
    models=("base", "sa2"),
    samplers=("ddpm", "ddim"),
    steps=(5, 50),
)


@pytest.fixture
def quality(tmp_path):
    cells = [
        Cell("d", model, seed, sampler, "fixed", steps)
        for model in QUALITY.models
        for seed in (0, 1)
        for sampler in QUALITY.samplers
        for steps in QUALITY.steps
    ]
    paths = [tmp_path / f"score{i}.json" for i in range(len(cells))]
    for cell, path in zip(cells, paths, strict=True):
        value = 100 / cell.steps + cell.seed + 2 * (cell.model == "base")
        write_json(path, {"scores": [{
            "cell": cell.as_dict(),
            "recipe": {"name": "r", "timesteps": "uniform", "clip_sample": False, "max_variance_pixels": None},
            "metrics": {"fd": {"value": value, "label": "FD (pixels)", "n": 4, "reference_n": 8}},
            "network_calls": cell.steps, "seconds": 1.0, "device": "cpu",
            "provenance": {"code": "0", "python": "3", "job": {}, "inputs": {}},
        }]})  # fmt: skip
    return make_job(QUALITY, cells), {"scores": paths}


MEMORISED = MemorisedFigure(kind="memorised", title="M", dataset="d", model="base", steps=10, columns=3)


@pytest.fixture
def memorised(tmp_path):
    """Five samples, each of one value; the nearest training image of sample i has the value 100 + i."""
    (cell,) = MEMORISED.cells((0,))
    other = Cell("d", "base", 0, "ddim", "fixed", 10)
    image = np.ones((4, 4, 1), np.uint8)
    np.save(tmp_path / "data.npy", [(105 - j) * image for j in range(6)])
    np.save(tmp_path / "s.npy", [[9 * image] * 5, [i * image for i in range(5)]])
    write_json(tmp_path / "s.json", {"draws": [{"cell": other.as_dict()}, {"cell": cell.as_dict()}]})
    kept = {"nearest": np.array([5, 4, 3, 2, 1], np.int32), "ratio": np.array([1.2, 0.5, 0.9, 0.0, 0.7], np.float32)}
    np.savez(tmp_path / "kept.npz", **{f"{cell.draw}/memorised/{name}": values for name, values in kept.items()})
    score = {"cell": cell.as_dict(), "metrics": {"memorised": {"value": 0.8, "n": 5}}}
    write_json(tmp_path / "m.json", {"scores": [score], "influence": {"sha256": sha256(tmp_path / "kept.npz")}})
    names = {"samples": "s.npy", "sample_reports": "s.json", "data": "data.npy", "scores": "m.json"}
    return make_job(MEMORISED, [cell]), {
        option: [tmp_path / name] for option, name in {**names, "details": "kept.npz"}.items()
    }


NOTHING = {"samples": (), "sample_reports": (), "data": (), "scores": (), "curves": (), "theorems": ()}


@pytest.mark.parametrize("kind", ["samples", "memorised", "gap", "quality"])
def test_same_input_gives_the_same_bytes(kind, request, tmp_path):
    job, files = request.getfixturevalue(kind)
    for folder in "ab":
        figure(job, *(tmp_path / folder / f"f.{form}" for form in ("pdf", "png", "json")), **files)
    for name, start in {"f.pdf": b"%PDF", "f.png": b"\x89PNG"}.items():
        content = (tmp_path / "a" / name).read_bytes()
        assert content.startswith(start)
        assert content == (tmp_path / "b" / name).read_bytes()


def test_other_processes_give_the_same_bytes(illustration_job, tmp_path):
    """In a fresh process with another hash seed, from the command line."""
    outputs = {"pdf": "pdf", "png": "png", "report": "json"}
    figure(illustration_job, *(tmp_path / f"a.{form}" for form in outputs.values()))
    arguments = ["--params", illustration_job.model_dump_json()]
    arguments += [f"--{option}={tmp_path}/b.{form}" for option, form in outputs.items()]
    environment = {**os.environ, "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-m", "sadpm.stages.figure", *arguments], env=environment)
    assert done.returncode == 0
    for kind in ("pdf", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize("damage", ["nan", "inf", "", "x"])
def test_a_gap_that_is_no_number_is_not_drawn(gap, tmp_path, damage):
    job, files = gap
    path = files["curves"][1]
    path.write_text(path.read_text().replace("3,", f"3,{damage},", 1))
    with pytest.raises(UserError, match=r"gap1.csv: .*delete it to have it measured again"):
        figure(job, *(tmp_path / f"f.{form}" for form in ("pdf", "png", "json")), **files)


def test_title_is_in_the_metadata(gap):
    job, files = gap
    file = io.BytesIO()
    save(draw(job, **{**NOTHING, **files}), "A title\nin two lines", file, "png")
    assert b"A title in two lines" in file.getvalue()


def test_torch_is_imported_for_the_illustration_only():
    unwanted = "{'torch', 'pandas', 'matplotlib.pyplot'}"
    code = f"import sys, sadpm.stages.figure; sys.exit(bool({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class TestTile:
    def test_places_and_magnifies(self):
        """Two rows of two images of 32 x 32: magnified twice, 4 pixels apart, and 24 more between blocks."""
        rows = np.arange(4, dtype=np.uint8).reshape(2, 2, 1, 1, 1) * np.ones((1, 1, 32, 32, 1), np.uint8)
        rows[0, 0, 5, 7] = 200
        together, centres = tile(list(rows), [0, 0])
        apart, _ = tile(list(rows), [0, 1])
        assert together.shape == (132, 132, 3)
        assert centres == [31.5, 99.5]
        assert apart.shape == (156, 132, 3)
        assert (together[10:12, 14:16] == 200).all()
        assert (together == 200).sum() == 4 * 3
        for row, top in enumerate((0, 68)):
            for column, left in enumerate((0, 68)):
                corners = together[[top, top + 63], [left, left + 63]]
                assert (corners == 2 * row + column).all()
        assert (together[64:68] == 255).all()
        assert (together[:, 64:68] == 255).all()
        assert (apart[64:92] == 255).all()
        assert (apart[92:, :64] == 2).all()

    def test_large_images_are_not_magnified(self):
        images = np.random.default_rng(0).integers(0, 255, (1, 128, 128, 3), np.uint8)
        canvas, _ = tile([images], [0])
        np.testing.assert_array_equal(canvas, images[0])


class TestSampleGrid:
    def test_rows(self, samples):
        job, files = samples
        ax = draw(job, **{**NOTHING, **files}).axes[0]
        names = [label.get_text() for label in ax.get_yticklabels()]
        models = [f"{model}, {steps}" for model in LABELS["model"].values() for steps in ("1 step", "10 steps")]
        assert names == ["real images", "", *models]
        pixels = ax.images[0].get_array()
        values = [[int(pixels[round(y), x, 0]) for x in (32, 100, 168)] for y in ax.get_yticks()]
        assert values == [[0, 1, 2], [4, 5, 6], *([10 * i, 10 * i + 1, 10 * i + 2] for i in (1, 2, 3, 4))]

    def test_pixels_are_square(self, samples):
        job, files = samples
        canvas = draw(job, **{**NOTHING, **files})
        ax = canvas.axes[0]
        box = ax.get_window_extent()
        height, width, _ = ax.images[0].get_array().shape
        assert box.height / box.width == pytest.approx(height / width)

    def test_names_fit(self, samples):
        job, files = samples
        labels = {"model": {"base": "a long name of a model, with its λ", "sa2": "b"}}
        canvas = draw(job.model_copy(update={"labels": labels}), **{**NOTHING, **files})
        canvas.draw_without_rendering()
        assert min(label.get_window_extent().x0 for label in canvas.axes[0].get_yticklabels()) >= 0

    @pytest.mark.parametrize("shape", [(2, 4, 4, 3), (8, 4, 4, 1), (8, 5, 4, 3)])
    def test_wrong_samples(self, samples, shape):
        job, _ = samples
        images = [np.zeros((8, 4, 4, 3), np.uint8)] * 3 + [np.zeros(shape, np.uint8)]
        with pytest.raises(UserError, match=r"SA-2 \(λ = 1\), 10 steps: .* in place of \(3, 4, 4, 3\)"):
            sample_grid(SAMPLES, job.cells, images, np.zeros((8, 4, 4, 3), np.uint8), LABELS)

    def test_too_few_real_images(self, samples):
        job, _ = samples
        with pytest.raises(UserError, match="real images"):
            sample_grid(
                SAMPLES, job.cells, [np.zeros((8, 4, 4, 3), np.uint8)] * 4, np.zeros((2, 4, 4, 3), np.uint8), LABELS
            )


class TestGapCurves:
    def test_lines_bands_and_ratios(self, gap):
        job, files = gap
        exact, official = draw(job, **{**NOTHING, **files}).axes
        x, y = exact.lines[0].get_data()
        assert x.tolist() == [4, 3, 2, 1]
        assert y == pytest.approx([3 / 4, 1, 3 / 2, 3])
        assert exact.collections[0].get_paths()[0].get_extents().intervaly.tolist() == [0.5, 4.0]
        assert exact.get_xlim() == (4, 1)
        assert exact.get_yscale() == official.get_yscale() == "log"
        assert [text.get_text() for text in exact.get_legend().get_texts()] == ["Baseline $5", "SA-2 (λ = 1): 2.00"]
        assert not any(text.get_parse_math() for text in exact.get_legend().get_texts())
        assert exact.get_legend().get_title().get_text() == "last gap of Baseline $5 / own"
        assert np.isnan(official.lines[0].get_ydata()[0])
        assert official.lines[0].get_ydata()[1:] == pytest.approx(np.array([1 / 4, 1 / 2, 3 / 4]) * 3 / 9)

    def test_curve_of_another_chain(self, gap):
        job, _ = gap
        curve = np.zeros(3, [("step", float), ("gap", float), ("official_gap", float)])
        with pytest.raises(UserError, match=r"gap curve of base, seed 0: steps are not 4 \.\. 1"):
            gap_curves(GAP, [(which, curve) for which in job.curves], LABELS)


class TestQuality:
    def test_points_and_bands(self, quality):
        job, files = quality
        axes = draw(job, **{**NOTHING, **files}).axes
        assert [ax.get_title() for ax in axes] == ["DDPM, fixed covariance", "ddim, fixed covariance"]
        assert axes[0].get_xscale() == axes[0].get_yscale() == "log"
        points, band = axes[0].lines[0], axes[0].collections[0]
        assert points.get_xdata().tolist() == [5, 50]
        assert points.get_ydata() == pytest.approx([22.5, 4.5])
        assert band.get_paths()[0].get_extents().intervaly == pytest.approx([4.5 - 0.5**0.5, 22.5 + 0.5**0.5])
        assert axes[1].get_legend().get_title().get_text() == "band: ± s.d. over 2 seeds"
        assert axes[0].get_ylabel() == "FD (pixels), lower is better"
        assert [text.get_text() for text in axes[1].get_legend().get_texts()] == ["Baseline $5", "SA-2 (λ = 1)"]

    @pytest.mark.parametrize(
        ("error", "said"), [(0.5, "band: 95 % sampling error, one seed"), (None, "no error known")]
    )
    def test_one_seed_has_its_sampling_error(self, quality, error, said):
        job, files = quality
        for path in files["scores"]:
            content = read_json(path)
            content["scores"][0]["metrics"]["fd"]["standard_error"] = error
            write_json(path, content)
        job = job.model_copy(update={"cells": tuple(cell for cell in job.cells if cell.seed == 0)})
        axes = draw(job, **{**NOTHING, **files}).axes
        assert axes[1].get_legend().get_title().get_text().startswith(said)
        edges = axes[0].collections[0].get_paths()
        if error:
            assert edges[0].get_extents().intervaly == pytest.approx([4 - 0.98, 22 + 0.98])
        else:
            assert not edges

    @pytest.mark.parametrize(
        ("metric", "better"),
        [("fd", "lower"), ("kid", "lower"), ("memorised", "lower"), ("bpd", "lower"), ("recall", "higher")],
    )
    def test_which_is_better(self, quality, metric, better):
        job, files = quality
        for path in files["scores"]:
            content = read_json(path)
            content["scores"][0]["metrics"] = {metric: content["scores"][0]["metrics"]["fd"]}
            write_json(path, content)
        job = job.model_copy(update={"figure": QUALITY.model_copy(update={"metric": metric})})
        assert draw(job, **{**NOTHING, **files}).axes[0].get_ylabel() == f"FD (pixels), {better} is better"

    def test_a_band_below_zero_leaves_a_logarithmic_axis_readable(self, quality):
        job, files = quality
        content = read_json(files["scores"][0])
        content["scores"][0]["metrics"]["fd"]["value"] = 400.0
        write_json(files["scores"][0], content)
        low, high = draw(job, **{**NOTHING, **files}).axes[0].get_ylim()
        assert 0.5 < low < 4
        assert 200 < high < 1000

    def test_missing_score(self, quality):
        job, files = quality
        with pytest.raises(UserError, match="f: 1 of 16 scores are missing"):
            draw(job, **{**NOTHING, "scores": files["scores"][1:]})


class TestMemorised:
    def test_the_most_alike_come_first_each_above_its_training_image(self, memorised):
        job, files = memorised
        ax = draw(job, **{**NOTHING, **files}).axes[0]
        assert [label.get_text() for label in ax.get_yticklabels()] == [
            "Baseline $5, 10 steps",
            "nearest training images",
        ]
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0.00", "0.50", "0.70"]
        pixels = ax.images[0].get_array()
        rows = [[int(pixels[round(y), round(x), 0]) for x in ax.get_xticks()] for y in ax.get_yticks()]
        assert rows == [[3, 1, 4], [103, 101, 104]]

    @pytest.mark.parametrize(
        ("option", "content", "message"),
        [
            ("data", np.zeros((3, 4, 4, 1), np.uint8), r"d: samples of shape \(5, 4, 4, 1\) and training .* number 5;"),
            (
                "data",
                np.zeros((6, 4, 4, 3), np.uint8),
                r"d: samples of shape \(5, 4, 4, 1\) and training images of shape",
            ),
            ("samples", np.zeros((2, 4, 4, 4, 1), np.uint8), r"d: samples of shape \(4, 4, 4, 1\)"),
        ],
    )
    def test_images_that_are_not_those_of_the_scores(self, memorised, option, content, message):
        job, files = memorised
        np.save(files[option][0], content)
        with pytest.raises(UserError, match=message):
            draw(job, **{**NOTHING, **files})

    def test_scores_without_pairs(self, memorised):
        """As those that were made of another metric, or before pairs were kept."""
        job, files = memorised
        np.savez(files["details"][0], x=np.zeros(5))
        content = read_json(files["scores"][0])
        content["influence"]["sha256"] = sha256(files["details"][0])
        write_json(files["scores"][0], content)
        with pytest.raises(UserError, match=r"kept.npz: has no ddpm-fixed-10/memorised/nearest; delete it, and the"):
            draw(job, **{**NOTHING, **files})
        content["scores"][0]["metrics"] = {"fd": {}}
        write_json(files["scores"][0], content)
        with pytest.raises(UserError, match="was scored without 'memorised', by fd"):
            draw(job, **{**NOTHING, **files})

    def test_torch_is_not_imported(self, memorised, tmp_path):
        job, files = memorised
        code = (
            "import sys; from pathlib import Path; from sadpm.stages.figure import draw; "
            "from sadpm.config.jobs import FigureJob; job, *files = sys.argv[1:]; "
            "s, r, d, m, k = ([Path(file)] for file in files); "
            "draw(FigureJob.model_validate_json(job), s, r, d, m, (), (), k); sys.exit('torch' in sys.modules)"
        )
        given = [str(files[name][0]) for name in ("samples", "sample_reports", "data", "scores", "details")]
        assert subprocess.run([sys.executable, "-c", code, job.model_dump_json(), *given]).returncode == 0


class TestStageErrors:
    def test_wrong_number_of_files(self, samples, gap):
        job, files = samples
        with pytest.raises(UserError, match="f: 2 reports of samples given, 1 needed"):
            draw(job, **{**NOTHING, **files, "samples": files["samples"][1:]})
        fewer = {name: paths[-1:] for name, paths in files.items()}
        with pytest.raises(UserError, match="f: no samples of d/base/seed0, ddpm-fixed-1; d/base/seed0, ddpm-fixed-10"):
            draw(job, **{**NOTHING, **fewer})
        with pytest.raises(UserError, match="f: 0 images of the data set given, 1 needed"):
            draw(job, **{**NOTHING, **files, "data": ()})
        with pytest.raises(UserError, match="f: 0 gap curves given, 4 needed"):
            draw(gap[0], **NOTHING)

    @pytest.mark.parametrize("content", [b"", b"no array"])
    def test_file_that_is_no_array(self, samples, content, tmp_path):
        job, files = samples
        files["data"][0].write_bytes(content)
        out = [
            f"--{option}={tmp_path}/o.{form}" for option, form in {"pdf": "pdf", "png": "png", "report": "json"}.items()
        ]
        given = [
            word for option, paths in files.items() for word in (f"--{option.replace('_', '-')}", *map(str, paths))
        ]
        with pytest.raises(SystemExit, match=r"figure: .*data\.npy: not a readable"):
            command(figure, ["--params", job.model_dump_json(), *given, *out])
        assert not (tmp_path / "o.pdf").exists()

    def test_array_that_is_not_the_reports(self, samples):
        job, files = samples
        np.save(files["samples"][0], np.load(files["samples"][0])[1:])
        with pytest.raises(UserError, match=r"base\.npy: not the file that .*base\.json describes"):
            draw(job, **{**NOTHING, **files})

    def test_array_of_floats(self, samples):
        job, files = samples
        np.save(files["samples"][0], np.zeros((3, 8, 4, 4, 3)))
        with pytest.raises(UserError, match=r"expected uint8 images .*, found float64"):
            draw(job, **{**NOTHING, **files})

    @pytest.mark.parametrize("content", ["step,gap\n4,1\n", ""])
    def test_curve_without_a_column(self, gap, content):
        job, files = gap
        files["curves"][2].write_text(content)
        with pytest.raises(UserError, match=r"gap2.csv: no column .*official_gap"):
            draw(job, **{**NOTHING, **files})

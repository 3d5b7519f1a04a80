import io
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadpm.config.grid import Cell
from sadpm.config.jobs import TableJob
from sadpm.report.tables import (
    COLUMNS,
    caption,
    escape_latex,
    escape_markdown,
    from_csv,
    long_table,
    to_latex,
    to_markdown,
    wide_table,
)
from sadpm.running.files import UserError, write_json
from sadpm.running.records import difference
from sadpm.stages import command
from sadpm.stages.table import table

LABELS = {
    "model": {"base": "Baseline", "sa2": "SA-2 (λ = 1)"},
    "sampler": {"ddpm": "DDPM", "ddim": "DDIM"},
    "covariance": {"fixed": "fixed", "npr": "NPR"},
}


def make_job(cells, metric="fd", title="Scores", name="t"):
    return TableJob(name=name, title=title, metric=metric, cells=tuple(cells), labels=LABELS)


def make_score(cell, value, metric="fd", **changes):
    recipe = {"name": "sa-dpm", "timesteps": "uniform", "clip_sample": False, "max_variance_pixels": None}
    if cell.covariance != "fixed":
        pixels = 2.0 if cell.sampler == "ddpm" else 1.0
        recipe = {"name": "bao", "timesteps": "linear", "clip_sample": True, "max_variance_pixels": pixels}
    if metric == "fd":
        measured = {"value": value, "label": "FD (digits classifier)", "n": 1000, "reference_n": 1797}
    else:
        measured = {"value": value, "std": 0.2, "splits": 10, "label": "IS (digits classifier)", "n": 1000}
    inputs = {"samples": "5a" * 32, "model": "30" * 32, "reference": "4e" * 32}
    return {
        "cell": cell.as_dict(),
        "recipe": recipe,
        "metrics": {metric: {**measured, **changes}},
        "network_calls": cell.steps,
        "seconds": 1.25,
        "device": "cpu",
        "provenance": {"code": "0.1.0+abc", "python": "3.11.7", "job": {}, "inputs": inputs},
    }


def make_frame(values, metric="fd", **changes):
    """A long table from {cell: value}; the cell as a tuple."""
    cells = [Cell(*key) for key in values]
    scores = [make_score(cell, value, metric, **changes) for cell, value in zip(cells, values.values(), strict=True)]
    return long_table(make_job(cells, metric), scores)


TWO_MODELS = {
    ("digits", model, seed, "ddpm", "fixed", steps): value
    for (model, steps, seed), value in {
        ("base", 10, 0): 12.0,
        ("base", 10, 1): 14.0,
        ("base", 5, 0): 30.25,
        ("base", 5, 1): 30.25,
        ("sa2", 10, 0): 9.5,
        ("sa2", 10, 1): 10.5,
        ("sa2", 5, 0): 31.0,
        ("sa2", 5, 1): 32.0,
    }.items()
}


class TestLongTable:
    def test_one_row(self):
        frame = make_frame({("digits", "sa2", 3, "ddim", "npr", 10): 8.5}, "is")
        assert list(frame.columns) == list(COLUMNS)
        row = frame.iloc[0].to_dict()
        assert all(pd.isna(row.pop(column)) for column in ("reference_n", "published", "difference"))
        assert row == {
            "table": "t", "dataset": "digits", "model": "sa2", "sampler": "ddim", "covariance": "npr", "recipe": "bao",
            "timesteps": "linear", "clip_sample": True, "max_variance_pixels": 1.0, "steps": 10, "seed": 3,
            "metric": "is", "label": "IS (digits classifier)", "value": 8.5, "spread_within": 0.2, "n": 1000,
            "network_calls": 10, "seconds": 1.25, "device": "cpu", "sha256_samples": "5a" * 32,
            "sha256_model": "30" * 32, "sha256_reference": "4e" * 32, "code": "0.1.0+abc", "notes": "",
            "published_source": "",
        }  # fmt: skip

    def test_order_is_the_jobs_whatever_order_the_scores_have(self):
        cells = [Cell("d", "m", 0, "ddpm", "fixed", steps) for steps in (50, 5, 10)]
        scores = [make_score(cell, cell.steps / 2) for cell in [*sorted(cells), Cell("other", "m", 0, "x", "fixed", 5)]]
        assert long_table(make_job(cells), scores)["value"].tolist() == [25.0, 2.5, 5.0]

    def test_missing_cell(self):
        cells = [Cell("digits", "sa2", seed, "ddpm", "npr", 10) for seed in (0, 1)]
        with pytest.raises(UserError, match=r"t: 1 of 2 scores are missing, first digits/sa2/seed1/ddpm-npr-10$"):
            long_table(make_job(cells), [make_score(cells[0], 1.0)])

    def test_missing_metric(self):
        cell = Cell("digits", "sa2", 0, "ddpm", "npr", 10)
        with pytest.raises(UserError, match=r"t: digits/sa2/seed0/ddpm-npr-10 was scored without 'is', by fd"):
            long_table(make_job([cell], "is"), [make_score(cell, 1.0)])

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_value_that_is_no_number(self, value):
        with pytest.raises(UserError, match=rf"'fd' of d/m/seed0/ddpm-fixed-5 is {value}"):
            make_frame({("d", "m", 0, "ddpm", "fixed", 5): value})

    @given(
        st.dictionaries(
            st.tuples(
                st.sampled_from(["digits", "007", "NA", "null", "1e3"]),
                st.sampled_from(["base", "nan", "12", "sa2-lam1"]),
                st.integers(0, 3),
                st.sampled_from(["ddpm", "ddim"]),
                st.sampled_from(["fixed", "npr"]),
                st.integers(1, 1000),
            ),
            st.floats(1e-12, 1e12),
            min_size=1,
            max_size=5,
        ),
        st.sampled_from(["fd", "is"]),
    )
    @settings(max_examples=30, deadline=None)
    def test_csv_loses_nothing(self, values, metric):
        frame = make_frame(values, metric)
        pd.testing.assert_frame_equal(from_csv(frame.to_csv(index=False)), frame, check_exact=True)

    def test_other_peoples_readers_can_read_it(self):
        frame = make_frame(TWO_MODELS)
        plain = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
        assert to_latex(plain, "Scores", LABELS) == to_latex(frame, "Scores", LABELS)
        assert to_markdown(plain, "Scores", LABELS) == to_markdown(frame, "Scores", LABELS)


class TestWideTable:
    def test_mean_and_sample_deviation(self):
        wide = wide_table(make_frame(TWO_MODELS))
        assert wide.mean.columns.tolist() == [5, 10]
        assert wide.mean.to_numpy().tolist() == [[30.25, 13.0], [31.5, 10.0]]
        assert wide.std.to_numpy().ravel() == pytest.approx([0, 2**0.5, 0.5**0.5, 0.5**0.5])

    def test_rows_follow_the_table_within_blocks(self):
        keys = [("b", "y"), ("a", "y"), ("b", "x"), ("a", "x")]
        values = {(d, m, 0, s, "fixed", 5): 1.0 for m in ("zero", "alpha") for d, s in keys}
        index = wide_table(make_frame(values)).mean.index
        blocks = [(d, s) for d in "ba" for s in "yx"]
        assert index.tolist() == [(*block, m, "fixed") for block in blocks for m in ("zero", "alpha")]

    @pytest.mark.parametrize(
        ("metric", "best"),
        [(metric, [[True, False], [False, True]]) for metric in ("fd", "kid")]
        + [(metric, [[False, True], [True, False]]) for metric in ("is", "precision", "recall")],
    )
    def test_best(self, metric, best):
        assert wide_table(make_frame(TWO_MODELS, metric)).best.to_numpy().tolist() == best

    def test_best_is_sought_in_each_block(self):
        values = {
            ("d", m, 0, s, "fixed", 5): v
            for (m, s), v in {("a", "x"): 1, ("b", "x"): 2, ("a", "y"): 8, ("b", "y"): 7}.items()
        }
        assert wide_table(make_frame(values)).best[5].tolist() == [True, False, False, True]

    def test_means_that_print_alike_tie(self):
        values = {("d", m, 0, "x", "fixed", 5): v for m, v in {"a": 1.501, "b": 1.499, "c": 90.0}.items()}
        assert wide_table(make_frame(values)).best[5].tolist() == [True, True, False]

    def test_without_a_rival_nothing_is_best(self):
        values = {
            ("d", "a", 0, "x", "fixed", 5): 1.0,
            ("d", "b", 0, "x", "fixed", 5): 2.0,
            ("d", "b", 0, "x", "fixed", 9): 1.0,
        }
        wide = wide_table(make_frame(values))
        assert wide.best.to_numpy().tolist() == [[True, False], [False, False]]
        assert wide.mean.isna().to_numpy().tolist() == [[False, True], [False, False]]

    @pytest.mark.parametrize(
        ("pair", "digits"), [((12, 300), 2), ((0.0104, 0.0098), 5), ((5, 5), 2), ((0, 0), 2), ((1, 1 + 1e-9), 6)]
    )
    def test_digits_follow_the_spread(self, pair, digits):
        values = {("d", model, 0, "x", "fixed", 5): value for model, value in zip("ab", pair, strict=True)}
        assert wide_table(make_frame(values)).digits == {"d": digits}

    @given(st.lists(st.floats(0, 1000), min_size=2, max_size=6))
    @settings(max_examples=30, deadline=None)
    def test_the_smallest_is_always_among_the_best(self, values):
        wide = wide_table(make_frame({("d", f"m{i}", 0, "x", "fixed", 5): value for i, value in enumerate(values)}))
        marked = wide.best[5].to_numpy()
        assert marked[values.index(min(values))]
        assert wide.mean[5].to_numpy()[marked].max() <= min(values) + 10 ** -wide.digits["d"]


MARKDOWN = """\
Scores. FD (digits classifier); lower is better. All rows: dataset digits, sampler DDPM, covariance fixed. \
Images behind each number: 1,000 generated and 1,797 real. \
Mean ± sample standard deviation over 2 training seeds (0, 1). Bold: best mean of each column. \
Recipe sa-dpm: levels 1, 1 + s, 1 + 2s, … with s = N/T for T of N steps; predicted x₀ not clipped; \
last noise not limited.

| model | 5 steps | 10 steps |
| :-- | --: | --: |
| Baseline | **30.25** ± 0.00 | 13.00 ± 1.41 |
| SA-2 (λ = 1) | 31.50 ± 0.71 | **10.00** ± 0.71 |
"""

LATEX_BODY = r"""\begin{tabular}{lr@{}lr@{}l}
\toprule
& \multicolumn{4}{c}{sampling steps} \\
\cmidrule(lr){2-5}
model & \multicolumn{2}{c}{5} & \multicolumn{2}{c}{10} \\
\midrule
Baseline & \textbf{30.25} & {\tiny\,$\pm$\,0.00} & 13.00 & {\tiny\,$\pm$\,1.41} \\
SA-2 ($\lambda$ = 1) & 31.50 & {\tiny\,$\pm$\,0.71} & \textbf{10.00} & {\tiny\,$\pm$\,0.71} \\
\bottomrule
\end{tabular}"""


def full_values(seeds=(0, 1)):
    """Two data sets with all axes, and a model with fewer cells."""
    return {
        (dataset, model, seed, sampler, covariance, steps): 100 / steps + seed + len(model) / 4
        for dataset in ("digits", "photographs")
        for sampler in ("ddpm", "ddim")
        for model in ("base", "sa2", "base-x2")
        for covariance in ("fixed", "npr")
        for seed in seeds
        for steps in ((5, 10, 20, 50) if model != "base-x2" else (5, 10))
    }


class TestRendering:
    def test_markdown(self):
        assert to_markdown(make_frame(TWO_MODELS), "Scores.", LABELS) == MARKDOWN

    def test_latex(self):
        text = to_latex(make_frame(TWO_MODELS), "Scores", LABELS)
        assert LATEX_BODY in text
        assert text.startswith("\\begin{table}\n\\centering\n")
        assert r"Mean $\pm$ sample standard deviation over 2 training seeds (0, 1)." in text
        assert text.endswith("\\label{tab:t}\n\\end{table}\n")

    def test_one_seed_has_no_error_bars(self):
        frame = make_frame({key: value for key, value in TWO_MODELS.items() if key[2] == 0})
        latex, markdown = to_latex(frame, "Scores", LABELS), to_markdown(frame, "Scores", LABELS)
        assert "one training seed: no error bars" in latex
        assert "one training seed: no error bars" in markdown
        assert r"\begin{tabular}{lrr}" in latex
        assert r"Baseline & \textbf{30.25} & 12.00 \\" in latex
        assert r"\pm" not in latex.split(r"\caption")[0]

    def test_blocks_rules_and_dashes(self):
        text = to_latex(make_frame(full_values()), "Scores", LABELS)
        assert text.count(r"\midrule") == 4
        assert text.count(r"\addlinespace") == 8
        assert text.count("-- & ") == 2 * 2 * 2 * 2
        for heading in ("digits, DDPM", "digits, DDIM", "photographs, DDPM", "photographs, DDIM"):
            assert rf"\multicolumn{{2}}{{l}}{{\textit{{{heading}}}}} \\" in text
        markdown = to_markdown(make_frame(full_values()), "Scores", LABELS)
        assert "| photographs | DDIM | base-x2 | NPR |" in markdown
        assert markdown.count("| \N{EN DASH} |") == 8
        assert "A dash: not run." in markdown

    def test_each_block_names_its_first_model(self):
        rows = [("base", "ddpm", "fixed"), ("sa2", "ddpm", "fixed"), ("sa2", "ddim", "fixed"), ("sa2", "ddim", "npr")]
        frame = make_frame({("d", model, 0, sampler, covariance, 5): 1.0 for model, sampler, covariance in rows})
        lines = to_latex(frame, "Scores", LABELS).splitlines()
        start = lines.index(r"\multicolumn{2}{l}{\textit{DDIM}} \\") + 1
        label = r"SA-2 ($\lambda$ = 1)"
        assert lines[start : start + 2] == [rf"{label} & fixed & \textbf{{1.00}} \\", r" & NPR & \textbf{1.00} \\"]

    def test_caption_says_which_rows_used_which_recipe(self):
        text = to_markdown(make_frame(full_values()), "Scores", LABELS)
        assert "Recipe sa-dpm (covariance fixed): levels 1, 1 + s" in text
        assert (
            "Recipe bao (covariance NPR): levels evenly spaced from 1 to N; predicted x₀ clipped to ±1; "
            "last noise limited to 2 (DDPM) and 1 (DDIM) grey levels in mean absolute value."
        ) in text

    def test_caption_tells_data_sets_apart_where_they_differ(self):
        cells = [Cell(dataset, model, 0, "ddpm", "fixed", 5) for dataset in ("digits", "faces") for model in "ab"]
        other = {"label": "FD (pixels)", "n": 64, "reference_n": 100}
        scores = [make_score(cell, 1.0, **(other if cell.dataset == "faces" else {})) for cell in cells]
        text = to_markdown(long_table(make_job(cells), scores), "T", LABELS)
        assert "FD (digits classifier) for digits, FD (pixels) for faces; lower is better." in text
        assert "1,000 generated and 1,797 real for digits, 64 generated and 100 real for faces." in text

    def test_caption_repeats_each_note_once(self):
        cells = [Cell(dataset, model, 0, "ddpm", "fixed", 5) for dataset in ("digits", "faces") for model in "ab"]
        notes = {"digits": ["n = 60 < 2,048: FID is biased"], "faces": ["n = 60 < 2,048: FID is biased", "Other"]}
        scores = [make_score(cell, 1.0, notes=notes[cell.dataset]) for cell in cells]
        frame = long_table(make_job(cells), scores)
        assert frame["notes"].tolist()[1:3] == ["n = 60 < 2,048: FID is biased", "n = 60 < 2,048: FID is biased; Other"]
        assert "1,797 real. n = 60 < 2,048: FID is biased. Other. Results of" in caption(frame, "T", LABELS)

    def test_single_cell_keeps_its_model(self):
        frame = make_frame({("digits", "sa2", 0, "ddim", "npr", 1): 3.14159})
        assert "| model | 1 step |\n| :-- | --: |\n| SA-2 (λ = 1) | 3.14 |\n" in to_markdown(frame, "T", LABELS)
        assert "1 (DDIM) grey levels" in to_latex(frame, "T", LABELS)

    def test_models_with_equal_labels_stay_apart(self):
        labels = {"model": {"base": "same", "sa2": "same"}}
        assert to_markdown(make_frame(TWO_MODELS), "T", labels).count("| same |") == 2

    @given(st.text(st.characters(codec="ascii"), max_size=20))
    def test_markdown_titles_add_no_columns(self, title):
        text = escape_markdown(title)
        assert "\n" not in text
        assert text.replace("\\\\", "").replace("\\|", "").count("|") == 0


NASTY = r"100% of_a & b # $5 {x} \y ~ ^ <k> |z| [q] a--b"


def test_escape_latex():
    assert escape_latex("a_b%c&d#e$f{g}") == r"a\_b\%c\&d\#e\$f\{g\}"
    assert (
        escape_latex("\\~^<>|")
        == r"\textbackslash{}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
    )
    assert escape_latex("a--b---c-d") == "a-{}-b-{}-{}-c-d"
    assert escape_latex(" two\n\nlines ") == "two lines"
    assert escape_latex("[1]") == "{[}1]"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_pdflatex_prints_what_was_meant(tmp_path):
    labels = {**LABELS, "model": {**LABELS["model"], "base": NASTY}}
    seeds = [to_latex(make_frame(full_values(seeds)), NASTY, labels) for seeds in ((0,), (0, 1))]
    text = "\n".join([r"\documentclass{article}\usepackage{booktabs}\begin{document}", *seeds, r"\end{document}"])
    (tmp_path / "t.tex").write_text(text)
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(latex, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout
    if shutil.which("pdftotext"):  # It does not see the underscore, which is a rule in OT1, nor accents.
        words = subprocess.run(["pdftotext", "t.pdf", "-"], cwd=tmp_path, capture_output=True, text=True).stdout
        for word in ["100% of", "& b # $5 {x} ", "<k> |z| [q] a--b", "SA-2 (λ = 1)", "sampling steps", "no error bars"]:
            assert word in " ".join(words.split())


class TestStage:
    def run(self, folder, job, scores):
        """With two files of scores."""
        write_json(folder / "0.json", {"scores": scores[:1]})
        write_json(folder / "1.json", {"scores": scores[1:]})
        paths = [str(folder / f"{i}.json") for i in range(2)]
        outputs = {"csv": "csv", "tex": "tex", "markdown": "md", "report": "json"}
        out = [f"--{option}={folder}/o/t.{form}" for option, form in outputs.items()]
        command(table, ["--params", job.model_dump_json(), "--scores", *paths, *out])

    def test_files(self, tmp_path):
        cells = [Cell(*key) for key in TWO_MODELS]
        scores = [make_score(cell, value) for cell, value in zip(cells, TWO_MODELS.values(), strict=True)]
        self.run(tmp_path, make_job(cells), scores)
        frame = make_frame(TWO_MODELS)
        assert (tmp_path / "o/t.csv").read_text() == frame.to_csv(index=False)
        assert (tmp_path / "o/t.tex").read_text() == to_latex(frame, "Scores", LABELS)
        assert (tmp_path / "o/t.md").read_text() == MARKDOWN
        assert difference(tmp_path / "o/t.json", make_job(cells)) is None

    def test_a_mistake_leaves_no_files(self, tmp_path):
        cells = [Cell(*key) for key in TWO_MODELS]
        with pytest.raises(SystemExit, match="table: t: 7 of 8 scores are missing"):
            self.run(tmp_path, make_job(cells), [make_score(cells[0], 1.0)])
        assert not (tmp_path / "o").exists()

    def test_needs_neither_torch_nor_matplotlib(self):
        code = "import sys, sadpm.stages.table; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0

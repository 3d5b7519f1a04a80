import io
import shutil
import subprocess
import sys
from itertools import product

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_files import make_score, write_scores

from sadpm.config.grid import Cell
from sadpm.config.jobs import TableJob
from sadpm.report.captions import caption
from sadpm.report.contrasts import Scored
from sadpm.report.decided import compared
from sadpm.report.long_table import COLUMNS, COMPARISON, TUNED, from_csv, long_table
from sadpm.report.tables import escape_latex, escape_markdown, to_latex, to_markdown
from sadpm.report.wide_table import wide_table
from sadpm.running.files import UserError
from sadpm.running.records import difference
from sadpm.stages import command
from sadpm.stages.table import table

LABELS = {
    "model": {"base": "Baseline", "sa2": "SA-2 (λ = 1)"},
    "sampler": {"ddpm": "DDPM", "ddim": "DDIM"},
    "covariance": {"fixed": "fixed", "npr": "NPR"},
}


def make_job(cells, metric="fd", title="Scores", name="t", **more):
    return TableJob(name=name, title=title, metric=metric, cells=tuple(cells), labels=LABELS, **more)


def make_frame(values, metric="fd", **changes):
    """A long table from {cell: value}, without influence values; the cell as a tuple."""
    cells = {Cell(*key): value for key, value in values.items()}
    return make_table({cell: make_score(cell, value, metric, **changes) for cell, value in cells.items()}, metric)


def make_table(scores, metric="fd", **job):
    """A long table from {cell: score}."""
    return compared(long_table(make_job(scores, metric, **job), scores.values()), Scored(scores, {}))


TWO_MODELS = {
    ("digits", model, seed, "ddpm", "fixed", steps): value
    for (model, steps, seed), value in {
        ("base", 10, 0): 12.0,
        ("base", 10, 1): 14.0,
        ("base", 5, 0): 30.25,
        ("base", 5, 1): 30.25,
        ("sa2", 10, 0): 9.5,
        ("sa2", 10, 1): 11.46,
        ("sa2", 5, 0): 31.0,
        ("sa2", 5, 1): 32.0,
    }.items()
}
ONE_SEED = {key: value for key, value in TWO_MODELS.items() if key[2] == 0}


class TestLongTable:
    def test_one_row(self):
        cell = Cell("digits", "sa2", 3, "ddim", "npr", 10)
        score = make_score(cell, 8.5, "is", standard_error=0.25, no_error=None)
        frame = long_table(make_job([cell], "is", images_seen={"digits": {"sa2": 640}}), [score])
        assert list(frame.columns) == list(COLUMNS)
        row = frame.iloc[0].to_dict()
        empty = {"reference_n", "published", "difference", *COMPARISON} - {"bold"}
        assert all(pd.isna(row.pop(column)) for column in empty)
        assert row == {
            "table": "t", "dataset": "digits", "model": "sa2", "sampler": "ddim", "covariance": "npr", "recipe": "bao",
            "timesteps": "linear", "clip_sample": True, "max_variance_pixels": 1.0, "steps": 10, "seed": 3,
            "metric": "is", "label": "IS (digits classifier)", "value": 8.5, "standard_error": 0.25, "no_error": "",
            "n": 1000, "bold": False, "images_seen": 640, "network_calls": 10, "seconds": 1.25,
            "device": "cpu", "sha256_samples": "5a" * 32,
            "sha256_model": "30" * 32, "sha256_reference": "4e" * 32, "code": "0.1.0+abc", "notes": "",
            "published_source": "",
        }  # fmt: skip

    def test_what_was_tuned_has_columns_of_its_own_and_is_in_the_caption(self):
        values = {("ddim", 5): None, ("ddim", 10): None, ("scaled", 5): 0.98, ("scaled", 10): 1.02}
        scores = {}
        for model, (sampler, steps) in product(("base", "sa2"), values):
            cell = Cell("digits", model, 0, sampler, "fixed", steps)
            scores[cell] = make_score(cell, 5.0 + steps)
            value = 1.02 if model == "sa2" and sampler == "scaled" else values[sampler, steps]
            notes = ["at the edge of the grid"] if value == 1.02 else []
            choice = {"option": "epsilon_scale.b", "value": value, "declared": 1.0, "metric": "fd", "notes": notes}
            scores[cell]["recipe"] |= {"tuned": choice} if value else {}
        frame = make_table(scores)
        again = from_csv(frame.to_csv(index=False))
        pd.testing.assert_frame_equal(again[list(TUNED)], frame[list(TUNED)])
        assert again["tuned"].tolist() == ["", "", *["epsilon_scale.b"] * 2] * 2
        assert again["tuned_value"].dropna().tolist() == [0.98, 1.02, 1.02, 1.02]
        told = "epsilon_scale.b is 0.98 to 1.02 (Baseline), 1.02 (SA-2 (λ = 1))"
        assert (
            f"Tuned by FD of samples that no table shows: {told}; of 4 values, 3 at the edge of the grid. Recipe"
            in caption(again, "Scores", LABELS)
        )

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

    def test_scores_of_different_numbers_of_images_are_not_mixed(self):
        cells = [Cell(dataset, model, 0, "ddpm", "fixed", 5) for dataset in ("d", "e") for model in "ab"]
        scores = [make_score(cell, 1.0, n=50 if cell.dataset == "d" else 60) for cell in cells]
        assert long_table(make_job(cells), scores)["n"].tolist() == [50, 50, 60, 60]
        scores[1]["metrics"]["fd"]["n"] = 70
        with pytest.raises(UserError, match="t: d/b/seed0/ddpm-fixed-5 was scored by 70 images, others of d by 50: "):
            long_table(make_job(cells), scores)

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
        assert wide.mean.to_numpy().tolist() == [[30.25, 13.0], [31.5, 10.48]]
        assert wide.error.to_numpy().ravel() == pytest.approx([0, 2**0.5, 0.5**0.5, 0.98 * 2**0.5])

    def test_one_seed_has_its_sampling_error(self):
        cells = [Cell("d", "a", seed, "x", "fixed", steps) for seed, steps in ((0, 5), (0, 9), (1, 9), (0, 20))]
        errors = (0.5, 0.6, 0.7, None)
        scores = {c: make_score(c, c.seed + 3.0, standard_error=e) for c, e in zip(cells, errors, strict=True)}
        error = wide_table(make_table(scores)).error.iloc[0].to_numpy()
        assert error == pytest.approx([0.5, 0.5**0.5, float("nan")], nan_ok=True)

    def test_costs_of_a_row(self):
        cells = [Cell("d", m, seed, "x", "fixed", steps) for m in "ab" for seed in (0, 1) for steps in (5, 20)]
        scores = {cell: make_score(cell, 1.0) | {"seconds": cell.steps * (1.0 + cell.seed)} for cell in cells}
        frame = make_table(scores, images_seen={"d": {"b": 640}})
        costs = wide_table(frame, ("seconds", "images_seen", "network_calls")).costs
        assert costs.columns.tolist() == ["seconds", "images_seen", "network_calls"]
        assert costs.to_numpy().ravel() == pytest.approx([37.5, float("nan"), 25, 37.5, 640, 25], nan_ok=True)
        assert wide_table(frame).costs.shape == (2, 0)

    def test_rows_follow_the_table_within_blocks(self):
        keys = [("b", "y"), ("a", "y"), ("b", "x"), ("a", "x")]
        values = {(d, m, 0, s, "fixed", 5): 1.0 for m in ("zero", "alpha") for d, s in keys}
        index = wide_table(make_frame(values)).mean.index
        blocks = [(d, s) for d in "ba" for s in "yx"]
        assert index.tolist() == [(*block, m, "fixed") for block in blocks for m in ("zero", "alpha")]

    @pytest.mark.parametrize(
        ("pair", "digits"), [((12, 300), 2), ((0.0104, 0.0098), 5), ((5, 5), 2), ((0, 0), 2), ((1, 1 + 1e-9), 6)]
    )
    def test_digits_follow_the_spread(self, pair, digits):
        values = {("d", model, 0, "x", "fixed", 5): value for model, value in zip("ab", pair, strict=True)}
        assert wide_table(make_frame(values)).digits == {"d": digits}


MARKDOWN = """\
Scores. FD (digits classifier); lower is better. All rows: dataset digits, sampler DDPM, covariance fixed. \
Images behind each number: 1,000 generated and 1,797 real. \
Mean ± sample standard deviation over 2 training seeds (0, 1). \
Bold in each column: the best mean, and each that can't be told from it: the 95 % interval of its difference from the \
best reaches 0 (Student's t over the training seeds that both have). A column where this is everything has no bold. \
Recipe sa-dpm: levels 1, 1 + s, 1 + 2s, … with s = N/T for T of N steps; predicted x₀ not clipped; \
last noise not limited.

| model | 5 steps | 10 steps |
| :-- | --: | --: |
| Baseline | 30.25 ± 0.00 | 13.00 ± 1.41 |
| SA-2 (λ = 1) | 31.50 ± 0.71 | **10.48** ± 1.39 |
"""

LATEX_BODY = r"""\begin{tabular}{lr@{}lr@{}l}
\toprule
& \multicolumn{4}{c}{sampling steps} \\
\cmidrule(lr){2-5}
model & \multicolumn{2}{c}{5} & \multicolumn{2}{c}{10} \\
\midrule
Baseline & 30.25 & {\tiny\,$\pm$\,0.00} & 13.00 & {\tiny\,$\pm$\,1.41} \\
SA-2 ($\lambda$ = 1) & 31.50 & {\tiny\,$\pm$\,0.71} & \textbf{10.48} & {\tiny\,$\pm$\,1.39} \\
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

    def test_one_seed_has_its_sampling_error(self):
        frame = make_frame(ONE_SEED, standard_error=0.5, no_error=None)
        latex, markdown = to_latex(frame, "Scores", LABELS), to_markdown(frame, "Scores", LABELS)
        assert "Value ± sampling error of one training seed (0), for these weights alone. Bold in" in markdown
        assert "reaches 0 (sampling error, for these weights alone). A column where this is" in markdown
        assert "| SA-2 (λ = 1) | 31.00 ± 0.50 | **9.50** ± 0.50 |" in markdown
        assert r"SA-2 ($\lambda$ = 1) & 31.00 & {\tiny\,$\pm$\,0.50} & \textbf{9.50} & {\tiny\,$\pm$\,0.50} \\" in latex

    def test_a_table_that_decides_nothing_says_so(self):
        text = to_markdown(make_frame(ONE_SEED, standard_error=9.0, no_error=None), "Scores", LABELS)
        assert "Nothing is bold: in each column, nothing can be told from the best mean: the 95 % interval" in text
        assert "**" not in text

    def test_without_errors_the_caption_says_why(self):
        frame = make_frame(ONE_SEED, no_error="60 images are too few for 64 features")
        latex, markdown = to_latex(frame, "Scores", LABELS), to_markdown(frame, "Scores", LABELS)
        for text in (latex, markdown):
            assert "one training seed: no error bars. No sampling error: 60 images are too few for 64 features." in text
            assert "Nothing is bold: what is not the best has a difference of unknown error." in text
        assert r"\begin{tabular}{lrr}" in latex
        assert r"Baseline & 30.25 & 12.00 \\" in latex
        assert r"\pm" not in latex.split(r"\caption")[0]

    def test_caption_says_which_rows_have_which_seeds(self):
        values = {key: value for key, value in TWO_MODELS.items() if key[1] == "base" or key[2] == 0}
        scores = {
            Cell(*k): make_score(Cell(*k), v, standard_error=0.5 if k[5] == 10 else None) for k, v in values.items()
        }
        text = caption(make_table(scores), "Scores", LABELS)
        assert "Mean ± sample standard deviation over training seeds. Without other seeds, ± sampling error of " in text
        assert (
            "Training seeds: 0, 1 (Baseline); 0 (SA-2 (λ = 1)). No sampling error of some numbers: it is a test."
            in text
        )
        assert "Not compared, and so not bold, is what has a difference of unknown error." in text

    def test_caption_says_what_was_not_compared(self):
        seeds = {"a": (0, 1), "b": (0, 1), "c": (1,), "e": (2,)}
        values = {
            ("d", model, seed, "x", "fixed", 5): 1.0 + (model != "a") + seed
            for model, of_model in seeds.items()
            for seed in of_model
        }
        text = caption(make_frame(values, standard_error=0.1), "Scores", LABELS)
        assert "(Student's t over the training seeds that both have; where it is but one, sampling error, for" in text
        assert "Not compared, and so not bold, is what shares no training seed with the best." in text
        undecided = {key: value for key, value in values.items() if key[1] in "ae"}
        text = caption(make_frame(undecided, standard_error=9.0), "Scores", LABELS)
        assert "Nothing is bold: what is not the best shares no training seed with the best." in text

    def test_costs_are_columns_where_asked(self):
        frame = make_table(
            {Cell(*key): make_score(Cell(*key), value) for key, value in ONE_SEED.items()},
            images_seen={"digits": {"base": 39680}},
        )
        costs = ("images_seen", "network_calls", "seconds")
        markdown, latex = to_markdown(frame, "T", LABELS, costs), to_latex(frame, "T", LABELS, costs)
        assert "| model | images seen | network calls | seconds | 5 steps | 10 steps |\n| :-- | --: | --: |" in markdown
        assert "| Baseline | 39,680 | 15 | 2.5 | 30.25 | 12.00 |" in markdown
        assert "| SA-2 (λ = 1) | \N{EN DASH} | 15 | 2.5 | 31.00 | 9.50 |" in markdown
        assert r"\begin{tabular}{lrrrrr}" in latex
        assert r"\cmidrule(lr){5-6}" in latex
        assert r"model & images seen & network calls & seconds & \multicolumn{1}{c}{5}" in latex
        assert r"SA-2 ($\lambda$ = 1) & -- & 15 & 2.5 & 31.00 & 9.50 \\" in latex
        assert (
            "Costs: images seen are the noisy images that training showed to the network (a dash: weights from" in latex
        )
        assert "drawing the images of all columns (cpu)." in latex
        assert "Costs: network calls" in caption(frame, "T", LABELS, ("network_calls",))
        assert "Costs" not in caption(frame, "T", LABELS)

    def test_bounds_are_of_real_images_and_not_drawn(self):
        changes = {"label": "bits/dim (test images)", "n": 300, "reference_n": 359}
        text = to_markdown(make_frame(ONE_SEED, "bpd", **changes), "Bits/dim", LABELS, ("seconds",))
        assert "bits/dim (test images); lower is better" in text
        assert "Images behind each number: 300 of 359 real." in text
        assert "seconds are those of measuring the bounds of all columns (cpu)" in text
        assert "drawing" not in text
        assert "generated" not in text

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
        assert lines[start : start + 2] == [rf"{label} & fixed & 1.00 \\", r" & NPR & 1.00 \\"]

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
    costs = ("images_seen", "network_calls", "seconds")
    made = [to_latex(make_frame(full_values(seeds)), NASTY, labels) for seeds in ((0,), (0, 1))]
    made.append(to_latex(make_frame(full_values((0,))), NASTY, labels, costs))
    text = "\n".join([r"\documentclass{article}\usepackage{booktabs}\begin{document}", *made, r"\end{document}"])
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
    def run(self, folder, job, values):
        entries = [{"cell": Cell(*key), "value": value, "influence": None} for key, value in values.items()]
        scores, influence = write_scores(folder, entries)
        outputs = {"csv": "csv", "tex": "tex", "markdown": "md", "report": "json"}
        out = [f"--{option}={folder}/o/t.{form}" for option, form in outputs.items()]
        inputs = ["--scores", *map(str, scores), "--influence", *map(str, influence)]
        command(table, ["--params", job.model_dump_json(), *inputs, *out])

    def test_files(self, tmp_path):
        job = make_job([Cell(*key) for key in TWO_MODELS], costs=("network_calls",))
        self.run(tmp_path, job, TWO_MODELS)
        frame = make_frame(TWO_MODELS)
        assert (tmp_path / "o/t.csv").read_text() == frame.to_csv(index=False)
        assert (tmp_path / "o/t.tex").read_text() == to_latex(frame, "Scores", LABELS, job.costs)
        assert (tmp_path / "o/t.md").read_text() == to_markdown(frame, "Scores", LABELS, job.costs)
        assert difference(tmp_path / "o/t.json", job) is None

    def test_a_mistake_leaves_no_files(self, tmp_path):
        cells = [Cell(*key) for key in TWO_MODELS]
        with pytest.raises(SystemExit, match="table: t: 7 of 8 scores are missing"):
            self.run(tmp_path, make_job(cells), dict([*TWO_MODELS.items()][:1]))
        assert [path.name for path in (tmp_path / "o").iterdir()] == [".t.json.status"]

    def test_needs_neither_torch_nor_matplotlib(self):
        code = "import sys, sadpm.stages.table; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0

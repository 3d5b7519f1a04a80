"""Claims from declaration to files, on hand-made scores and gap curves."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scored_files import write_scores

from sadpm.config.grid import Cell, all_cells, metrics_of
from sadpm.config.loading import load_config
from sadpm.config.telling import claims_job
from sadpm.kinds.section import ConfigError
from sadpm.running.files import UserError
from sadpm.stages.claims import claims, last_gaps

VALUES = yaml.safe_load(Path(__file__).parents[2].joinpath("config/test.yaml").read_text()) | {"seeds": [0, 1, 2]}
BEATS = {
    "words": "It_beats < 100 %", "metric": "fd", "datasets": ["digits"], "models": ["sa2-lam1"],
    "against": {"equal steps": "base"}, "steps": [2, 5],
}  # fmt: skip
GAP = {**VALUES["claims"]["e"], "expect": "worse"}
SEEN = {**BEATS, "metric": "images_seen", "expect": "worse", "steps": None}


def configuration(**declared):
    return load_config({**VALUES, "claims": declared})


def score_files(folder, config, value_of, n=50):
    rng = np.random.default_rng(0)
    cells = sorted({cell for claim in config.claims.values() for cell in claim.cells(config.seeds)})
    entries = [{"cell": cell, "value": value_of(cell), "influence": rng.normal(size=n)} for cell in cells]
    return write_scores(folder, entries)


def judged(folder, config, value_of=lambda cell: 10.0, gaps=None):
    scores, influence = score_files(folder, config, value_of)
    job, curves = claims_job(config), []
    for asked in job.curves.values():
        for curve in asked:
            curves.append(folder / f"{curve.model}-{curve.seed}.csv")
            curves[-1].write_text(f"step,gap,mean_gap,official_gap\n2,0.1,0.1,0.1\n1,{gaps(curve)},0.1,0.5\n")
    names = {"csv": "claims.csv", "verdicts": "v.csv", "tex": "c.tex", "markdown": "c.md", "report": "c.json"}
    files = {option: folder / name for option, name in names.items()}
    claims(job, **files, scores=scores, influence=influence, curves=curves)
    return pd.read_csv(files["csv"]), pd.read_csv(files["verdicts"]), files


def better_by(gain, spread=0.1):
    def value_of(cell):
        base = 20.0 + cell.seed
        return base if cell.model == "base" else base - gain - spread * cell.seed

    return value_of


@pytest.mark.parametrize(
    ("gain", "spread", "verdict"),
    [(5.0, 0.05, "reproduced"), (-5.0, 0.05, "contradicted"), (0.0, 0.05, "no effect"), (0.4, 0.4, "undecided")],
)
def test_a_claim_is_judged_by_differences_of_equal_seeds(tmp_path, gain, spread, verdict):
    contrasts, verdicts, files = judged(tmp_path, configuration(a=BEATS), better_by(gain, spread))
    assert verdicts["verdict"].tolist() == [verdict]
    assert contrasts["steps"].tolist() == [2, 5]
    first = contrasts.iloc[0]
    assert first["effect"] == pytest.approx(-gain - spread)
    assert first["low"] < first["effect"] < first["high"]
    assert first["least_effect"] == pytest.approx(0.01 * 21)
    ratios = [(20 + k - gain - spread * k) / (20 + k) for k in range(3)]
    assert first["relative_effect"] == pytest.approx(np.mean(np.log(ratios)))
    assert (first["seeds"], first["row"], first["against"]) == (3, "sa2-lam1", "base")
    assert r"It\_beats \< 100 %" in files["markdown"].read_text()
    assert r"It\_beats \textless{} 100 \%" in files["tex"].read_text()


def test_each_rival_gives_a_verdict_of_its_own(tmp_path):
    rivals = {"equal steps": "base", "equal compute": "sa3-slide"}

    def value_of(cell):
        return {"base": 20.0, "sa2-lam1": 10.0, "sa3-slide": 5.0}[cell.model] + 0.01 * cell.seed

    _, verdicts, _ = judged(tmp_path, configuration(a={**BEATS, "against": rivals}), value_of)
    assert dict(zip(verdicts["comparison"], verdicts["verdict"], strict=True)) == {
        "equal steps": "reproduced",
        "equal compute": "contradicted",
    }


def test_other_steps_and_the_other_direction(tmp_path):
    values = {2: 10.0, 5: 12.0}
    config = configuration(a={**BEATS, "steps": [2], "against_steps": 5, "expect": "worse"})
    contrasts, verdicts, _ = judged(tmp_path, config, lambda cell: values[cell.steps] + 0.01 * cell.seed)
    assert contrasts["effect"].tolist() == [pytest.approx(-2.0)]
    assert contrasts["against_steps"].tolist() == [5]
    assert verdicts["verdict"].tolist() == ["contradicted"]


def test_gaps_and_costs(tmp_path):
    """Gaps have no sampling error, so that seeds alone tell; the cost of training is exact."""
    config = configuration(e=GAP, f=SEEN)
    contrasts, verdicts, _ = judged(
        tmp_path, config, gaps=lambda curve: (2.0 if curve.model == "base" else 3.0) + 0.01 * curve.seed
    )
    assert verdicts["verdict"].tolist() == ["reproduced", "reproduced"]
    assert contrasts["effect"].tolist() == [pytest.approx(1.0), 6 * 8 * (2 - 1)]
    assert contrasts["sampling_error"].isna().all()


def test_as_good_and_better_by_a_size(tmp_path):
    """20 against 20 is as good, and not better; 12 against 20 is better by 30 %, and not by half."""
    same = configuration(a=BEATS, b={**BEATS, "expect": "as good"})
    _, verdicts, files = judged(tmp_path, same, lambda cell: 20.0 + cell.seed)
    assert verdicts["verdict"].tolist() == ["no effect", "reproduced"]
    assert "may be worse by the least effect" in files["markdown"].read_text()
    for gain, verdict in ((5.0, "reproduced"), (-5.0, "contradicted")):
        _, verdicts, _ = judged(tmp_path, configuration(b={**BEATS, "expect": "as good"}), better_by(gain, 0.01))
        assert verdicts["verdict"].tolist() == [verdict]
    sizes = configuration(a={**BEATS, "by": 0.3}, b={**BEATS, "by": 0.5})
    contrasts, verdicts, files = judged(tmp_path, sizes, better_by(8.0))
    assert verdicts["verdict"].tolist() == ["reproduced", "contradicted"]
    assert contrasts["by"].tolist() == pytest.approx([0.3 * 21] * 2 + [0.5 * 21] * 2)
    assert "held to that size" in files["markdown"].read_text()


def test_imported_weights_are_undecided_whatever_the_seeds(tmp_path):
    models = {**VALUES["models"], "base": {"checkpoint": {"digits": {"path": "base.pth"}}}}
    config = load_config({**VALUES, "models": models, "claims": {"a": BEATS}})
    _, verdicts, files = judged(tmp_path, config, better_by(15.0))
    assert verdicts["verdict"].tolist() == ["undecided"]
    assert verdicts["seeds_needed"].isna().all()
    assert "weights read from a checkpoint: known for these weights only" in files["markdown"].read_text()


def test_several_data_sets_are_judged_alone_and_together(tmp_path):
    config = configuration(a={**BEATS, "datasets": ["digits", "patches"]})
    _, verdicts, _ = judged(tmp_path, config, lambda cell: better_by(5.0 * (cell.dataset == "digits"), 0.01)(cell))
    assert dict(zip(verdicts["dataset"], verdicts["verdict"], strict=True)) == {
        "digits": "reproduced",
        "patches": "no effect",
        "all data sets": "undecided",
    }


def test_samples_that_would_decide_are_told(tmp_path):
    contrasts, verdicts, files = judged(tmp_path, configuration(a=BEATS), better_by(0.4, 0.3))
    needed = contrasts["samples_needed"].max()
    assert needed > 50
    assert verdicts["samples_needed"].tolist() == [needed]
    assert f"{int(needed):,} |" in files["markdown"].read_text()


def test_scores_of_different_numbers_of_samples_are_not_compared(tmp_path):
    config = configuration(a={**BEATS, "steps": [2]})
    cells = [cell for claim in config.claims.values() for cell in claim.cells(config.seeds)]
    numbers = {cell: 60 if cell.model == "base" else 50 for cell in cells}
    entries = [{"cell": cell, "value": 10.0, "influence": np.arange(n) - (n - 1) / 2} for cell, n in numbers.items()]
    scores, influence = write_scores(tmp_path, entries)
    files = {option: tmp_path / option for option in ("csv", "verdicts", "tex", "markdown", "report")}
    with pytest.raises(UserError, match=r"ddpm-fixed-2 was scored by 50 images, .* by 60: they can't be compared"):
        claims(claims_job(config), **files, scores=scores, influence=influence)


def test_one_seed_is_undecided_and_says_why(tmp_path):
    _, verdicts, files = judged(tmp_path, configuration(a={**BEATS, "seeds": [1]}), better_by(15.0))
    assert verdicts["verdict"].tolist() == ["undecided"]
    assert "one training seed: known for these weights only" in files["markdown"].read_text()


def test_no_claims_are_told(tmp_path):
    with pytest.raises(UserError, match="there are no claims: declare some under claims"):
        judged(tmp_path, configuration())


def test_a_damaged_curve_is_told(tmp_path):
    for content in ("step,gap\n1,2\n", "", "step,gap,official_gap\n", "step,gap,official_gap\n1,nan,2\n"):
        (tmp_path / "gap.csv").write_text(content)
        with pytest.raises(UserError, match=r"gap.csv: not a gap curve .*delete it, and the workflow makes it again"):
            last_gaps(tmp_path / "gap.csv")


def test_a_claims_cells_are_part_of_the_experiment():
    config = configuration(a={**BEATS, "steps": [4], "metric": "is"})
    assert Cell("digits", "sa2-lam1", 2, "ddpm", "fixed", 4) in all_cells(config)
    assert "is" in metrics_of(config, "digits")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["sa9"]}, r"claims.a.models: 'sa9' is not declared under models"),
        ({"against": {"equal steps": "bose"}}, r"claims.a.against: 'bose' is not declared under models \(base, "),
        ({"against": {}}, r"claims.a.against: "),
        ({"steps": None}, r"claims.a: steps: say at which numbers of sampling steps 'fd' is compared"),
        ({"against": {"equal steps": "sa2-lam1"}}, r"claims.a: against: 'sa2-lam1' would be compared with itself"),
        ({"metric": "gap"}, r"claims.a: figure: names the gap figure"),
        ({"figure": "figure4"}, r"claims.a: figure: names the gap figure"),
        ({"metric": "gap", "figure": "figure1"}, r"claims.a.figure: 'figure1' is no gap figure .*\(figure4\)"),
        ({"metric": "gap", "figure": "figure4", "models": ["sa3-slide"]}, r"'figure4' has no curve of digits/sa3"),
        ({"metric": "kid"}, r"claims.a.metric: 'kid' is not to be had: datasets.digits.extractor is 'classifier'"),
        ({"steps": [2000]}, r"claims.a.steps: 2000 is not from 1 to"),
        ({"by": 0.5, "expect": "as good"}, r"claims.a: by: says how much better or worse, which 'as good' is not"),
        ({"by": 0}, r"claims.a.by: "),
        ({"holds": "all"}, r"claims.a.holds: "),
        ({"least_effect": -1}, r"claims.a.least_effect: "),
    ],
)  # fmt: skip
def test_mistakes_are_told_by_their_key(changes, message):
    with pytest.raises(ConfigError, match=message):
        configuration(a={**BEATS, **changes})

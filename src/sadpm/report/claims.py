"""Claims judged: each contrast with its effect and interval, and a verdict for each claim, comparison and data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
from pandas import DataFrame

from sadpm.config.claims import ClaimConfig, Contrast
from sadpm.config.grid import Cell
from sadpm.config.jobs import ClaimsJob
from sadpm.metrics.uncertainty import OverSeeds
from sadpm.report.contrasts import Scored, contrast
from sadpm.report.long_table import BETTER
from sadpm.report.tables import escape_latex, escape_markdown
from sadpm.report.verdicts import CONFIDENCE, Judged, most_needed, overall
from sadpm.running.files import UserError

ALL = "all data sets"
Gaps = Mapping[tuple[str, str], Mapping[str, float]]
"""The gaps at the end of a chain by their kind, by the figure and the model's run."""


@dataclass(frozen=True)
class Found:
    """A contrast of a claim, with what was measured.

    Attributes:
        contrast: what is compared.
        difference: row minus rival over seeds.
        ratio: the same of logarithms, None where there are none.
        rival: the mean of the rival.
        n: samples behind each score, None where no samples are compared.
        judged: what it says of the claim.
    """

    contrast: Contrast
    difference: OverSeeds
    ratio: OverSeeds | None
    rival: float
    n: int | None
    judged: Judged

    @property
    def samples_needed(self) -> int | None:
        """The least number of samples that would decide it with as many seeds, where that can be said."""
        more = self.judged.more_samples
        return None if more is None or self.n is None else math.ceil(more * self.n)


def judge(job: ClaimsJob, scored: Scored, gaps: Gaps) -> dict[str, list[Found]]:
    """Return what was found for each claim, in the order of its contrasts.

    Raises:
        UserError: a score is missing, influence values are damaged, or scores of different numbers of samples would be
            compared.
    """
    return {
        name: [_found(job, claim, one, scored, gaps) for one in claim.contrasts(job.seeds)]
        for name, claim in job.claims.items()
    }


def contrasts_table(job: ClaimsJob, found: Mapping[str, Sequence[Found]]) -> DataFrame:
    """Return one row for each contrast of each claim."""
    return DataFrame([_row(name, job.claims[name], one) for name, several in found.items() for one in several])


def verdicts_table(job: ClaimsJob, found: Mapping[str, Sequence[Found]]) -> DataFrame:
    """Return one row for each claim, comparison and data set, and one for all data sets where there are several."""
    rows = []
    for name, several in found.items():
        claim = job.claims[name]
        for comparison, dataset in product(claim.against, claim.datasets + (ALL,) * (len(claim.datasets) > 1)):
            mine = [one for one in several if one.contrast.comparison == comparison]
            mine = [one for one in mine if dataset in (one.contrast.row.dataset, ALL)]
            verdict, why = overall([one.judged for one in mine], claim.holds)
            unclear = [one for one in mine if verdict == one.judged.verdict == "undecided"]
            rows.append(
                {
                    "claim": name, "words": claim.words, "comparison": comparison, "dataset": dataset,
                    "verdict": verdict, "why": why,
                    "seeds_needed": most_needed([one.judged.seeds_needed for one in unclear]),
                    "samples_needed": most_needed([one.samples_needed for one in unclear]),
                }
            )  # fmt: skip
    return DataFrame(rows).astype({"seeds_needed": "Int64", "samples_needed": "Int64"})


def caption(job: ClaimsJob) -> str:
    """Return how the verdicts were reached, as plain text."""
    least = sorted({claim.least_effect for claim in job.claims.values()})
    share = " or ".join(f"{effect:.0%}" if effect * 100 % 1 == 0 else f"{effect:.1%}" for effect in least)
    sizes = " A claim of a size is held to that size, in place of the least effect on either side."
    alike = " What is claimed to be as good may be worse by the least effect."
    return (
        f"Verdicts on claims. Reproduced: the {CONFIDENCE:.0%} interval of every needed contrast, paired by training"
        f" seed, lies beyond the least effect ({share} of the rival's mean) on the claimed side; contradicted: one lies"
        " beyond it on the other side; no effect: all lie within; else undecided, with the training seeds that would"
        " decide it at the mean and deviation seen so far, or the samples where those would do. One training seed"
        " decides nothing about a method."
        + sizes * any(claim.by is not None for claim in job.claims.values())
        + alike * any(claim.expect == "as good" for claim in job.claims.values())
    )


def to_markdown(job: ClaimsJob, verdicts: DataFrame) -> str:
    """Return the verdicts for GitHub, with the caption above them."""
    heads = ["claim", "", "comparison", "data set", "verdict", "why", "seeds needed", "or samples"]
    rows = [heads, [":--"] * 6 + ["--:"] * 2]
    rows += [[escape_markdown(text) for text in _texts(row)] for _, row in verdicts.iterrows()]
    return "\n".join([escape_markdown(caption(job)), "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def to_latex(job: ClaimsJob, verdicts: DataFrame) -> str:
    """Return a ``table`` environment that needs nothing but the package booktabs."""
    lines = [
        r"\begin{table}", r"\centering", r"{\scriptsize\tabcolsep=3pt\makebox[\linewidth]{%",
        r"\begin{tabular}{lp{.38\linewidth}lllrr}", r"\toprule",
        r"claim & & comparison & data set & verdict & seeds needed & or samples \\", r"\midrule",
    ]  # fmt: skip
    for _, row in verdicts.iterrows():
        name, words, comparison, dataset, verdict, _, *needed = map(escape_latex, _texts(row))
        cells = [name, words, comparison, dataset, rf"\textbf{{{verdict}}}", *needed]
        lines.append(rf"{' & '.join(cells)} \\")
    lines += [
        r"\bottomrule", r"\end{tabular}}}", rf"\caption{{{escape_latex(caption(job))}}}", r"\label{tab:claims}",
        r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _texts(row: Any) -> list[str]:
    names, numbers = ("claim", "words", "comparison", "dataset", "verdict", "why"), ("seeds_needed", "samples_needed")
    needed = ("" if pd.isna(row[name]) else f"{int(row[name]):,}" for name in numbers)
    return [*(str(row[name]) for name in names), *needed]


def _found(job: ClaimsJob, claim: ClaimConfig, one: Contrast, scored: Scored, gaps: Gaps) -> Found:
    values = [[_value(job, claim, cell, scored, gaps) for cell in pair] for pair in one.pairs]
    rows, rivals = zip(*values, strict=True)
    has_ratio, n = min(*rows, *rivals) > 0, None
    if claim.is_about_samples:
        n = _common_n(one, scored, claim.metric)
        difference = contrast(scored, one.pairs, claim.metric)
        ratio = contrast(scored, one.pairs, claim.metric, ratio=True) if has_ratio else None
    else:
        unknown = (math.nan,) * len(rows)
        difference = OverSeeds(tuple(a - b for a, b in values), unknown)
        ratio = OverSeeds(tuple(math.log(a / b) for a, b in values), unknown) if has_ratio else None
    sign = -1 if _is_lower_better(claim) == (claim.expect != "worse") else 1
    gain = OverSeeds(tuple(sign * value for value in difference.values), difference.errors)
    rival, exact = sum(rivals) / len(rivals), claim.metric == "images_seen"
    imported = any((cell.dataset, cell.model) in job.imported for cell in (one.row, one.rival))
    return Found(one, difference, ratio, rival, n, Judged(gain, claim.bounds(rival), exact, imported))


def _common_n(one: Contrast, scored: Scored, metric: str) -> int:
    """The number of samples behind each score, which must be the same: a distance depends on it."""
    numbers = {scored.n(cell, metric): cell for pair in one.pairs for cell in pair}
    if len(numbers) > 1:
        (n, cell), (other, rival), *_ = numbers.items()
        raise UserError(
            f"{cell.run}, {cell.draw} was scored by {n:,} images, {rival.run}, {rival.draw} by {other:,}: they can't be"
            " compared; delete the score files of this data set, and the workflow makes them again"
        )
    return next(iter(numbers))


def _is_lower_better(claim: ClaimConfig) -> bool:
    return not claim.is_about_samples or BETTER[claim.metric][1] == "min"


def _value(job: ClaimsJob, claim: ClaimConfig, cell: Cell, scored: Scored, gaps: Gaps) -> float:
    if claim.is_about_samples:
        return scored.value(cell, claim.metric)
    if claim.metric == "images_seen":
        return float(job.images_seen[cell.dataset][cell.model])
    assert claim.figure is not None
    return gaps[claim.figure, cell.run][claim.metric]


def _row(name: str, claim: ClaimConfig, one: Found) -> dict[str, Any]:
    row, rival, judged = one.contrast.row, one.contrast.rival, one.judged
    is_gain = judged.gain.values == one.difference.values
    low, high = judged.interval if is_gain else [-end for end in reversed(judged.interval)]
    return {
        "claim": name, "words": claim.words, "comparison": one.contrast.comparison, "dataset": row.dataset,
        "metric": claim.metric, "sampler": row.sampler, "covariance": row.covariance, "steps": row.steps,
        "row": row.model, "against": rival.model, "against_steps": rival.steps, "expect": claim.expect,
        "by": math.nan if claim.by is None else claim.by * abs(one.rival),
        "seeds": one.difference.seeds, "effect": one.difference.mean, "low": low, "high": high,
        "confidence": CONFIDENCE, "least_effect": claim.least_effect * abs(one.rival),
        "relative_effect": one.ratio.mean if one.ratio else math.nan,
        "between_seeds": one.difference.between, "sampling_error": one.difference.sampling,
        "verdict_of_contrast": judged.verdict, "why": judged.reason, "seeds_needed": judged.seeds_needed,
        "samples_needed": one.samples_needed,
    }  # fmt: skip

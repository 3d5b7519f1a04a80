"""Claims judged: each contrast with its effect and interval, and a verdict for each claim, comparison and data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from sadpm.report.verdicts import CONFIDENCE, Judged, overall, seeds_needed

Gaps = Mapping[tuple[str, str], Mapping[str, float]]
"""The gaps at the end of a chain by their kind, by the figure and the model's run."""


@dataclass(frozen=True)
class Found:
    """A contrast of a claim, with row minus rival over seeds, the same of logarithms (None where there are none)."""

    contrast: Contrast
    difference: OverSeeds
    ratio: OverSeeds | None
    judged: Judged


def judge(job: ClaimsJob, scored: Scored, gaps: Gaps) -> dict[str, list[Found]]:
    """Return what was found for each claim, in the order of its contrasts.

    Raises:
        UserError: a score or a gap is missing, or influence values are damaged.
    """
    return {
        name: [_found(job, claim, one, scored, gaps) for one in claim.contrasts(job.seeds)]
        for name, claim in job.claims.items()
    }


def contrasts_table(job: ClaimsJob, found: Mapping[str, Sequence[Found]]) -> DataFrame:
    """Return one row for each contrast of each claim."""
    return DataFrame([_row(name, job.claims[name], one) for name, several in found.items() for one in several])


def verdicts_table(job: ClaimsJob, found: Mapping[str, Sequence[Found]]) -> DataFrame:
    """Return one row for each claim, comparison and data set."""
    rows = []
    for name, several in found.items():
        groups: dict[tuple[str, str], list[Judged]] = {}
        for one in several:
            groups.setdefault((one.contrast.comparison, one.contrast.row.dataset), []).append(one.judged)
        for (comparison, dataset), judged in groups.items():
            verdict, why = overall(judged, job.claims[name].holds)
            needed = seeds_needed(judged) if verdict == "undecided" else None
            rows.append(
                {
                    "claim": name, "words": job.claims[name].words, "comparison": comparison, "dataset": dataset,
                    "verdict": verdict, "why": why, "seeds_needed": needed,
                }
            )  # fmt: skip
    return DataFrame(rows).astype({"seeds_needed": "Int64"})


def caption(job: ClaimsJob) -> str:
    """Return how the verdicts were reached, as plain text."""
    least = sorted({claim.least_effect for claim in job.claims.values()})
    share = " or ".join(f"{effect:.0%}" if effect * 100 % 1 == 0 else f"{effect:.1%}" for effect in least)
    return (
        f"Verdicts on claims. Reproduced: the {CONFIDENCE:.0%} interval of every needed contrast, paired by training"
        f" seed, lies beyond the least effect ({share} of the rival's mean) on the claimed side; contradicted: one lies"
        " beyond it on the other side; no effect: all lie within; else undecided, with the training seeds that would"
        " decide it at the mean and deviation seen so far. One training seed decides nothing about a method."
    )


def to_markdown(job: ClaimsJob, verdicts: DataFrame) -> str:
    """Return the verdicts for GitHub, with the caption above them."""
    heads = ["claim", "", "comparison", "data set", "verdict", "why", "seeds needed"]
    rows = [heads, [":--"] * 6 + ["--:"]]
    rows += [[escape_markdown(text) for text in _texts(row)] for _, row in verdicts.iterrows()]
    return "\n".join([escape_markdown(caption(job)), "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def to_latex(job: ClaimsJob, verdicts: DataFrame) -> str:
    """Return a ``table`` environment that needs nothing but the package booktabs."""
    lines = [
        r"\begin{table}", r"\centering", r"{\scriptsize\tabcolsep=3pt\makebox[\linewidth]{%",
        r"\begin{tabular}{lp{.38\linewidth}llll}", r"\toprule",
        r"claim & & comparison & data set & verdict & seeds needed \\", r"\midrule",
    ]  # fmt: skip
    for _, row in verdicts.iterrows():
        name, words, comparison, dataset, verdict, _, needed = map(escape_latex, _texts(row))
        lines.append(rf"{name} & {words} & {comparison} & {dataset} & \textbf{{{verdict}}} & {needed} \\")
    lines += [
        r"\bottomrule", r"\end{tabular}}}", rf"\caption{{{escape_latex(caption(job))}}}", r"\label{tab:claims}",
        r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _texts(row: Any) -> list[str]:
    names, needed = ("claim", "words", "comparison", "dataset", "verdict", "why"), row["seeds_needed"]
    return [*(str(row[name]) for name in names), "" if pd.isna(needed) else str(int(needed))]


def _found(job: ClaimsJob, claim: ClaimConfig, one: Contrast, scored: Scored, gaps: Gaps) -> Found:
    values = [[_value(job, claim, cell, scored, gaps) for cell in pair] for pair in one.pairs]
    rows, rivals = zip(*values, strict=True)
    if claim.is_about_samples:
        difference = contrast(scored, one.pairs, claim.metric)
        ratio = contrast(scored, one.pairs, claim.metric, ratio=True) if min(*rows, *rivals) > 0 else None
    else:
        unknown = (math.nan,) * len(rows)
        difference = OverSeeds(tuple(a - b for a, b in zip(rows, rivals, strict=True)), unknown)
        ratio = OverSeeds(tuple(math.log(a / b) for a, b in zip(rows, rivals, strict=True)), unknown)
    sign = -1 if _is_lower_better(claim) == (claim.expect == "better") else 1
    least = claim.least_effect * abs(sum(rivals) / len(rivals))
    gain = OverSeeds(tuple(sign * value for value in difference.values), difference.errors)
    return Found(one, difference, ratio, Judged(gain, least, exact=claim.metric == "images_seen"))


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
        "seeds": one.difference.seeds, "effect": one.difference.mean, "low": low, "high": high,
        "confidence": CONFIDENCE, "least_effect": judged.least,
        "relative_effect": one.ratio.mean if one.ratio else math.nan,
        "between_seeds": one.difference.between, "sampling_error": one.difference.sampling,
        "verdict_of_contrast": judged.verdict, "why": judged.reason, "seeds_needed": judged.seeds_needed,
    }  # fmt: skip

"""Tables: scores become one long table, which is the truth, and LaTeX and Markdown are rendered from it alone."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas import DataFrame

from sadpm.config.grid import Cell
from sadpm.config.jobs import TableJob
from sadpm.running.files import UserError

Labels = Mapping[str, Mapping[str, str]]

BLOCK = ["dataset", "sampler"]
AXES = [*BLOCK, "model", "covariance"]
BETTER = {metric: ("lower", "min") for metric in ("fd", "kid")} | {
    metric: ("higher", "max") for metric in ("is", "precision", "recall")
}
COLUMNS: dict[str, Any] = {
    "table": str, "dataset": str, "model": str, "sampler": str, "covariance": str, "recipe": str, "timesteps": str,
    "clip_sample": bool, "max_variance_pixels": float, "steps": int, "seed": int, "metric": str, "label": str,
    "value": float, "spread_within": float, "n": int, "reference_n": "Int64", "network_calls": int, "seconds": float,
    "device": str, "sha256_samples": str, "sha256_model": str, "sha256_reference": str, "code": str, "notes": str,
    "published": float, "difference": float, "published_source": str,
}  # fmt: skip
TIMESTEPS_IN_WORDS = {
    "uniform": "levels 1, 1 + s, 1 + 2s, … with s = N/T for T of N steps",
    "linear": "levels evenly spaced from 1 to N",
}
# "[" after a line's end would be its argument, and "--" would become a dash.
LATEX = {character: f"\\{character}" for character in "_%&#${}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "-": "-{}", "\N{EN DASH}": "--", "…": r"\ldots{}",
    "±": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$", "x₀": "$x_0$", "λ": r"$\lambda$", "η": r"$\eta$",
}  # fmt: skip


def long_table(job: TableJob, scores: Iterable[Mapping[str, Any]]) -> DataFrame:
    """Return one row for each of the job's cells, in its order, from the contents of score files in any order.

    Raises:
        UserError: a cell has no score, or its score lacks the metric or is not finite.
    """
    by_cell = {Cell(**score["cell"]): score for score in scores}
    if missing := [_path(cell) for cell in job.cells if cell not in by_cell]:
        raise UserError(f"{job.name}: {len(missing)} of {len(job.cells)} scores are missing, first {missing[0]}")
    return DataFrame([_long_row(job, cell, by_cell[cell]) for cell in job.cells], columns=list(COLUMNS)).astype(COLUMNS)


def from_csv(text: str) -> DataFrame:
    """Read a long table; names that look like numbers or gaps (``007``, ``NA``) stay names."""
    gaps = {column: [""] for column, dtype in COLUMNS.items() if dtype is not str}
    exact: dict[str, Any] = {"keep_default_na": False, "na_values": gaps, "float_precision": "round_trip"}
    return pd.read_csv(io.StringIO(text), dtype=COLUMNS, **exact)


@dataclass(frozen=True)
class WideTable:
    """Rows (dataset, sampler, model, covariance) by columns of sampling steps.

    Attributes:
        mean: over seeds; NaN where the table asks for no cell.
        std: sample standard deviation over seeds, NaN for fewer than two.
        best: whether the mean, as printed, is the best of its column within the block of dataset and sampler;
            equal ones all are, and one without a rival is not.
        published: the published value, NaN where the user gave none.
        digits: decimals printed for each data set.
    """

    mean: DataFrame
    std: DataFrame
    best: DataFrame
    published: DataFrame
    digits: Mapping[str, int]


def wide_table(frame: DataFrame) -> WideTable:
    """Average a long table over seeds; names keep their order, so that the baseline, listed first, comes first."""
    in_order = {axis: pd.CategoricalDtype(list(frame[axis].unique()), ordered=True) for axis in AXES}
    cells = frame.astype(in_order).groupby([*AXES, "steps"], observed=True)
    mean, std = cells["value"].mean().unstack("steps"), cells["value"].std(ddof=1).unstack("steps")
    published = cells["published"].mean().unstack("steps")
    digits = {str(dataset): _digits(rows) for dataset, rows in mean.groupby(level="dataset", observed=True)}
    printed = mean.apply(lambda row: row.map(lambda x: float(f"{x:.{digits[row.name[0]]}f}")), axis=1)
    block = printed.groupby(level=BLOCK, observed=True)
    best = printed.eq(block.transform(BETTER[frame["metric"].iloc[0]][1])) & block.transform("count").ge(2)
    return WideTable(mean, std, best, published, digits)


def caption(frame: DataFrame, title: str, labels: Labels) -> str:
    """Return the caption as plain text: what was measured, how the samples were drawn, and what is marked."""
    wide = wide_table(frame)
    metric = _by_dataset(frame, lambda rows: str(rows["label"].iloc[0]))
    sentences = [title.rstrip(" .\n"), f"{metric}; {BETTER[frame['metric'].iloc[0]][0]} is better"]
    if fixed := [axis for axis in AXES if axis not in _varying(frame, AXES)]:
        names = (f"{axis} {_label(labels, axis, frame[axis].iloc[0])}" for axis in fixed)
        sentences.append(f"All rows: {', '.join(names)}")
    sentences += [f"Images behind each number: {_by_dataset(frame, _images)}", *_notes(frame), _seeds(frame)]
    if wide.best.to_numpy().any():
        blocks = " and ".join(axis for axis in BLOCK if frame[axis].nunique() > 1)
        sentences.append(f"Bold: best mean of each column{f' for each {blocks}' if blocks else ''}")
    if wide.mean.isna().to_numpy().any():
        sentences.append("A dash: not run")
    if sources := [source for source in frame["published_source"].dropna().unique() if source]:
        sentences.append(f"In parentheses: the published value ({'; '.join(sources)}), and ours minus it")
    recipes = list(frame.groupby("recipe", sort=False))
    sentences += [f"Recipe {_recipe(str(name), rows, labels, len(recipes) > 1)}" for name, rows in recipes]
    return ". ".join(sentences) + "."


def to_latex(frame: DataFrame, title: str, labels: Labels) -> str:
    """Return a ``table`` environment that needs nothing but the package booktabs."""
    wide, axes = wide_table(frame), _varying(frame, AXES[2:])
    errors, count = bool(wide.std.notna().to_numpy().any()), len(wide.mean.columns)
    heads = (rf"\multicolumn{{{1 + errors}}}{{c}}{{{steps}}}" for steps in wide.mean.columns)
    body = _latex_body(wide, axes, labels, errors)
    lines = [
        r"\begin{table}", r"\centering", rf"{{{_type_size(body)}\makebox[\linewidth]{{%",
        rf"\begin{{tabular}}{{{'l' * len(axes)}{('r@{}l' if errors else 'r') * count}}}", r"\toprule",
        rf"{'& ' * len(axes)}\multicolumn{{{(1 + errors) * count}}}{{c}}{{sampling steps}} \\",
        rf"\cmidrule(lr){{{len(axes) + 1}-{len(axes) + (1 + errors) * count}}}",
        rf"{' & '.join([*axes, *heads])} \\", *body, r"\bottomrule", r"\end{tabular}}}",
        rf"\caption{{{escape_latex(caption(frame, title, labels))}}}", rf"\label{{tab:{frame['table'].iloc[0]}}}",
        r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def to_markdown(frame: DataFrame, title: str, labels: Labels) -> str:
    """Return the same table for GitHub, with the caption above it."""
    wide, axes = wide_table(frame), _varying(frame, AXES)
    heads = [*axes, *(f"{steps} step{'s'[: steps != 1]}" for steps in wide.mean.columns)]
    rows = [heads, [":--"] * len(axes) + ["--:"] * len(wide.mean.columns)]
    for names, numbers in _printed(wide):
        dash = "\N{EN DASH}"
        texts = (
            (f"**{mean}**" if best else mean or dash) + f" ± {std}" * bool(std) + f" ({published})" * bool(published)
            for mean, std, best, published in numbers
        )
        rows.append([*(escape_markdown(_label(labels, axis, names[axis])) for axis in axes), *texts])
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([escape_markdown(caption(frame, title, labels)), "", *lines, ""])


def escape_latex(text: str) -> str:
    """Return text whose special characters LaTeX prints as they are; line breaks become spaces."""
    special = "|".join(re.escape(key) for key in LATEX if key != "-")
    return re.sub(rf"-(?=-)|{special}", lambda match: LATEX[match[0]], " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Return text that GitHub prints as it is, also in a table; line breaks become spaces."""
    return re.sub(r"([\\`*_\[\]<>|~#$&])", r"\\\1", " ".join(text.split()))


def _long_row(job: TableJob, cell: Cell, score: Mapping[str, Any]) -> dict[str, Any]:
    metric = score["metrics"].get(job.metric)
    if metric is None:
        raise UserError(
            f"{job.name}: {_path(cell)} was scored without {job.metric!r}, by {', '.join(score['metrics'])}"
        )
    if not math.isfinite(metric["value"]):
        raise UserError(f"{job.name}: {job.metric!r} of {_path(cell)} is {metric['value']}; look at its samples")
    recipe, source = dict(score["recipe"]), score["provenance"]
    return {
        "table": job.name, **cell.as_dict(), "recipe": recipe.pop("name"), **recipe, "metric": job.metric,
        "label": metric["label"], "value": metric["value"], "spread_within": metric.get("std"), "n": metric["n"],
        "reference_n": metric.get("reference_n"),
        **{key: score[key] for key in ("network_calls", "seconds", "device")},
        **{f"sha256_{key}": source["inputs"].get(key, "") for key in ("samples", "model", "reference")},
        "code": source["code"], "notes": "; ".join(metric.get("notes", ())),
        "published": math.nan, "difference": math.nan, "published_source": "",
    }  # fmt: skip


def _digits(means: DataFrame) -> int:
    """Two decimals, or more where the means of some column would hardly differ in print."""
    spreads = [spread for spread in means.max() - means.min() if spread > 0]
    smallest = min(spreads, default=0.1 * means.abs().max().min())
    return min(max(2, math.ceil(1 - math.log10(smallest))), 6) if smallest > 0 else 2


def _varying(frame: DataFrame, axes: list[str]) -> list[str]:
    """The axes that need a column, at least the model."""
    return [axis for axis in axes if frame[axis].nunique() > 1] or ["model"]


def _label(labels: Labels, axis: str, name: object) -> str:
    return labels.get(axis, {}).get(str(name), str(name))


def _path(cell: Cell) -> str:
    return f"{cell.run}/{cell.draw}"


def _latex_body(wide: WideTable, axes: list[str], labels: Labels, errors: bool) -> list[str]:
    """Rows in blocks of dataset and sampler, each under a rule and, if there are several, a heading."""
    lines: list[str] = []
    above: Mapping[str, str] = {}
    headings = [axis for axis in BLOCK if wide.mean.index.unique(axis).size > 1]
    for names, numbers in _printed(wide):
        new = {axis for axis in AXES if names[axis] != above.get(axis)}
        if new.intersection(BLOCK):
            new.add("model")
            lines.append(r"\midrule")
            text = ", ".join(escape_latex(_label(labels, axis, names[axis])) for axis in headings)
            lines += [rf"\multicolumn{{{len(axes)}}}{{l}}{{\textit{{{text}}}}} \\"] if text else []
        elif len(axes) > 1 and "model" in new:
            lines.append(r"\addlinespace")
        cells = [escape_latex(_label(labels, a, names[a])) if a == axes[-1] or a in new else "" for a in axes]
        for mean, std, best, published in numbers:
            beside = rf"{{\tiny\,({published})}}" if published else ""
            cells.append((rf"\textbf{{{mean}}}" if best else mean or "--") + beside)
            cells += [rf"{{\tiny\,$\pm$\,{std}}}" if std else ""] if errors else []
        lines.append(" & ".join(cells) + r" \\")
        above = names
    return lines


def _printed(wide: WideTable) -> Iterator[tuple[dict[str, str], list[tuple[str, str, bool, str]]]]:
    """Each row's names by axis; of each column mean, deviation, mark, and published value with our difference."""
    for position, names in enumerate(wide.mean.index):
        row = dict(zip(AXES, map(str, names), strict=True))
        digits = wide.digits[row["dataset"]]
        values = (table.iloc[position] for table in (wide.mean, wide.std))
        mean, std = (["" if math.isnan(x) else f"{x:.{digits}f}" for x in numbers] for numbers in values)
        given = zip(wide.mean.iloc[position], wide.published.iloc[position], strict=True)
        published = ["" if math.isnan(p) else f"{p:.{digits}f}, {m - p:+.{digits}f}" for m, p in given]
        yield row, list(zip(mean, std, map(bool, wide.best.iloc[position]), published, strict=True))


def _type_size(body: list[str]) -> str:
    """The largest type in which the longest row probably fits into article's text width."""
    longest = max(len(re.sub(r"\\[a-z]+|[{}$\\,]", "", line)) for line in body)
    return r"\small" if longest <= 75 else r"\footnotesize" if longest <= 95 else r"\scriptsize\tabcolsep=2pt"


def _images(rows: DataFrame) -> str:
    real = rows["reference_n"].dropna()
    return f"{rows['n'].iloc[0]:,} generated" + (f" and {int(real.iloc[0]):,} real" if len(real) else "")


def _notes(frame: DataFrame) -> list[str]:
    """Each distinct note once; other readers than `from_csv` make a gap of a cell without notes."""
    return list(dict.fromkeys(note for notes in frame["notes"].dropna() for note in notes.split("; ") if note))


def _seeds(frame: DataFrame) -> str:
    if frame.groupby([*AXES, "steps"])["seed"].nunique().max() < 2:
        return "Results of one training seed: no error bars"
    seeds = sorted(frame["seed"].unique())
    return f"Mean ± sample standard deviation over {len(seeds)} training seeds ({', '.join(map(str, seeds))})"


def _recipe(name: str, rows: DataFrame, labels: Labels, some_rows: bool) -> str:
    """Which rows used a recipe, which levels it visits, what it clips, and how it bounds the last noise."""
    covariances = ", ".join(_label(labels, "covariance", covariance) for covariance in rows["covariance"].unique())
    levels = TIMESTEPS_IN_WORDS.get(rows["timesteps"].iloc[0], f"{rows['timesteps'].iloc[0]} levels")
    bounds = rows.dropna(subset="max_variance_pixels").drop_duplicates("sampler")
    pairs = zip(bounds["sampler"], bounds["max_variance_pixels"], strict=True)
    limits = " and ".join(f"{bound:g} ({_label(labels, 'sampler', sampler)})" for sampler, bound in pairs)
    last = f"limited to {limits} grey levels in mean absolute value" if limits else "not limited"
    clipped = "clipped to ±1" if rows["clip_sample"].iloc[0] else "not clipped"
    return f"{name}{f' (covariance {covariances})' * some_rows}: {levels}; predicted x₀ {clipped}; last noise {last}"


def _by_dataset(frame: DataFrame, describe: Callable[[DataFrame], str]) -> str:
    """A description of the rows: one if it is the same for all data sets, or one for each."""
    texts = {str(dataset): describe(rows) for dataset, rows in frame.groupby("dataset", sort=False)}
    each = [f"{text} for {dataset}" for dataset, text in texts.items()]
    return ", ".join(each if len(set(texts.values())) > 1 else set(texts.values()))

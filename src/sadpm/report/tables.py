"""Tables as they are printed: LaTeX and Markdown, rendered from a long table alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pandas import DataFrame

from sadpm.config.outputs import Cost
from sadpm.report.captions import Labels, caption, label, varying
from sadpm.report.long_table import AXES, BLOCK
from sadpm.report.wide_table import WideTable, wide_table

DASH = "\N{EN DASH}"
# "[" after a line's end would be its argument, and "--" would become a dash.
LATEX = {character: f"\\{character}" for character in "_%&#${}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "-": "-{}", DASH: "--", "…": r"\ldots{}",
    "±": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$", "x₀": "$x_0$", "λ": r"$\lambda$", "η": r"$\eta$",
}  # fmt: skip


class Number(NamedTuple):
    """A number of a table as printed, "" for what is not there; ``published`` has our difference beside it."""

    mean: str
    error: str
    bold: bool
    published: str


class Row(NamedTuple):
    """A row of a table as printed: its names by axis, its costs, and its number in each column."""

    names: Mapping[str, str]
    costs: list[str]
    numbers: list[Number]


def to_latex(frame: DataFrame, title: str, labels: Labels, costs: Sequence[Cost] = ()) -> str:
    """Return a ``table`` environment that needs nothing but the package booktabs."""
    wide, axes = wide_table(frame, costs), varying(frame, AXES[2:])
    errors, count, left = bool(wide.error.notna().to_numpy().any()), len(wide.mean.columns), len(axes) + len(costs)
    steps = (rf"\multicolumn{{{1 + errors}}}{{c}}{{{steps}}}" for steps in wide.mean.columns)
    body = _latex_body(wide, axes, labels, errors)
    lines = [
        r"\begin{table}", r"\centering", rf"{{{_type_size(body)}\makebox[\linewidth]{{%",
        rf"\begin{{tabular}}{{{'l' * len(axes)}{'r' * len(costs)}{('r@{}l' if errors else 'r') * count}}}", r"\toprule",
        rf"{'& ' * left}\multicolumn{{{(1 + errors) * count}}}{{c}}{{sampling steps}} \\",
        rf"\cmidrule(lr){{{left + 1}-{left + (1 + errors) * count}}}",
        rf"{' & '.join([*axes, *map(_head, costs), *steps])} \\", *body, r"\bottomrule", r"\end{tabular}}}",
        rf"\caption{{{escape_latex(caption(frame, title, labels, costs))}}}",
        rf"\label{{tab:{frame['table'].iloc[0]}}}", r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def to_markdown(frame: DataFrame, title: str, labels: Labels, costs: Sequence[Cost] = ()) -> str:
    """Return the same table for GitHub, with the caption above it."""
    wide, axes = wide_table(frame, costs), varying(frame, AXES)
    steps = [f"{steps} step{'s'[: steps != 1]}" for steps in wide.mean.columns]
    rows = [[*axes, *map(_head, costs), *steps], [":--"] * len(axes) + ["--:"] * (len(costs) + len(steps))]
    for row in _printed(wide):
        texts = (
            (f"**{mean}**" if bold else mean or DASH)
            + f" ± {error}" * bool(error)
            + f" ({published})" * bool(published)
            for mean, error, bold, published in row.numbers
        )
        names = (escape_markdown(label(labels, axis, row.names[axis])) for axis in axes)
        rows.append([*names, *(cost or DASH for cost in row.costs), *texts])
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([escape_markdown(caption(frame, title, labels, costs)), "", *lines, ""])


def escape_latex(text: str) -> str:
    """Return text whose special characters LaTeX prints as they are; line breaks become spaces."""
    special = "|".join(re.escape(key) for key in LATEX if key != "-")
    return re.sub(rf"-(?=-)|{special}", lambda match: LATEX[match[0]], " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Return text that GitHub prints as it is, also in a table; line breaks become spaces."""
    return re.sub(r"([\\`*_\[\]<>|~#$&])", r"\\\1", " ".join(text.split()))


def _latex_body(wide: WideTable, axes: list[str], labels: Labels, errors: bool) -> list[str]:
    """Rows in blocks of dataset and sampler, each under a rule and, if there are several, a heading."""
    lines: list[str] = []
    above: Mapping[str, str] = {}
    headings = [axis for axis in BLOCK if wide.mean.index.unique(axis).size > 1]
    for names, costs, numbers in _printed(wide):
        new = {axis for axis in AXES if names[axis] != above.get(axis)}
        if new.intersection(BLOCK):
            new.add("model")
            lines.append(r"\midrule")
            text = ", ".join(escape_latex(label(labels, axis, names[axis])) for axis in headings)
            lines += [rf"\multicolumn{{{len(axes)}}}{{l}}{{\textit{{{text}}}}} \\"] if text else []
        elif len(axes) > 1 and "model" in new:
            lines.append(r"\addlinespace")
        cells = [escape_latex(label(labels, a, names[a])) if a == axes[-1] or a in new else "" for a in axes]
        cells += [cost or "--" for cost in costs]
        for mean, error, bold, published in numbers:
            beside = rf"{{\tiny\,({published})}}" if published else ""
            cells.append((rf"\textbf{{{mean}}}" if bold else mean or "--") + beside)
            cells += [rf"{{\tiny\,$\pm$\,{error}}}" if error else ""] if errors else []
        lines.append(" & ".join(cells) + r" \\")
        above = names
    return lines


def _printed(wide: WideTable) -> Iterator[Row]:
    for position, names in enumerate(wide.mean.index):
        row = dict(zip(AXES, map(str, names), strict=True))
        digits = wide.digits[row["dataset"]]
        values = (table.iloc[position] for table in (wide.mean, wide.error))
        mean, error = (["" if math.isnan(x) else f"{x:.{digits}f}" for x in numbers] for numbers in values)
        given = zip(wide.mean.iloc[position], wide.published.iloc[position], strict=True)
        published = ["" if math.isnan(p) else f"{p:.{digits}f}, {m - p:+.{digits}f}" for m, p in given]
        costs = ["" if math.isnan(x) else f"{x:,.0f}" if x >= 10 else f"{x:.2g}" for x in wide.costs.iloc[position]]
        yield Row(row, costs, list(map(Number, mean, error, map(bool, wide.bold.iloc[position]), published)))


def _head(cost: Cost) -> str:
    return cost.replace("_", " ")


def _type_size(body: list[str]) -> str:
    """The largest type in which the longest row probably fits into article's text width."""
    longest = max(len(re.sub(r"\\[a-z]+|[{}$\\,]", "", line)) for line in body)
    return r"\small" if longest <= 75 else r"\footnotesize" if longest <= 95 else r"\scriptsize\tabcolsep=2pt"

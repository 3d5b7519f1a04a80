"""Tables of the theorems' numbers: a long CSV, and LaTeX and Markdown with one block for each theorem."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from sadpm.config.grid import GapCurve
from sadpm.report.tables import escape_latex, escape_markdown
from sadpm.report.theorems import Theorems

Labels = Mapping[str, Mapping[str, str]]
Measured = Sequence[tuple[GapCurve, Theorems]]

COLUMNS = (
    "table", "dataset", "model", "seed", "theorem", "weights", "K", "quantity", "value", "device", "sha256_model",
    "code",
)  # fmt: skip
WEIGHTS = {"theory": "tau", "unit": "1"}
HEADS = (
    ("model", "gap of two chains", "by the errors", "largest difference"),
    ("model", "weights", "K", "bound above", "L_sa", "bound below", "above / L_sa", "L_sa / below"),
)
NOTES = (
    "Theorem 1, at the end of a chain from level {start}: root mean square of D_1 = y_1 - x_1, by running both chains, "
    "and by the sum of tau_i (f(x_i, i) - eps_i); and the largest difference along the chain, relative to its gap",
    "Theorem 2: (N-1)/(N+K) L_simple >= L_sa >= E ||sum of w_i (f(x_i, i) - eps_i)||^2 / (N+K)^2, summed over pixels, "
    "for all positions of the sliding window. Its weights w are tau; 1 is what produced the paper's tables",
)


def to_csv(name: str, measured: Measured) -> str:
    """Return one line for each number, with what it was measured on."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve, found in measured:
        chain, source = found.chain, (found.device, found.provenance.inputs.get("model", ""), found.provenance.code)
        one = {"gap": chain.gap[-1], "by_errors": chain.by_errors[-1], "largest_residual": chain.largest_residual}
        numbers: list[tuple[object, ...]] = [(1, "", "", quantity, value) for quantity, value in one.items()]
        for sides in found.sides:
            of_sides = sides.model_dump(include={"upper", "sequence", "lower"})
            numbers += [(2, sides.weights, sides.K, quantity, value) for quantity, value in of_sides.items()]
        writer.writerows((name, curve.dataset, curve.model, curve.seed, *number, *source) for number in numbers)
    return file.getvalue()


def to_markdown(title: str, measured: Measured, labels: Labels) -> str:
    """Return two tables for GitHub, each with its explanation above it."""
    lines = [escape_markdown(_caption(title, measured)), ""]
    for heads, rows, note in _blocks(measured, labels):
        head, *body = (f"| {' | '.join(map(escape_markdown, row))} |" for row in (heads, *rows))
        lines += [escape_markdown(note + "."), "", head, f"| :--{' | --:' * (len(heads) - 1)} |", *body, ""]
    return "\n".join(lines)


def to_latex(name: str, title: str, measured: Measured, labels: Labels) -> str:
    """Return one ``table`` environment that needs nothing but the package booktabs."""
    lines, notes = [r"\begin{table}", r"\centering\footnotesize"], [_caption(title, measured)]
    for heads, rows, note in _blocks(measured, labels):
        body = [" & ".join(map(escape_latex, row)) + r" \\" for row in (heads, *rows)]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
        lines += [r"\bottomrule", r"\end{tabular}", r"\medskip", ""]
        notes.append(note + ".")
    lines += [rf"\caption{{{escape_latex(' '.join(notes))}}}", rf"\label{{tab:{name}}}", r"\end{table}", ""]
    return "\n".join(lines)


def _caption(title: str, measured: Measured) -> str:
    curve, _ = measured[0]
    return f"{title.rstrip(' .')}. {curve.dataset}, {curve.num_images} images, seed {curve.seed}."


def _blocks(measured: Measured, labels: Labels) -> Iterator[tuple[Sequence[str], list[list[str]], str]]:
    """Each theorem's heads, rows and explanation as plain text."""
    ones, twos = [], []
    for curve, found in measured:
        model, chain = labels.get("model", {}).get(curve.model, curve.model), found.chain
        ones.append([model, *_printed(chain.gap[-1], chain.by_errors[-1]), f"{chain.largest_residual:.1e}"])
        for sides in found.sides:
            ratios = (sides.upper / sides.sequence, sides.sequence / sides.lower)
            numbers = _printed(sides.upper, sides.sequence, sides.lower, *ratios)
            twos.append([model, WEIGHTS[sides.weights], str(sides.K), *numbers])
    yield HEADS[0], ones, NOTES[0].format(start=measured[0][0].start)
    yield HEADS[1], twos, NOTES[1]


def _printed(*values: float) -> list[str]:
    return [f"{value:#.4g}" for value in values]

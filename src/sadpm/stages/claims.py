"""Judge claims by scores, gaps and costs: every contrast, and a verdict for each claim."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sadpm.config.jobs import ClaimsJob
from sadpm.report.claims import contrasts_table, judge, to_latex, to_markdown, verdicts_table
from sadpm.report.contrasts import AGAIN, Scored
from sadpm.running.files import UserError, provenance, write_json, write_text
from sadpm.stages import command


def claims(
    params: ClaimsJob,
    csv: Path,
    verdicts: Path,
    tex: Path,
    markdown: Path,
    report: Path,
    scores: Sequence[Path] = (),
    influence: Sequence[Path] = (),
    curves: Sequence[Path] = (),
) -> None:
    """Write all contrasts and the verdicts as CSV, and the latter as LaTeX and Markdown.

    Scores, each with its influence values, hold at least the cells of the claims; curves are in the job's order.
    """
    if not params.claims:
        raise UserError("there are no claims: declare some under claims, as docs/claims.md shows")
    ends = zip(((figure, curve.run) for figure, asked in params.curves.items() for curve in asked), curves, strict=True)
    found = judge(params, Scored.load(scores, influence), {place: last_gaps(path) for place, path in ends})
    decided = verdicts_table(params, found)
    write_text(csv, contrasts_table(params, found).to_csv(index=False))
    write_text(verdicts, decided.to_csv(index=False))
    write_text(tex, to_latex(params, decided))
    write_text(markdown, to_markdown(params, decided))
    write_json(report, {"provenance": provenance(params)})


def last_gaps(path: Path) -> dict[str, float]:
    """Return the gaps at the end of a chain.

    Raises:
        UserError: the file is not a gap curve.
    """
    try:
        last = pd.read_csv(path).iloc[-1]
        gaps = {kind: float(last[kind]) for kind in ("gap", "official_gap")}
        if not all(map(math.isfinite, gaps.values())):
            raise ValueError("it ends with a number that is not finite")
        return gaps
    except (OSError, LookupError, ValueError) as error:
        raise UserError(f"{path}: not a gap curve ({error}); {AGAIN}") from error


if __name__ == "__main__":
    command(claims)

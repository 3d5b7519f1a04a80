"""Sum the workflow's benchmark files by rule: jobs, wall seconds, CPU seconds, largest resident memory."""

import argparse
from pathlib import Path

import pandas as pd

from sadpm.report.costs import rule_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="an experiment's folder, such as results/laptop")
    folder = parser.parse_args().results / "benchmarks"
    files = sorted(folder.rglob("*.tsv"))
    if not files:
        parser.error(f"no benchmark files below {folder}")
    jobs = pd.concat([pd.read_csv(file, sep="\t", na_values="-").assign(rule=rule_of(file)) for file in files])
    rules = pd.concat([costs(jobs, jobs["rule"]), costs(jobs, ["total"] * len(jobs))])
    print(rules.round(1).to_string())


def costs(jobs: pd.DataFrame, by: pd.Series | list[str]) -> pd.DataFrame:
    groups = jobs.groupby(by)
    table = groups.agg(jobs=("s", "size"), wall_s=("s", "sum"), cpu_s=("cpu_time", "sum"), rss_mb=("max_rss", "max"))
    return table.sort_values("wall_s", ascending=False)


if __name__ == "__main__":
    main()

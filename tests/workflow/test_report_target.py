"""The page of a real run: what it shows is there, and its drawing of the data flow is Snakemake's own."""

import re

from real_runs import TEST_CONFIG

from sadpm.config.files import read_config
from sadpm.config.loading import load_config
from sadpm.config.telling import page_job
from sadpm.report.costs import measured_jobs
from sadpm.report.flow import edges


def rule_graph(dot):
    """Edges of Snakemake's graph of rules, without those that follow from others."""
    names = dict(re.findall(r"(\d+)\[label = \"(\w+)\"", dot))
    found = {(names[before], names[after]) for before, after in re.findall(r"(\d+) -> (\d+)", dot)}

    def leads(graph, start, end):
        return any(after == end or leads(graph, after, end) for before, after in graph if before == start)

    return {edge for edge in found if not leads(found - {edge}, *edge)}


def test_the_page_is_made_once_and_tells_of_all_that_was_run(finished, tmp_path):
    workflow = finished.copy(tmp_path)
    page = workflow.results / "report.html"
    page.unlink()
    done = workflow.run("report")
    assert "1 of 1 steps (100%) done" in done.stderr
    assert f"Open results/test/{page.name}" in done.stdout
    text = page.read_text()
    for name in (
        "table1",
        "table2",
        "table3",
        "table4",
        "table5",
        "figure1",
        "figure2",
        "figure3",
        "figure4",
        "figure5",
    ):
        assert text.count(f'id="title-{name}"') + text.count(f'id="figure-{name}"') == 1
    assert "missing" not in text.split('id="costs"')[1].split('id="flow"')[0].split("There is no plan")[0]
    assert "Nothing to be done" in workflow.run("report").stderr

    config = load_config(read_config(TEST_CONFIG))
    job = page_job(config)
    jobs = measured_jobs(workflow.results / "benchmarks", job.runs, job.tables, job.figures)
    figures = [(figure.kind, getattr(figure, "dataset", "")) for figure in config.figures.values()]
    shown = {("score", rule) for rule in ("table", "figure", "claims")} | {("measure_likelihood", "table")}
    assert edges(jobs, figures, shown) == rule_graph(workflow.run("report", "--rulegraph").stdout)

"""The page, looked at as a browser would, without one: its structure, its links, and every value in it."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from sadpm.config.grid import Cell
from sadpm.config.jobs import RULES, PageJob, TableJob
from sadpm.config.outputs import Figure
from sadpm.report import flow
from sadpm.report.costs import Measured, measured_jobs, rule_of
from sadpm.report.long_table import from_csv, long_table
from sadpm.report.page_tables import how_sure, read_markdown
from sadpm.report.tables import escape_markdown, to_markdown
from sadpm.running.files import UserError, write_json
from sadpm.stages.report import report

REPOSITORY = Path(__file__).parents[2]
NASTY = """5 < 6 & "quotes" 'too' <b>bold</b> <script>alert(1)</script> | pipe \\ and *stars* {{ 7 * 7 }} </table>"""
LABELS = {"model": {"base": "Baseline", "sa2": NASTY}, "sampler": {"ddpm": "DDPM"}, "covariance": {"fixed": "fixed"}}
VALUES = {
    ("base", 0, 5): 30.25,
    ("base", 1, 5): 31.75,
    ("base", 0, 10): 12.0,
    ("base", 1, 10): 14.0,
    ("sa2", 0, 5): 29.123456789012344,
    ("sa2", 1, 5): 28.5,
}
"""FD by model, seed and steps; SA-2 was not run for 10 steps."""
BENCHMARK = "s\th:m:s\tmax_rss\tio_in\tmean_load\tcpu_time\n{}\t0:00:02\t{}\t-\t0\t{}\n"
PLAN = "target,rule,dataset,jobs,network_calls,flops,hours,bytes,complete,device,measured\n"
CLAIMS = 'claim,words,verdict,seeds_needed\nbetter,"SA-2 <i>wins</i> & ""more""",not shown,\n'
CONTRASTS = "claim,effect,low\nbetter,-1.23456789,-2.5\n"


def score(cell, value):
    metric = {"value": value, "label": "FD (digits classifier)", "n": 1000, "reference_n": 1797, "standard_error": 0.5}
    return {
        "cell": cell.as_dict(),
        "recipe": {"name": "sa-dpm", "timesteps": "uniform", "clip_sample": False, "max_variance_pixels": None},
        "metrics": {"fd": metric},
        "network_calls": cell.steps,
        "seconds": 1.25,
        "device": "cpu",
        "provenance": {
            "code": "0.1.0+abc",
            "inputs": {"samples": "5a" * 32, "model": "30" * 32, "reference": "4e" * 32},
        },
    }


@pytest.fixture
def results(tmp_path):
    """The files of a small experiment, made by hand but for its table."""
    folder = tmp_path / "results/mine"
    made = {"code": "0.1.0+abc", "python": "3.12.1", "job": {"seed": 0}}
    cells = {
        Cell("digits", model, seed, "ddpm", "fixed", steps): value for (model, seed, steps), value in VALUES.items()
    }
    for run in dict.fromkeys(cell.run for cell in cells):
        scores = [score(cell, value) for cell, value in cells.items() if cell.run == run]
        write_json(
            folder / run / "scores/all.json", {"scores": scores, "provenance": {**made, "inputs": {}, "sampling": made}}
        )
        write_json(folder / run / "training.json", {"device": "cpu", "torch": "2.5", "provenance": made})
        for name, numbers in {"train": ("2.5", "100", "2.25"), "sample-all": ("1.5", "90", "-")}.items():
            path = folder / f"benchmarks/{run}/{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(BENCHMARK.format(*numbers))
    job = TableJob(name="t1", title=NASTY, metric="fd", cells=tuple(cells), labels=LABELS)
    frame = long_table(job, [score(cell, value) for cell, value in cells.items()])
    frame["bold"] = frame["model"].eq("sa2")
    text = frame.to_csv(index=False)
    markdown = to_markdown(from_csv(text), NASTY, LABELS, ("network_calls",))
    for form, written in {"csv": text, "md": markdown, "tex": ""}.items():
        path = folder / f"tables/t1.{form}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(written)
    write_json(folder / "tables/t1.json", {"provenance": {"job": job.model_dump(mode="json")}})
    (folder / "figures").mkdir()
    for name, kind in {
        "f1": {"kind": "illustration"},
        "f2": {"kind": "quality", "metric": "fd", "dataset": "digits"},
    }.items():
        shown = (
            {"models": ["base", "sa2"], "samplers": ["ddpm"], "covariance": "fixed", "steps": [5]}
            if name == "f2"
            else {}
        )
        figure = {"title": NASTY, **kind, **shown}
        told = {"name": name, "figure": figure, "labels": LABELS, "cells": [], "curves": []}
        write_json(folder / f"figures/{name}.json", {"provenance": {"job": told}})
        Image.new("RGB", (60, 40)).save(folder / f"figures/{name}.png")
        (folder / f"figures/{name}.pdf").write_bytes(b"%PDF")
    return folder


def job(results, **changes):
    runs = sorted(path.parent.relative_to(results).as_posix() for path in results.rglob("training.json"))
    job = PageJob(
        experiment="mine", root="results/mine", tables=["t1"], figures=["f1", "f2"], runs=runs, samples_per_job="model"
    )
    return job.model_copy(update=changes)


def make(results, plan=(), **changes):
    report(job(results, **changes), results, results / "report.html", results / "report.json", plan)
    return Seen((results / "report.html").read_text())


class Seen(HTMLParser):
    """What a browser would find: elements with their attributes and texts, in order."""

    def __init__(self, text):
        super().__init__()
        self.html, self.elements, self.open = text, [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        element = {
            "tag": tag,
            "text": "",
            "inside": [one["id"] for one in self.open if "id" in one],
            **dict(attributes),
        }
        self.elements.append(element)
        if tag not in ("meta", "link", "img"):
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, *tags, **attributes):
        return [e for e in self.elements if e["tag"] in tags and all(e.get(k) == v for k, v in attributes.items())]

    def inside(self, identity, *tags):
        return [e for e in self.all(*tags) if identity in e["inside"]]

    def text(self, identity):
        (found,) = [e for e in self.elements if e.get("id") == identity]
        return " ".join(found["text"].split())


def test_nothing_is_asked_of_the_network(results):
    page = make(results)
    for element in page.elements:
        for key in {"src", "href", "srcset", "action", "poster", "xlink:href"} & element.keys():
            address = element[key]
            assert re.match(r"#|data:", address) or (results / address).is_file(), address
    for source in page.all("style", "script"):
        assert "src" not in source
        assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(|eval", source["text"])
    (policy,) = [e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_it_is_a_page_that_a_reader_without_eyes_or_mouse_can_use(results):
    page = make(results)
    assert page.all("html")[0]["lang"] == "en"
    identities = [e["id"] for e in page.elements if "id" in e]
    assert len(identities) == len(set(identities))
    for element in page.elements:
        for key in ("aria-labelledby", "aria-controls"):
            assert element.get(key, identities[0]) in identities
    assert all(e["href"][1:] in identities for e in page.all("a") if e["href"].startswith("#"))
    assert [bool(e["alt"].strip()) for e in page.all("img")] == [True, True]
    assert "FD on digits by number of sampling steps (5), for Baseline" in page.all("img")[1]["alt"]
    assert all(
        e["text"].strip() or e["id"] == "detail-title" for e in page.all("button", "a", "summary", "h1", "h2", "h3")
    )
    assert all(e.get("scope") for e in page.all("th"))
    assert len(page.all("table")) == len([e for e in page.all("div") if e.get("tabindex") == "0" and e.get("role")]) - 1
    levels = [int(e["tag"][1]) for e in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_value_of_the_table_is_there(results):
    page = make(results)
    with (results / "tables/t1.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    shown = page.inside("rows-t1", "th", "td")
    assert [cell["text"] for cell in shown[: len(header)]] == header
    assert [cell["data-value"] for cell in shown[len(header) :]] == [value for row in rows for value in row]
    assert [cell["text"] for cell in shown[len(header) :]] == [value or "no value" for row in rows for value in row]
    assert "29.123456789012344" in {cell["text"] for cell in shown}


def test_a_number_knows_its_seeds(results):
    page = make(results)
    numbers = [e for e in page.inside("table-t1", "button") if "data-rows" in e]
    with (results / "tables/t1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number in numbers:
        seeds = [rows[int(place)] for place in number["data-rows"].split()]
        assert [row["seed"] for row in seeds] == ["0", "1"]
        mean = sum(float(row["value"]) for row in seeds) / 2
        assert number["text"].split()[0] == f"{mean:.2f}"
        label = LABELS["model"][seeds[0]["model"]]
        assert re.fullmatch(
            rf"model {re.escape(label)}, network calls \S+, {seeds[0]['steps']} steps", number["data-title"]
        )
        assert len({(row["model"], row["steps"]) for row in seeds}) == 1
    assert len(numbers) == 3
    bold = [number["text"].split()[0] for number in numbers if "best" in number["class"].split()]
    assert bold
    assert bold == re.findall(r"\*\*([0-9.]+)\*\*", (results / "tables/t1.md").read_text())
    assert numbers[1]["data-about"] == (
        "mean of 2 training seeds; 95 % interval 0.29 to 25.71 (Student's t over seeds)"
    )
    jobs = [page.text(e["data-job"]) for e in page.inside("rows-t1", "tr") if "data-job" in e]
    for row, commands in zip(rows, jobs, strict=True):
        assert f"results/mine/digits/{row['model']}/seed{row['seed']}/scores/all.json" in commands
        assert "python -m sadpm.stages.sample --params '{\"seed\": 0}'" in commands


def test_what_users_write_is_shown_and_not_obeyed(results):
    page = make(results)
    assert page.text("title-t1") == f"t1: {NASTY}"
    assert [e["data-value"] for e in page.inside("table-t1", "th") if e["scope"] == "row"][::2] == ["Baseline", NASTY]
    assert len(page.all("script")) == 1
    assert not page.all("b", "i")
    assert page.all("img")[0]["alt"] == f"Illustration: {NASTY}"


def test_what_is_not_known_is_said_to_be_missing(results):
    page = make(results)
    assert "states no claims" in page.text("verdicts")
    assert "checks nothing against theory" in page.text("theory")
    assert "There is no plan" in page.text("costs")
    cells = [" ".join(e["text"].split()) for e in page.inside("costs", "th", "td")][7:]
    assert cells == [
        *("train", "4", "10.0", "9.0", "100.0", "missing", "missing"),
        *("sample", "4", "6.0", "missing", "90.0", "missing", "missing"),
        *("total", "8", "16.0", "≥ 9.0 (4 not measured)", "100.0", "missing", "missing"),
    ]
    shutil.rmtree(results / "benchmarks")
    page = make(results)
    assert "nothing is known" in page.text("costs")
    assert not page.all("svg")


def test_claims_come_first_then_theory_and_plan_where_there_are_any(results):
    for name, text in {
        "claims-verdicts.csv": CLAIMS,
        "claims.csv": CONTRASTS,
        "claims.md": "",
        "claims.tex": "",
    }.items():
        (results / name).write_text(text)
    (results / "bounds.csv").write_text(CONTRASTS)
    (results / "plan.csv").write_text(
        f"{PLAN}all,train,digits,3,0,0,0.5,0,True,A device,False\nall,train,more,2,0,0,1,0,False,A device,False\n"
        "t1,train,digits,9,0,0,9,0,True,A device,False\n"
    )
    page = make(results, [results / "plan.csv"], claims=True, theory=("bounds.csv",))
    assert page.all("section")[0]["id"] == "verdicts"
    assert [e["data-value"] for e in page.inside("verdicts", "td")] == [
        *("better", 'SA-2 <i>wins</i> & "more"', "not shown", ""),
        *("better", "-1.23456789", "-2.5"),
    ]
    assert "no value" in page.text("verdicts")
    assert "-1.235" in page.text("theory")
    assert "A device, assumed, not measured" in page.text("costs")
    assert [e["data-value"] for e in page.inside("costs", "td")][4:6] == ["5", "1.5"]
    assert "≥ 1.5" in page.text("costs")
    links = [e["href"] for e in page.inside("files", "a")]
    assert links == [
        *(f"claims{end}" for end in ("-verdicts.csv", ".csv", ".tex", ".md")),
        *(f"tables/t1.{form}" for form in ("csv", "tex", "md")),
        *(f"figures/{name}.{form}" for name in ("f1", "f2") for form in ("pdf", "png")),
        *("bounds.csv", "plan.csv"),
    ]
    for path in links:
        assert hashlib.sha256((results / path).read_bytes()).hexdigest() in page.text("files")


def test_the_same_results_give_the_same_page(results):
    assert make(results).html == make(results).html
    assert json.loads((results / "report.json").read_text())["provenance"]["job"]["experiment"] == "mine"


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("tables/t1.md", "A caption.\n\n| model | 5 steps |\n| :-- | --: |\n| base | 1.00 |\n", "not the table that"),
        ("tables/t1.csv", "a,b\n1\n", "not the table that"),
        ("tables/t1.json", "{}", "does not say provenance.job"),
        ("figures/f1.png", "no image", "can't be shown"),
        ("digits/base/seed0/training.json", "[]", "does not say provenance.job"),
        ("digits/base/seed0/scores/all.json", '{"scores": []}', "does not say provenance.job"),
        ("benchmarks/digits/base/seed0/train.tsv", "s\n", "not one of Snakemake's benchmark files"),
        ("plan.csv", "target\nall\n", "not a plan"),
        ("claims.csv", 'a\n"b', "not a CSV file"),
    ],
)
def test_a_damaged_file_is_named(results, path, content, message):
    for name in ("claims-verdicts.csv", "claims.csv", "claims.md", "claims.tex"):
        (results / name).write_text("a\n1\n")
    (results / "plan.csv").write_text(PLAN)
    (results / path).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        make(results, [results / "plan.csv"], claims=True)
    assert path.rsplit("/")[-1] in str(error.value)
    assert not (results / "report.html").exists()


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([], ""),
        ([(3.0, float("nan"))], "one training seed, sampling error not known: no interval"),
        ([(3.0, 0.5)], "one training seed; 95 % interval 2.02 to 3.98 from sampling alone"),
        ([(12.0, float("nan")), (14.0, 0.1)], "mean of 2 training seeds; 95 % interval 0.29 to 25.71"),
    ],
)
def test_how_sure_a_number_is_in_words(seeds, words):
    assert how_sure(seeds, 2).startswith(words)


def test_markdown_is_read_as_it_was_meant():
    line = f"| {escape_markdown(NASTY)} | **1.00** ± 0.10 |"
    _, heads, rows = read_markdown(f"Caption\n\n| a\\_b | 5 steps |\n| :-- | --: |\n{line}\n")
    assert len(heads) == 2
    assert rows == [[escape_markdown(NASTY), "**1.00** ± 0.10"]]


def test_all_rules_have_a_place_of_their_own():
    drawn = {*RULES} - {"archive"}  # which is packed afterwards
    assert {*flow.PLACES} == drawn
    assert len({*flow.PLACES.values()}) == len(drawn)
    assert {*flow.NEEDS} | {"figure"} == drawn
    kinds = {kind.model_fields["kind"].annotation.__args__[0] for kind in get_args(get_args(Figure)[0])}
    assert {*flow.FIGURE_NEEDS} == kinds


def test_only_what_was_run_together_is_joined_and_nothing_twice():
    def measured(rule, dataset="", run=""):
        return Measured(rule, dataset, run, 1, 1, 1)

    jobs = [
        measured("prepare_data", "a"),
        measured("train", "a", "a/base/seed0"),
        measured("fit_covariances", "a", "a/base/seed0"),
        measured("sample", "a", "a/base/seed0"),
        measured("train", "b", "b/base/seed0"),
        measured("sample_part", "b", "b/base/seed0"),
    ]
    assert flow.edges(jobs, [("samples", "a"), ("illustration", "")]) == {
        ("prepare_data", "train"),
        ("train", "fit_covariances"),
        ("fit_covariances", "sample"),
        ("train", "sample_part"),
        ("sample", "figure"),
    }


def test_numbers_lead_to_what_shows_them():
    """Scores and bounds of one run, of which a figure shows but the latter."""
    run = ("a", "a/base/seed0", 1, 1, 1)
    jobs = [Measured(rule, *run) for rule in ("train", "sample", "score", "measure_likelihood")]
    jobs += [Measured(rule, "", "", 1, 1, 1) for rule in ("table", "claims")]
    shown = {("score", "table"), ("measure_likelihood", "figure"), ("measure_likelihood", "claims")}
    before = {("train", "sample"), ("sample", "score"), ("train", "measure_likelihood")}
    after = {("table", "report"), ("figure", "report"), ("claims", "report")}
    jobs.append(Measured("figure", "", "", 1, 1, 1))
    assert flow.edges(jobs, [("quality", "a")], shown) == before | shown | after


def test_jobs_of_an_earlier_configuration_do_not_count(results):
    runs = job(results).runs
    assert len(measured_jobs(results / "benchmarks", runs, ["t1"], ["f1"])) == 8
    assert len(measured_jobs(results / "benchmarks", runs[:1], ["t1"], ["f1"])) == 2
    for name in (
        "tables/t1",
        "tables/t2",
        "tables/f1",
        "figures/f1",
        "figures/t1",
        "digits/prepare_data",
        "old/prepare_data",
        "report",
        "plan",
    ):
        path = results / f"benchmarks/{name}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(BENCHMARK.format(1, 1, "NA"))
    found = measured_jobs(results / "benchmarks", runs, ["t1"], ["f1"])
    assert sorted(job.rule for job in found if job.run == "") == ["figure", "prepare_data", "table", "theory_table"]


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("a/base/seed0/sample-fixed.part0-of-2.tsv", "sample_part"),
        ("a/base/seed0/sample-ddpm-fixed-5.tsv", "sample"),
        ("a/base/seed0/measure_gap-start5-images4.tsv", "measure_gap"),
        ("figures/figure1.tsv", "figure"),
    ],
)
def test_a_file_of_costs_tells_its_rule(file, rule):
    assert rule_of(Path(file)) == rule


def test_what_the_page_is_made_of_is_installed_with_the_package():
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folder = REPOSITORY / "src/sadpm"
    others = [p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    assert len(others) == 3
    for path in others:
        package = path.parent.relative_to(folder.parent).as_posix().replace("/", ".")
        assert any(fnmatch(path.name, pattern) for pattern in packages[package]), path


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium here")
def test_a_browser_runs_it_without_a_complaint(results):
    make(results)
    page = (results / "report.html").as_uri()
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={results}/browser",
    ]
    done = subprocess.run(["chromium", *options, "--dump-dom", page], capture_output=True, text=True, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count('aria-expanded="false"') == 3

"""The archive of an experiment whose results are made by hand: as an RO-Crate, and as bytes."""

import getpass
import hashlib
import json
import os
import shutil
import zipfile
from urllib.parse import unquote

import pytest
import yaml
from rocrate.rocrate import ROCrate

from sadpm.config.grid import Cell
from sadpm.config.jobs import ArchiveJob
from sadpm.config.loading import load_config
from sadpm.config.reports import reports
from sadpm.report.archive import METADATA, PROFILES
from sadpm.running.files import UserError, write_json, write_text
from sadpm.stages.archive import archive

KIND = """
from typing import Literal
from sadpm.objectives.ddpm import DDPM

class Mine(DDPM):
    kind: Literal["mine"]
"""
PUBLISHED = "table,dataset,model,sampler,covariance,steps,value,source\ntable1,digits,base,ddpm,npr,5,1.5,a paper\n"
DATE = "86400"


def configured(folder, **changes):
    values = {
        "experiment": "tiny",
        "results": str(folder / "my results"),
        "checkpoints": str(folder / "scratch"),
        "published": str(folder / "their values.csv"),
        "kinds": [str(folder / "my kinds/näher dran.py"), str(folder / "other/näher dran.py")],
        "datasets": {
            "digits": {
                "source": "digits",
                "extractor": "classifier",
                "network": {"block_out_channels": [8, 8], "attention_resolutions": [], "norm_num_groups": 4},
                "training": {"steps": 6},
                "shards": 2,
            }
        },
        "models": {"base": {}, "ours": {"objective": "mine"}},
        "tables": {
            "table1": {
                "title": "A distance",
                "metric": "fd",
                "datasets": ["digits"],
                "models": ["base"],
                "samplers": ["ddpm"],
                "covariances": ["fixed", "npr"],
                "steps": [5],
            }
        },
        "figures": {
            "figure1": {"kind": "illustration", "title": "Chains"},
            "figure2": {"kind": "samples", "title": "Digits", "dataset": "digits", "models": ["ours"], "steps": [5]},
            "figure4": {"kind": "gap", "title": "A gap", "dataset": "digits", "models": ["ours"]},
        },
    }
    return load_config(values | changes)


def sha(*names):
    return hashlib.sha256("/".join(names).encode()).hexdigest()


def content_of(report):
    """A report with what the archive reads of one; equal files have equal hashes in all of them."""
    images, model, reference = sha("images"), sha(report.about, "model"), sha("reference")
    inputs = {
        "train_extractor": {"images": images},
        "measure_reference": {"images": images},
        "train": {"images": images},
        "fit_covariances": {"images": images, "model": model},
        "join_parts": {"model": model} | ({"npr": sha("npr")} if "npr" in report.name else {}),
        "score": {"reference": reference},
        "measure_gap": {"images": images, "model": model},
        "measure_likelihood": {"held_out": sha("held-out"), "model": model},
    }
    made = {"code": "0.1.0+abc", "python": "3.11.7", "job": {}, "inputs": inputs.get(report.rule, {})}
    match report.rule:
        case "prepare_data":
            own = {"sha256": images}
        case "prepare_held_out":
            own = {"sha256": sha("held-out")}
        case "train" | "fit_covariances":
            own = {"seconds": 12.5, "device": "cpu", "torch": "2.9"}
        case "join_parts":
            own = {"device": "cpu", "draws": [{"cell": cell_of(report), "seconds": 1.5, "sha256": sha(report.name)}]}
        case "score":
            samples = {"cell": cell_of(report), "provenance": {"inputs": {"samples": sha(report.name)}}}
            own = {"scores": [samples], "influence": {"sha256": sha("influence", report.name)}}
        case "measure_likelihood":
            bound = {"cell": cell_of(report), "provenance": {"inputs": {"model": model}}}
            own = {"scores": [bound], "influence": {"sha256": sha("bounds", report.name)}, "seconds": 2.5}
        case _:
            own = {}
    return {"provenance": made, **own}


def cell_of(report):
    """The one cell of a pack."""
    dataset, model, _ = report.about.split("/")
    sampler, covariance, steps = report.name.split("-")
    return Cell(dataset, model, 0, sampler, covariance, int(steps)).as_dict()


class Tiny:
    """An experiment's folder, and what its archive is made from."""

    def __init__(self, folder, **changes):
        for name in ("my kinds/näher dran.py", "other/näher dran.py"):
            write_text(folder / name, KIND if name.startswith("my") else KIND.replace("ine", "any"))
        write_text(folder / "their values.csv", PUBLISHED)
        write_text(folder / "an experiment.yaml", "experiment: tiny\n")
        self.folder, self.config = folder, configured(folder, **changes)
        self.root = folder / "my results/tiny"
        self.jobs = reports(self.config)
        for job in self.jobs:
            for path in (*job.files, *job.weights, *job.samples):
                write_text(self.root / path, f"{path}\n")
            write_json(self.root / job.path, content_of(job))
            for log in job.logs:
                write_text(self.root / f"logs/{log}.log", "")
                write_text(self.root / f"benchmarks/{log}.tsv", "s\th:m:s\tmax_rss\n5.25\t0:00:05\t-\n")
        write_text(self.root / "report.html", "<p>")
        write_text(self.root / "claims.csv", "claim\n")
        write_json(self.root / "claims.json", content_of(self.jobs[-1]))
        write_text(folder / "code/workflow/Snakefile", "include: 'rules/a.smk'\n")
        write_text(folder / "code/workflow/rules/a.smk", "")
        write_text(folder / "code/requirements.lock", "numpy==2.0\n")

    def pack(self, root=None):
        root, code = root or self.root, self.folder / "code"
        archive(
            ArchiveJob(config=self.config),
            root,
            crate=self.folder / "archive.zip",
            report=self.folder / "archive.json",
            code=[code / "workflow/Snakefile", code / "workflow/rules/a.smk"],
            configs=[self.folder / "an experiment.yaml"],
            published=[self.folder / "their values.csv"],
            more=[root / name for name in ("report.html", "claims.csv", "claims.json")],
            lock=[code / "requirements.lock"],
        )
        return self.folder / "archive.zip"


@pytest.fixture(autouse=True)
def date(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", DATE)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return Tiny(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def packed(tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", DATE)
        return tiny.pack()


@pytest.fixture(scope="module")
def graph(packed):
    with zipfile.ZipFile(packed) as file:
        return {entity["@id"]: entity for entity in json.loads(file.read(METADATA))["@graph"]}


def refs(entity, key):
    value = entity.get(key, [])
    return [part["@id"] for part in (value if isinstance(value, list) else [value])]


def kind_of(entity):
    return entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]


def test_every_file_is_described_and_all_that_is_described_is_there(packed, graph):
    with zipfile.ZipFile(packed) as file:
        assert file.namelist() == sorted(file.namelist())
        names = set(file.namelist()) - {METADATA}
        parts = refs(graph["./"], "hasPart")
        assert {unquote(part) for part in parts} == names
        assert len(parts) == len(names)
        for part in parts:
            content = file.read(unquote(part))
            assert graph[part]["sha256"] == hashlib.sha256(content).hexdigest()
            assert graph[part]["contentSize"] == str(len(content))
            assert "File" in kind_of(graph[part])
    assert {
        "results/tiny/report.html",
        "results/tiny/claims.csv",
        "results/tiny/tables/table1.csv",
        "results/tiny/figures/figure4.pdf",
        "results/tiny/digits/base/seed0/scores/ddpm-npr-5.json",
        "results/tiny/digits/ours/seed0/gap/start300-images256.csv",
        "results/tiny/logs/digits/base/seed0/score-ddpm-npr-5.log",
        "results/tiny/logs/digits/base/seed0/sample-ddpm-npr-5.part1-of-2.log",
        "configuration/an experiment.yaml",
        "configuration/their values.csv",
        "kinds/näher dran.py",
        "kinds/2/näher dran.py",
        "workflow/rules/a.smk",
        "requirements.lock",
    } <= names
    assert "kinds/2/n%C3%A4her%20dran.py" in parts
    assert not [name for name in names if name.endswith((".npy", ".safetensors"))]


def test_all_that_is_referred_to_is_described(graph):
    def references(value):
        if isinstance(value, dict) and set(value) == {"@id"}:
            yield value["@id"]
        elif isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from references(part)

    others = {
        "https://w3id.org/ro/crate/1.1",
        *refs(graph["https://w3id.org/workflowhub/workflow-ro-crate#snakemake"], "url"),
    }
    others |= {"https://doi.org/10.1093/bioinformatics/bts480", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"}
    assert {name for entity in graph.values() for name in references(entity)} - others <= set(graph)


def test_the_library_reads_it_back(packed):
    crate = ROCrate(packed)
    assert crate.name == "tiny: tables and figures of sadpm"
    assert crate.mainEntity.lang.id.endswith("#snakemake")
    table = crate.get("results/tiny/tables/table1.csv")
    assert table["description"] == "Table table1: A distance"


def test_it_has_what_the_profiles_require(graph):
    root, workflow = graph["./"], graph["workflow/Snakefile"]
    assert {"name", "description", "datePublished", "license", "mainEntity"} <= set(root)
    assert root["datePublished"] == "1970-01-02"
    assert set(refs(root, "conformsTo")) == set(PROFILES)
    assert refs(root, "mainEntity") == ["workflow/Snakefile"]
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"} == set(workflow["@type"])
    assert {"version", "license", "programmingLanguage", "name"} <= set(workflow)
    actions = [name for name, entity in graph.items() if "CreateAction" in kind_of(entity)]
    assert set(refs(root, "mentions")) == set(actions)
    tools = {tool for action in actions for tool in refs(graph[action], "instrument")}
    assert tools == {"workflow/Snakefile", *refs(workflow, "hasPart")}
    for action in actions:
        assert {"name", "description", "instrument", "result"} <= set(graph[action])
        assert not {"agent", "startTime", "endTime"} & set(graph[action])
        for thing in refs(graph[action], "object") + refs(graph[action], "result"):
            assert {"File", "CreativeWork"} & set(kind_of(graph[thing]))
    run = graph["#run"]
    given = ("configuration.yaml", "configuration/", "kinds/")
    assert set(refs(run, "object")) == {part for part in refs(root, "hasPart") if part.startswith(given)}
    assert {"results/tiny/tables/table1.tex", "results/tiny/figures/figure1.png"} <= set(refs(run, "result"))
    for step in refs(workflow, "step"):
        assert set(refs(graph[step], "workExample")) <= tools
    for usage in (name for action in actions for name in refs(graph[action], "resourceUsage")):
        assert {"propertyID", "value", "unitCode"} <= set(graph[usage])
    assert {graph[tool]["softwareVersion"] for tool in refs(workflow, "hasPart")} == {"0.1.0+abc"}


def maker(graph, thing):
    """The one job that has made a thing."""
    (action,) = [n for n, e in graph.items() if n.startswith("#job/") and thing in refs(e, "result")]
    return action


def test_a_number_can_be_followed_back_to_the_images(graph):
    table = maker(graph, "results/tiny/tables/table1.csv")
    assert table == "#job/tables/table1"
    scores = [f"results/tiny/digits/base/seed0/scores/ddpm-{covariance}-5.json" for covariance in ("fixed", "npr")]
    assert refs(graph[table], "object") == scores
    score = maker(graph, scores[1])
    assert refs(graph[score], "object") == [
        f"#sha256-{sha('reference')}",
        f"#sha256-{sha('ddpm-npr-5')}",
    ]
    assert f"#sha256-{sha('influence', 'ddpm-npr-5')}" in refs(graph[score], "result")
    drawing = maker(graph, refs(graph[score], "object")[1])
    model, fitted = f"#sha256-{sha('digits/base/seed0', 'model')}", f"#sha256-{sha('npr')}"
    assert refs(graph[drawing], "object") == [model, fitted]
    assert [graph[name]["value"] for name in refs(graph[drawing], "resourceUsage")] == ["1.5", "5.25"]
    assert maker(graph, fitted) == "#job/digits/base/seed0/fit_covariances-npr"
    training = graph[maker(graph, model)]
    assert training["@id"] == "#job/digits/base/seed0/train"
    assert [graph[name]["value"] for name in refs(training, "resourceUsage")] == ["12.5", "5.25"]
    assert [graph[name]["value"] for name in refs(training, "environment")] == ["cpu"]
    assert maker(graph, refs(training, "object")[0]) == "#job/digits/prepare_data"
    assert "results/tiny/logs/digits/base/seed0/train.log" in refs(training, "subjectOf")
    shown = refs(graph[maker(graph, "results/tiny/figures/figure2.png")], "object")
    assert shown == [
        "results/tiny/digits/ours/seed0/samples/ddpm-fixed-5.json",
        "results/tiny/digits/data/dataset.json",
    ]
    assert "results/tiny/claims.csv" in refs(graph[maker(graph, "results/tiny/claims.json")], "result")


def test_metadata_and_configuration_tell_neither_user_nor_place(packed, tiny):
    with zipfile.ZipFile(packed) as file:
        text, configuration = file.read(METADATA).decode(), file.read("configuration.yaml").decode()
        assert not any(name.startswith("/") or ".." in name for name in file.namelist())
    for secret in (str(tiny.folder), os.path.expanduser("~") + "/", f"/{getpass.getuser()}", os.uname().nodename):
        assert secret not in text, secret
    assert str(tiny.folder) not in configuration
    assert "defined_in" not in configuration


def test_its_configuration_can_be_run_where_it_is_unpacked(packed, tiny, tmp_path, monkeypatch):
    shutil.unpack_archive(packed, tmp_path)
    monkeypatch.chdir(tmp_path)
    found = load_config(yaml.safe_load((tmp_path / "configuration.yaml").read_text("utf-8")))
    assert (found.root / "tables/table1.csv").is_file()
    assert (tmp_path / found.published).is_file()
    same = ("experiment", "seeds", "datasets", "samplers", "recipes", "covariances", "tables", "figures", "archive")
    assert all(getattr(found, key) == getattr(tiny.config, key) for key in same)
    assert found.models["ours"].objective.defined_in.sha256 == tiny.config.models["ours"].objective.defined_in.sha256


def test_equal_contents_are_equal_bytes(packed, tiny, tmp_path):
    """Of other times, in another place."""
    first = packed.read_bytes()
    shutil.copytree(tiny.root, tmp_path / "elsewhere")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    assert tiny.pack(tmp_path / "elsewhere").read_bytes() == first
    assert json.loads((tiny.folder / "archive.json").read_text())["sha256"] == hashlib.sha256(first).hexdigest()


def test_it_is_of_the_day_of_its_last_table_or_figure(tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    tiny = Tiny(tmp_path)
    for path in tiny.root.rglob("*"):
        os.utime(path, (86400 * (3 if "figures" in path.parts else 2),) * 2)
    os.utime(tiny.root / "digits/data/dataset.json", (86400 * 9,) * 2)
    with zipfile.ZipFile(tiny.pack()) as file:
        assert '"datePublished": "1970-01-04"' in file.read(METADATA).decode()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH must be seconds since 1970, not 'yesterday'"):
        tiny.pack()


def test_weights_samples_and_a_licence_on_request(tmp_path):
    tiny = Tiny(tmp_path, archive={"weights": True, "samples": True, "license": "CC-BY-4.0"})
    with zipfile.ZipFile(tiny.pack()) as file:
        names = [name.removeprefix("results/tiny/digits/") for name in file.namelist()]
        graph = {entity["@id"]: entity for entity in json.loads(file.read(METADATA))["@graph"]}
    assert {
        "extractor.safetensors",
        "base/seed0/model/config.json",
        "base/seed0/covariance/npr.safetensors",
        "base/seed0/samples/ddpm-npr-5.npy",
    } <= set(names)
    assert refs(graph["./"], "license") == ["https://spdx.org/licenses/CC-BY-4.0"]
    weights = "results/tiny/digits/base/seed0/model/diffusion_pytorch_model.safetensors"
    assert maker(graph, weights) == "#job/digits/base/seed0/train"


def test_a_bound_can_be_followed_back_to_the_images_that_it_is_of(tmp_path):
    values = configured(tmp_path, kinds=[], models={"base": {}}, figures={}, published=None).model_dump(mode="json")
    values["datasets"]["digits"] |= {"source": {"kind": "digits", "split": "train"}, "likelihood": {"split": "test"}}
    values["datasets"]["digits"]["likelihood"]["num_images"] = 300
    values["tables"]["table1"]["metric"] = "bpd"
    changes = {key: values[key] for key in ("kinds", "models", "figures", "published", "datasets", "tables")}
    with zipfile.ZipFile(Tiny(tmp_path, **changes).pack()) as file:
        graph = {entity["@id"]: entity for entity in json.loads(file.read(METADATA))["@graph"]}
    rules = {graph[step]["name"] for step in refs(graph["workflow/Snakefile"], "step")}
    assert {"prepare_held_out", "measure_likelihood", "fit_covariances"} <= rules
    assert not {"measure_reference", "train_extractor", "sample", "join_parts", "score"} & rules
    bounds = [f"results/tiny/digits/base/seed0/likelihood/ddpm-{covariance}-5.json" for covariance in ("fixed", "npr")]
    assert refs(graph[maker(graph, "results/tiny/tables/table1.csv")], "object") == bounds
    measuring = graph[maker(graph, bounds[0])]
    assert refs(measuring, "object") == [f"#sha256-{sha('held-out')}", f"#sha256-{sha('digits/base/seed0', 'model')}"]
    assert f"#sha256-{sha('bounds', 'ddpm-fixed-5')}" in refs(measuring, "result")
    assert maker(graph, refs(measuring, "object")[0]) == "#job/digits/prepare_held_out"


def test_it_tells_which_files_name_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    tiny = Tiny(tmp_path, checkpoints="~/scratch")
    write_text(tiny.root / "logs/digits/base/seed0/train.log", f"{tmp_path}/someone/x\n")
    tiny.pack()
    assert capsys.readouterr().out.endswith(
        "look at these before you publish it; they name your home folder: "
        "results/tiny/logs/digits/base/seed0/train.log\n"
    )


def test_results_that_are_not_whole_or_not_of_one_run_are_refused(tmp_path):
    tiny = Tiny(tmp_path)
    score = tiny.root / "digits/base/seed0/scores/ddpm-npr-5.json"
    whole = score.read_text()
    score.unlink()
    with pytest.raises(
        UserError, match=r"1 files are missing, first .*ddpm-npr-5.json; `snakemake archive` makes them"
    ):
        tiny.pack()
    write_text(score, whole.replace(sha("reference"), sha("another")))
    told = "ddpm-fixed-5.json and .*ddpm-npr-5.json tell of different reference of digits"
    with pytest.raises(UserError, match=told):
        tiny.pack()
    write_text(score, whole.replace('"scores"', '"marks"').replace('"influence"', '"scores"'))
    with pytest.raises(UserError, match=r"ddpm-npr-5.json: not the report of a job of score; delete it"):
        tiny.pack()
    write_text(score, "{}")
    with pytest.raises(UserError, match="does not say how it was made; delete it"):
        tiny.pack()
    assert not (tmp_path / "archive.zip").exists()

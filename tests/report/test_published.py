from pathlib import Path

import pytest
import yaml
from scored_files import write_scores
from test_tables import LABELS, TWO_MODELS, make_frame, make_job

from sadpm.config.grid import Cell
from sadpm.config.loading import load_config
from sadpm.report.captions import caption
from sadpm.report.long_table import from_csv
from sadpm.report.published import beside, left_out, load_published, name_errors, read_published
from sadpm.report.tables import to_latex, to_markdown
from sadpm.running.files import UserError
from sadpm.stages import command
from sadpm.stages.table import table

VALUES = yaml.safe_load((Path(__file__).parents[2] / "config/test.yaml").read_text())
HEADER = "table,dataset,model,sampler,covariance,steps,value,source\n"
GIVEN = HEADER + "t,digits,sa2,ddpm,fixed,10,8.5,Table 9\nother,digits,sa2,ddpm,fixed,5,1.0,Table 9\n"


def test_published_value_and_difference_stand_in_the_long_table():
    frame = beside(make_frame(TWO_MODELS), read_published(GIVEN, "p.csv").values())
    rows = from_csv(frame.to_csv(index=False)).set_index(["model", "steps", "seed"])
    assert rows.loc[("sa2", 10, 0), "difference"] == pytest.approx(1.0)
    assert rows.loc[("sa2", 10, 1), ["published", "difference"]].tolist() == pytest.approx([8.5, 2.96])
    assert rows.loc[("sa2", 5, 0), ["published", "difference"]].isna().all()
    assert list(frame.columns) == list(make_frame(TWO_MODELS).columns)


def test_published_values_are_printed_beside_ours_with_their_source():
    frame = beside(make_frame(TWO_MODELS), read_published(GIVEN, "p.csv").values())
    assert "**10.48** ± 1.39 (8.50, +1.98)" in to_markdown(frame, "T", LABELS)
    assert r"\textbf{10.48}{\tiny\,(8.50, +1.98)}" in to_latex(frame, "T", LABELS)
    assert "In parentheses: the published value (Table 9), and ours minus it." in caption(frame, "T", LABELS)


def test_nothing_is_said_where_nothing_was_published():
    frame = make_frame(TWO_MODELS)
    assert "published" not in to_markdown(frame, "T", LABELS) + to_latex(frame, "T", LABELS)


def test_a_file_without_values_changes_nothing():
    frame = make_frame(TWO_MODELS)
    assert beside(frame, read_published(HEADER, "p.csv").values()).to_csv() == frame.to_csv()


CONFIG = load_config(VALUES)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("table3,patchs,base,ddim,fixed,2", "dataset 'patchs' is not declared under datasets; did you mean 'patches'?"),
        ("table3,patches,bsae,ddim,fixed,2", "model 'bsae' is not declared under models; did you mean 'base'?"),
        ("table3,patches,base,dim,fixed,2", "sampler 'dim' is not declared under samplers; did you mean 'ddim'?"),
        ("table3,patches,base,ddim,nrp,2", "covariance 'nrp' is not declared under covariances; did you mean 'npr'?"),
        ("table3,patches,zzz,ddim,fixed,2", "model 'zzz' is not declared under models; known are base, sa2-lam1"),
    ],
)
def test_a_mistyped_name_does_not_lose_the_value(cell, message):
    values = read_published(f"{HEADER}{cell},1.5,x\n", "p.csv")
    (error,) = name_errors(CONFIG, values, "p.csv")
    assert error.startswith(f"p.csv, line 2: {message}")


def test_what_another_experiment_or_grid_has_is_only_told():
    rows = [
        "table3,patches,base,ddim,fixed,2",
        "elsewhere,cifar10,big,ddim,fixed,2",
        "elsewhere,cifar10,big,ddim,fixed,4",
    ]
    rows += ["table3,patches,base,ddim,fixed,25", "table3,digits,base,ddim,fixed,2", "tabel1,digits,base,ddim,fixed,2"]
    values = read_published(HEADER + "".join(f"{row},1.5,x\n" for row in rows), "p.csv")
    assert name_errors(CONFIG, values, "p.csv") == []
    mine, elsewhere, mistyped = left_out(CONFIG, values, "p.csv")
    assert mine == "p.csv, lines 5, 6: table3 has no such cell, so the value is not printed"
    assert elsewhere.startswith("p.csv, lines 3, 4: there is no table 'elsewhere' here; known are table1, ")
    assert mistyped == "p.csv, line 7: there is no table 'tabel1' here; did you mean 'table1'?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("table,dataset\n", "columns must be .*missing, unknown or twice: covariance, model"),
        ("", "columns must be .*missing, unknown or twice: covariance, dataset"),
        (HEADER.replace("\n", ",value\n"), "missing, unknown or twice: value$"),
        (HEADER.replace(",", ";"), "missing, unknown or twice: covariance, .*table;dataset"),
        (
            HEADER + "t,digits,sa2,ddpm,fixed,10,8.5,A,B\n",
            r"p\.csv, line 2: 9 fields in place of 8; put text with commas",
        ),
        (HEADER + "t,digits,sa2,ddpm,fixed,10,8.5\n", r"p\.csv, line 2: 7 fields in place of 8"),
        (HEADER + 't,digits,"sa2,ddpm,fixed,10,8.5,x\n', r"p\.csv, line 2: not a readable CSV \(unexpected end"),
        (HEADER + "t,digits,sa2,ddpm,fixed,²,8.5,x\n", "steps and value must be numbers, not '²'"),
        (HEADER + "t,digits,sa2,ddpm,fixed,ten,8.5,x\n", r"p\.csv, line 2: steps and value must be numbers, not 'ten'"),
        (HEADER + "t,digits,sa2,ddpm,fixed,10,nan,x\n", "not '10', 'nan'"),
        (HEADER + "t,digits,sa2,ddpm,fixed,10,8.5, \n", "say in `source` where 8.5 was published"),
        (GIVEN + "t,digits,sa2,ddpm,fixed,10,9,y\n", r"p\.csv, line 4: this cell .* already, in line 2"),
    ],
)
def test_a_mistake_names_file_and_line(text, message):
    with pytest.raises(UserError, match=message):
        read_published(text, "p.csv")


def test_every_mistake_is_told_and_empty_lines_and_blanks_are_none():
    text = HEADER + "\n t , digits,sa2,ddpm,fixed,x,8.5,y\n\nt,digits,sa2,ddpm,fixed,10,y,z\n"
    with pytest.raises(UserError) as error:
        read_published(text, "p.csv")
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["p.csv, line 3", "p.csv, line 5"]
    (value,) = read_published(HEADER + "\n t , digits ,sa2,ddpm,fixed, 10 ,8.5, Table 9 \n", "p.csv").values()
    assert value == ("t", "digits", "sa2", "ddpm", "fixed", 10, 8.5, "Table 9")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_in_utf8_is_read(tmp_path, encoding):
    (tmp_path / "p.csv").write_text(GIVEN.replace("Table 9", "Fréchet"), encoding)
    assert load_published(tmp_path / "p.csv")[2].source == "Fréchet"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_file_in_another_encoding_is_no_traceback(tmp_path, encoding):
    (tmp_path / "p.csv").write_text(GIVEN.replace("Table 9", "Fréchet"), encoding)
    with pytest.raises(UserError, match="save it as UTF-8"):
        load_published(tmp_path / "p.csv")


def test_the_stage_reads_the_users_file(tmp_path, capsys):
    cell = Cell("digits", "sa2", 0, "ddpm", "fixed", 10)
    scores, influence = write_scores(tmp_path, [{"cell": cell, "value": 9.0, "influence": None}])
    (tmp_path / "p.csv").write_text(GIVEN + "t,digits,sa2,ddpm,fixed,11,8.5,Table 9\n")
    outputs = [f"--{name}={tmp_path / name}" for name in ("csv", "tex", "markdown", "report")]
    job = make_job([cell]).model_dump_json()
    arguments = [
        "--params",
        job,
        "--scores",
        *map(str, scores),
        "--influence",
        *map(str, influence),
        "--published",
        str(tmp_path / "p.csv"),
        *outputs,
    ]
    command(table, arguments)
    assert "(8.50, +0.50)" in (tmp_path / "markdown").read_text()
    assert "t has no cell t/digits/sa2/ddpm/fixed/11" in capsys.readouterr().err

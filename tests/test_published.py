import pytest

from sadpm.artifacts import UserError, write_json
from sadpm.grid import Cell
from sadpm.published import beside, read_published, unused
from sadpm.stages import command
from sadpm.stages.table import table
from sadpm.tables import caption, from_csv, to_latex, to_markdown
from test_tables import LABELS, TWO_MODELS, make_frame, make_job, make_score

HEADER = "table,dataset,model,sampler,covariance,steps,value,source\n"
GIVEN = HEADER + "t,digits,sa2,ddpm,fixed,10,8.5,Table 9\nother,digits,sa2,ddpm,fixed,5,1.0,Table 9\n"


def test_published_value_and_difference_stand_in_the_long_table():
    frame = beside(make_frame(TWO_MODELS), read_published(GIVEN, "p.csv"))
    rows = from_csv(frame.to_csv(index=False)).set_index(["model", "steps", "seed"])
    assert rows.loc[("sa2", 10, 0), "difference"] == pytest.approx(1.0)
    assert rows.loc[("sa2", 10, 1), ["published", "difference"]].tolist() == pytest.approx([8.5, 2.0])
    assert rows.loc[("sa2", 5, 0), ["published", "difference"]].isna().all()
    assert list(frame.columns) == list(make_frame(TWO_MODELS).columns)


def test_published_values_are_printed_beside_ours_with_their_source():
    frame = beside(make_frame(TWO_MODELS), read_published(GIVEN, "p.csv"))
    assert "**10.00** ± 0.71 (8.50, +1.50)" in to_markdown(frame, "T", LABELS)
    assert r"\textbf{10.00}{\tiny\,(8.50, +1.50)}" in to_latex(frame, "T", LABELS)
    assert "In parentheses: the published value (Table 9), and ours minus it." in caption(frame, "T", LABELS)


def test_nothing_is_said_where_nothing_was_published():
    frame = make_frame(TWO_MODELS)
    assert "published" not in to_markdown(frame, "T", LABELS) + to_latex(frame, "T", LABELS)


def test_cells_that_the_grid_does_not_have():
    values = read_published(GIVEN + "t,digits,sa2,ddpm,fixed,25,3,Table 9\n", "p.csv")
    assert unused(make_frame(TWO_MODELS), values) == ["t/digits/sa2/ddpm/fixed/25"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("table,dataset\n", "columns must be .*missing or unknown: covariance, model"),
        (HEADER + "t,digits,sa2,ddpm,fixed,ten,8.5,x\n", r"p\.csv, line 2: steps and value must be numbers, not 'ten'"),
        (HEADER + "t,digits,sa2,ddpm,fixed,10,nan,x\n", "not '10', 'nan'"),
        (HEADER + "t,digits,sa2,ddpm,fixed,10,8.5, \n", "say in `source` where 8.5 was published"),
        (GIVEN + "t,digits,sa2,ddpm,fixed,10,9,y\n", r"p\.csv, line 4: this cell has a published value already"),
    ],
)
def test_a_mistake_names_file_and_line(text, message):
    with pytest.raises(UserError, match=message):
        read_published(text, "p.csv")


def test_the_stage_reads_the_users_file(tmp_path, capsys):
    cell = Cell("digits", "sa2", 0, "ddpm", "fixed", 10)
    write_json(tmp_path / "s.json", make_score(cell, 9.0))
    (tmp_path / "p.csv").write_text(GIVEN + "t,digits,sa2,ddpm,fixed,11,8.5,Table 9\n")
    outputs = [f"--{name}={tmp_path / name}" for name in ("csv", "tex", "markdown")]
    job = make_job([cell]).model_dump_json()
    arguments = [
        "--params",
        job,
        "--scores",
        str(tmp_path / "s.json"),
        "--published",
        str(tmp_path / "p.csv"),
        *outputs,
    ]
    command(table, arguments)
    assert "(8.50, +0.50)" in (tmp_path / "markdown").read_text()
    assert "t has no cell t/digits/sa2/ddpm/fixed/11" in capsys.readouterr().err

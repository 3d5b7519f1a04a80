import pytest
from test_grid import CONFIG, VALUES

from sadpm.config.jobs import TableJob
from sadpm.config.loading import load_config
from sadpm.config.telling import table_job
from sadpm.kinds.section import ConfigError
from test_config import changed


def test_images_seen_are_those_of_training_with_its_multipliers_and_objective():
    assert table_job(CONFIG, "table4").images_seen == {"digits": {"base": 48, "sa3-slide": 4 * 48}}
    wider = changed(VALUES, "models/base", {"batch_multiplier": 2, "steps_multiplier": 3})
    assert table_job(load_config(wider), "table4").images_seen["digits"]["base"] == 6 * 48


def test_a_model_from_elsewhere_has_seen_nobody_knows_what():
    imported = changed(VALUES, "models/base", {"checkpoint": {"digits": {"path": "weights.pt"}}})
    job = table_job(load_config(imported), "table4")
    assert job.images_seen == {"digits": {"sa3-slide": 192}}
    assert TableJob.model_validate_json(job.model_dump_json(by_alias=True)) == job


def test_a_covariance_that_no_cell_asks_for_changes_no_table():
    assert "ocm" in CONFIG.covariances
    assert set(table_job(CONFIG, "table4").labels["covariance"]) == {"fixed", "analytic", "npr", "sn"}
    asked = load_config(changed(VALUES, "tables/table4/covariances", ["fixed", "ocm"]))
    assert table_job(asked, "table4").labels["covariance"]["ocm"] == "OCM"


def test_costs_are_printed_where_asked():
    assert table_job(CONFIG, "table4").costs == ("images_seen", "network_calls")
    assert table_job(CONFIG, "table1").costs == ()
    with pytest.raises(ConfigError, match=r"tables.table1.costs"):
        load_config(changed(VALUES, "tables/table1/costs", ["hours"]))

from pathlib import Path

import pytest

from sadpm.config.experiment import Config
from sadpm.config.files import read_config
from sadpm.config.grid import all_cells
from sadpm.config.jobs import ArchiveJob
from sadpm.config.loading import load_config
from sadpm.config.telling import covariance_job, execution_of, sample_job, train_job
from sadpm.kinds.section import ConfigError
from sadpm.networks.section import PLAIN, Execution

TEST = Path("config/test.yaml")


def config(dataset=None, models=None, **execution):
    values = read_config(TEST)
    values["execution"] = execution or None
    values["datasets"]["digits"] |= {"execution": dataset} if dataset else {}
    values["models"] |= models or {}
    return load_config(values, "test")


def jobs_of(config: Config, dataset="digits"):
    cells = [cell for cell in all_cells(config) if cell.dataset == dataset]
    return [
        train_job(config, dataset, "base", 0),
        covariance_job(config, dataset, 0, ["npr"]),
        sample_job(config, cells),
    ]


def test_precision_is_part_of_what_jobs_are_told_and_the_rest_is_not():
    plain, options = config(), {"compile": "default", "cuda_graphs": True, "gradient_accumulation": 2}
    for asked in (options, {"precision": "float32"}):
        assert jobs_of(config(**asked)) == jobs_of(plain)
    for before, job in zip(jobs_of(plain), jobs_of(config(precision="bfloat16")), strict=True):
        assert "precision" not in before.model_dump_json()
        assert '"precision":"bfloat16"' in job.model_dump_json()
        assert type(job).model_validate_json(job.model_dump_json(by_alias=True)) == job


def test_a_data_set_overrules_the_experiment_key_by_key():
    chosen = config(
        {"precision": "float32", "compile": "off"}, precision="bfloat16", cuda_graphs=True, compile="default"
    )
    digits, patches = (execution_of(chosen, name) for name in ("digits", "patches"))
    assert (digits.precision, digits.options()) == ("float32", Execution(cuda_graphs=True))
    assert (patches.precision, patches.compile) == ("bfloat16", "default")
    again = ArchiveJob.model_validate_json(ArchiveJob(config=chosen).model_dump_json(by_alias=True)).config
    assert [execution_of(again, name) for name in ("digits", "patches")] == [digits, patches]


def test_without_the_section_the_archive_is_told_what_it_was():
    assert "execution" not in ArchiveJob(config=config()).model_dump_json()
    assert execution_of(config(), "digits").options() == PLAIN


def test_off_is_a_word_also_where_yaml_reads_false():
    assert config(compile=False).execution.compile == "off"


@pytest.mark.parametrize(
    ("execution", "message"),
    [
        ({"precision": "float16"}, "execution.precision: .*'float32', 'tf32' or 'bfloat16', not 'float16'"),
        ({"compile": "fast"}, "execution.compile: .*'off', 'default' or 'max-autotune', not 'fast'"),
        ({"compile": True}, "execution: compile: true and false"),
        ({"gradient_accumulation": 0}, "execution.gradient_accumulation: .* greater than or equal to 1, not 0"),
        ({"batch": 3}, "execution: unknown key 'batch'"),
        (
            {"gradient_accumulation": 3},
            r"datasets.digits: execution.gradient_accumulation \(3\) must divide each batch of training, .* 8 images",
        ),
    ],
)
def test_mistakes_are_told(execution, message):
    with pytest.raises(ConfigError, match=message):
        config(**execution)


def test_gpus_and_parts_share_a_batch():
    config({"gradient_accumulation": 8})
    values = read_config(TEST)
    values["datasets"]["digits"] |= {"gpus": 2, "execution": {"gradient_accumulation": 8}}
    with pytest.raises(ConfigError, match=r"gradient_accumulation \(8\) times gpus \(2\) must divide"):
        load_config(values, "test")

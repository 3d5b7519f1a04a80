"""What the experiment will cost. Needs no data and no other rule, and nothing needs it."""

# The plan has Snakemake find the jobs in this same workflow. A variable, for the reason that stages.smk gives.
os.environ.update(SADPM_SNAKEFILE=str(workflow.current_basedir.join("../Snakefile")))

planning = lambda w: CONFIG


rule plan:
    input:
        throughput=lambda w: named("plan.throughput"),
        arrays=[
            dataset.source.file().path
            for dataset in CONFIG.datasets.values()
            if dataset.source.is_read_for_its_shape and Path(dataset.source.file().path).exists()
        ],
        record=again_unless(f"{ROOT}/plan.json", planning),
    output:
        markdown=f"{ROOT}/plan.md",
        csv=f"{ROOT}/plan.csv",
        report=f"{ROOT}/plan.json",
    log:
        f"{LOG}/plan.log",
    benchmark:
        f"{BENCHMARK}/plan.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        job=as_json(planning),
    message:
        f"Planning {CONFIG.experiment}"
    shell:
        f"{STAGES}.plan"
        ' --params {params.job:q} --snakefile "$SADPM_SNAKEFILE" --throughput {input.throughput:q}'
        " --markdown {output.markdown:q} --csv {output.csv:q} --report {output.report:q} 2> {log:q}"

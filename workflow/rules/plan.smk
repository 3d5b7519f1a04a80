"""What the experiment will cost. Needs no data and no other rule, and nothing needs it."""


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
        " --params {params.job:q} --throughput {input.throughput:q}"
        " --markdown {output.markdown:q} --csv {output.csv:q} --report {output.report:q} 2> {log:q}"

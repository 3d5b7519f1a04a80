"""What the experiment will cost. Needs no data and no other rule, and nothing needs it."""


rule plan:
    localrule: True
    input:
        throughput=CONFIG.plan.throughput or [],
        arrays=[
            str(Path(dataset.source.path).expanduser())
            for dataset in CONFIG.datasets.values()
            if dataset.source.kind == "array" and Path(dataset.source.path).expanduser().exists()
        ],
    output:
        markdown=f"{ROOT}/plan.md",
        csv=f"{ROOT}/plan.csv",
    params:
        job=as_json(CONFIG),
    log:
        f"{LOG}/plan.log",
    benchmark:
        f"{BENCHMARK}/plan.tsv"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    conda:
        "../../environment.yml"
    message:
        f"Planning {CONFIG.experiment}"
    shell:
        f"{STAGES}.plan"
        " --params {params.job:q} --throughput {input.throughput}"
        " --markdown {output.markdown} --csv {output.csv} 2> {log}"

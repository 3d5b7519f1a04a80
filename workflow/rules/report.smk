"""The page: what the experiment says, on one HTML file that needs nothing else."""

showing = lambda w: telling.page_job(CONFIG)


rule report:
    input:
        outputs=[*TABLES.values(), *FIGURES.values()],
        records=expand(f"{ROOT}/tables/{{table}}.json", table=TABLES)
        + expand(f"{ROOT}/figures/{{figure}}.json", figure=FIGURES),
        claims=[*VERDICTS, f"{ROOT}/claims.json"] if CONFIG.claims else [],
        scores=number_files(grid.asked(CONFIG), "json"),
        trainings=expand(f"{ROOT}/{{run}}/training.json", run=showing(None).runs),
        plan=[path for path in [f"{ROOT}/plan.csv"] if Path(path).exists()],
        record=again_unless(f"{ROOT}/report.json", showing),
    output:
        page=f"{ROOT}/report.html",
        report=f"{ROOT}/report.json",
    log:
        f"{LOG}/report.log",
    benchmark:
        f"{BENCHMARK}/report.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=as_json(showing),
        results=lambda w, input: Path(input.records[0]).parent.parent,
    message:
        f"Showing {CONFIG.experiment} on a page"
    shell:
        f"{STAGES}.report"
        " --params {params.job:q} --results {params.results:q} --plan {input.plan:q}"
        " --page {output.page:q} --report {output.report:q} 2> {log:q}"

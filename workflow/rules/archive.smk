"""The archive: tables, figures and how they were made, as an RO-Crate. Nothing needs it."""

archiving = lambda w: jobs.ArchiveJob(config=CONFIG)
WORKFLOW = Path(str(workflow.current_basedir.join(".."))).resolve()


rule archive:
    input:
        outputs=[*TABLES.values(), *FIGURES.values()],
        results=files_of_reports,
        more=lambda w: [*rules.report.output, *(rules.claims.output if CONFIG.claims else [])],
        configs=lambda w: configuration_files(),
        published=lambda w: published_values() if CONFIG.tables else [],
        code=[str(WORKFLOW / "Snakefile"), *map(str, sorted(WORKFLOW.glob("rules/*.smk")))],
        lock=[str(path) for path in WORKFLOW.parent.glob("requirements.lock")],
        record=again_unless(f"{ROOT}/archive.json", archiving),
    output:
        crate=f"{ROOT}/archive.zip",
        report=f"{ROOT}/archive.json",
    log:
        f"{LOG}/archive.log",
    benchmark:
        f"{BENCHMARK}/archive.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        job=as_json(archiving),
        root=lambda w, input: Path(input.outputs[0]).parents[1],
    message:
        f"Packing {CONFIG.experiment}"
    shell:
        f"{STAGES}.archive"
        " --params {params.job:q} --root {params.root:q} --code {input.code:q} --lock {input.lock:q}"
        " --configs {input.configs:q} --published {input.published:q} --more {input.more:q}"
        " --crate {output.crate:q} --report {output.report:q} 2> {log:q}"

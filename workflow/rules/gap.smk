"""The estimation gap along the chain, for Figure 4, and the numbers of the paper's theorems."""

measuring_gap = lambda w: jobs.GapJob(
    schedule=CONFIG.schedule, start=int(w.start), num_images=int(w.num_images), seed=grid.parse_run(w.run)[-1]
)
measuring_theory = lambda w: telling.theory_job(CONFIG, w.theory, grid.parse_run(w.run)[-1])


rule measure_gap:
    input:
        images=images_of,
        model=MODEL,
        record=again_unless(f"{GAP}.json", measuring_gap),
    output:
        curve=f"{GAP}.csv",
        report=f"{GAP}.json",
    log:
        f"{LOG}/{{run}}/measure_gap-start{{start}}-images{{num_images}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/measure_gap-start{{start}}-images{{num_images}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(4000, copies=2),
        runtime=lambda w, attempt: growing(120, attempt),
        gpu=gpu_of,
    params:
        job=as_json(measuring_gap),
        model=lambda w, input: folder_of(input.model),
        about=about,
    message:
        "Measuring the estimation gap of {params.about}"
    shell:
        f"{STAGES}.measure_gap"
        " --params {params.job:q} --images {input.images:q}"
        " --model {params.model:q} --curve {output.curve:q} --report {output.report:q} 2> {log:q}"


rule measure_theory:
    input:
        images=images_of,
        model=MODEL,
        record=again_unless(f"{THEORY}.json", measuring_theory),
    output:
        report=f"{THEORY}.json",
    log:
        f"{LOG}/{{run}}/measure_theory-{{theory}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/measure_theory-{{theory}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(4000, copies=2),
        runtime=lambda w, attempt: growing(240, attempt),
        gpu=gpu_of,
    params:
        job=as_json(measuring_theory),
        model=lambda w, input: folder_of(input.model),
        about=about,
    message:
        "Measuring the theorems of {params.about}"
    shell:
        f"{STAGES}.measure_theory"
        " --params {params.job:q} --images {input.images:q}"
        " --model {params.model:q} --report {output.report:q} 2> {log:q}"

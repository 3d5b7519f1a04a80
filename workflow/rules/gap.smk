"""The estimation gap along the chain, for Figure 4."""


rule measure_gap:
    input:
        images=f"{DATA}/images.npy",
        model=[f"{ROOT}/{RUN}/{file}" for file in MODEL],
    output:
        curve=f"{GAP}.csv",
        report=f"{GAP}.json",
    params:
        job=lambda w: as_json(
            jobs.GapJob(
                schedule=CONFIG.schedule, start=int(w.start), num_images=int(w.num_images), seed=int(w.seed)
            )
        ),
        model=lambda w, input: folder_of(input.model),
    log:
        f"{LOG}/{RUN}/measure_gap-start{{start}}-images{{num_images}}.log",
    benchmark:
        f"{BENCHMARK}/{RUN}/measure_gap-start{{start}}-images{{num_images}}.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000, copies=2),
        runtime=lambda w, attempt: growing(120, attempt),
        gpu=lambda w: gpu_of(w.dataset),
    conda:
        "../../environment.yml"
    message:
        "Measuring the estimation gap of {wildcards.model} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        f"{STAGES}.measure_gap"
        " --params {params.job:q} --images {input.images}"
        " --model {params.model} --curve {output.curve} --report {output.report} 2> {log}"

"""Tuning: what an option of a sampler or covariance is to be for a model, by samples that no table shows."""

tuning = lambda w: telling.tune_job(CONFIG, tuning_cells_of(w))


rule tune:
    input:
        model=MODEL,
        covariances=covariances_of(tuning_cells_of),
        reference=lambda w: f"{ROOT}/{name_of_dataset(w)}/reference.npz",
        weights=extractor_of,
        images=measured_of,
        record=again_unless(f"{RUN}/tuned/{{pack}}.json", tuning),
    output:
        report=f"{RUN}/tuned/{{pack}}.json",
    log:
        f"{LOG}/{{run}}/tune-{{pack}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/tune-{{pack}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: growing(4000 + dataset_of(w).extractor.memory_mb, attempt),
        runtime=24 * 60,
        gpu=gpu_of,
        checkpoint_seconds=seconds_and_execution,
    params:
        job=as_json(tuning),
        model=lambda w, input: folder_of(input.model),
        about=about,
        checkpoints=f"{CHECKPOINTS}/{{run}}/tuned",
    message:
        "Tuning {wildcards.pack} of {params.about}"
    shell:
        f"{STAGES}.tune"
        " --params {params.job:q} --model {params.model:q}"
        " --covariances {input.covariances:q} --reference {input.reference:q} --weights {input.weights:q}"
        " --images {input.images:q} --report {output.report:q}"
        " --checkpoints {params.checkpoints:q} --checkpoint-seconds {resources.checkpoint_seconds} 2> {log:q}"

"""One noise predictor for each data set, model and seed: trained, or read from a checkpoint."""

training = lambda w: telling.train_job(CONFIG, *grid.parse_run(w.run))
importing = lambda w: telling.import_job(CONFIG, *grid.parse_run(w.run)[:2])

# Together they train one network, on the CPU where there is no GPU.
processes = lambda w: max(1, dataset_of(w).gpus)


rule train:
    input:
        images=images_of,
        record=again_unless(f"{RUN}/training.json", training),
    output:
        model=MODEL,
        losses=f"{RUN}/log.csv",
        report=f"{RUN}/training.json",
    log:
        f"{LOG}/{{run}}/train.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/train.tsv"
    wildcard_constraints:
        run=runs_where(lambda dataset, model: dataset not in CONFIG.models[model].checkpoint),
    priority: 10
    conda:
        "../../environment.yml"
    threads: processes
    resources:
        mem_mb=lambda w, input, attempt: memory(4000, copies=2)(w, input, attempt) * processes(w),
        runtime=24 * 60,
        gpu=lambda w: dataset_of(w).gpus,
        checkpoint_seconds=seconds_and_execution,
    params:
        job=as_json(training),
        model=lambda w, output: folder_of(output.model),
        about=about,
        checkpoints=f"{CHECKPOINTS}/{{run}}/train",
    message:
        "Training {params.about}"
    shell:
        f"{STAGES}.train"
        " --params {params.job:q} --images {input.images:q}"
        " --model {params.model:q} --log {output.losses:q} --report {output.report:q}"
        " --checkpoints {params.checkpoints:q} --checkpoint-seconds {resources.checkpoint_seconds}"
        " --processes {resources.gpu} 2> {log:q}"


rule import_model:
    input:
        images=images_of,
        checkpoint=checkpoint_of,
        record=again_unless(f"{RUN}/training.json", importing),
    output:
        model=MODEL,
        losses=f"{RUN}/log.csv",
        report=f"{RUN}/training.json",
    log:
        f"{LOG}/{{run}}/import_model.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/import_model.tsv"
    wildcard_constraints:
        run=runs_where(lambda dataset, model: dataset in CONFIG.models[model].checkpoint),
    priority: 10
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(2000, copies=4),
        runtime=30,
    params:
        job=as_json(importing),
        model=lambda w, output: folder_of(output.model),
        about=about,
    message:
        "Importing {params.about}"
    shell:
        f"{STAGES}.import_model"
        " --params {params.job:q} --images {input.images:q}"
        " --model {params.model:q} --log {output.losses:q} --report {output.report:q} 2> {log:q}"

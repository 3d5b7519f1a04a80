"""One noise predictor for each data set, model and seed: trained, or read from a checkpoint."""


rule train:
    wildcard_constraints:
        run=runs_of(imported=False),
    input:
        images=lambda w: images_of(w.run),
    output:
        model=[f"{ROOT}/{{run}}/{file}" for file in MODEL],
        losses=f"{ROOT}/{{run}}/log.csv",
        report=f"{ROOT}/{{run}}/training.json",
    params:
        job=lambda w: as_json(jobs.train_job(CONFIG, *jobs.parse_run(w.run))),
        model=lambda w, output: folder_of(output.model),
        about=lambda w: about(w.run),
        checkpoints=f"{CHECKPOINTS}/{{run}}/train",
    log:
        f"{LOG}/{{run}}/train.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/train.tsv"
    threads: lambda w: processes_of(w.run)
    priority: 10
    resources:
        mem_mb=lambda w, input, attempt: memory(4000, copies=2)(w, input, attempt) * processes_of(w.run),
        runtime=24 * 60,
        gpu=lambda w: gpus_of(w.run),
        checkpoint_seconds=CONFIG.checkpoint_seconds,
    conda:
        "../../environment.yml"
    message:
        "Training {params.about}"
    shell:
        f"{STAGES}.train"
        " --params {params.job:q} --images {input.images}"
        " --model {params.model} --log {output.losses} --report {output.report}"
        " --checkpoints {params.checkpoints} --checkpoint-seconds {resources.checkpoint_seconds}"
        " --processes {resources.gpu} 2> {log}"


rule import_model:
    wildcard_constraints:
        run=runs_of(imported=True),
    input:
        images=lambda w: images_of(w.run),
        checkpoint=lambda w: checkpoint_of(w.run),
    output:
        model=[f"{ROOT}/{{run}}/{file}" for file in MODEL],
        losses=f"{ROOT}/{{run}}/log.csv",
        report=f"{ROOT}/{{run}}/training.json",
    params:
        job=lambda w: as_json(jobs.import_job(CONFIG, *jobs.parse_run(w.run)[:2])),
        model=lambda w, output: folder_of(output.model),
        about=lambda w: about(w.run),
    log:
        f"{LOG}/{{run}}/import_model.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/import_model.tsv"
    threads: 1
    priority: 10
    resources:
        mem_mb=memory(2000, copies=4),
        runtime=30,
    conda:
        "../../environment.yml"
    message:
        "Importing {params.about}"
    shell:
        f"{STAGES}.import_model"
        " --params {params.job:q} --images {input.images}"
        " --model {params.model} --log {output.losses} --report {output.report} 2> {log}"

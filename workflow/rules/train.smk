"""One noise predictor for each data set, model and seed."""


rule train:
    input:
        images=f"{DATA}/images.npy",
    output:
        model=[f"{ROOT}/{RUN}/{file}" for file in MODEL],
        losses=f"{ROOT}/{RUN}/log.csv",
        report=f"{ROOT}/{RUN}/training.json",
    params:
        job=lambda w: as_json(jobs.train_job(CONFIG, w.dataset, w.model, int(w.seed))),
        model=lambda w, output: folder_of(output.model),
        checkpoints=f"{CHECKPOINTS}/{RUN}/train",
    log:
        f"{LOG}/{RUN}/train.log",
    benchmark:
        f"{BENCHMARK}/{RUN}/train.tsv"
    threads: 1
    priority: 10
    resources:
        mem_mb=2000,
        runtime=24 * 60,
        gpu=1,
    conda:
        "../../environment.yml"
    message:
        "Training {wildcards.model} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "exec python -m sadpm.stages.train --params {params.job:q} --images {input.images}"
        " --model {params.model} --log {output.losses} --report {output.report}"
        " --checkpoints {params.checkpoints} 2> {log}"

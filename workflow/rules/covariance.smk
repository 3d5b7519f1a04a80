"""Analytic, NPR and SN: one pass over the data fits all three."""


rule fit_covariances:
    input:
        images=f"{DATA}/images.npy",
        model=[f"{ROOT}/{RUN}/{file}" for file in MODEL],
    output:
        analytic=f"{ROOT}/{RUN}/covariance/analytic.npz",
        npr=f"{ROOT}/{RUN}/covariance/npr.safetensors",
        sn=f"{ROOT}/{RUN}/covariance/sn.safetensors",
        report=f"{ROOT}/{RUN}/covariance/covariance.json",
    params:
        job=lambda w: as_json(
            jobs.CovarianceJob(schedule=CONFIG.schedule, heads=CONFIG.datasets[w.dataset].heads, seed=int(w.seed))
        ),
        model=lambda w, input: folder_of(input.model),
        checkpoints=f"{CHECKPOINTS}/{RUN}/covariance",
    log:
        f"{LOG}/{RUN}/fit_covariances.log",
    benchmark:
        f"{BENCHMARK}/{RUN}/fit_covariances.tsv"
    threads: 1
    priority: 5
    resources:
        mem_mb=memory(4000, copies=2),
        runtime=24 * 60,
        gpu=lambda w: gpu_of(w.dataset),
        checkpoint_seconds=CONFIG.checkpoint_seconds,
    conda:
        "../../environment.yml"
    message:
        "Fitting covariances to {wildcards.model} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        f"{STAGES}.fit_covariances"
        " --params {params.job:q} --images {input.images}"
        " --model {params.model} --analytic {output.analytic} --npr {output.npr} --sn {output.sn}"
        " --report {output.report} --checkpoints {params.checkpoints}"
        " --checkpoint-seconds {resources.checkpoint_seconds} 2> {log}"

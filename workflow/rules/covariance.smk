"""Analytic, NPR and SN: one pass over the data fits all three."""


rule fit_covariances:
    input:
        images=images_of,
        model=MODEL,
        record=again_unless(f"{RUN}/covariance/covariance.json", fitting),
    output:
        analytic=f"{RUN}/covariance/analytic.npz",
        npr=f"{RUN}/covariance/npr.safetensors",
        sn=f"{RUN}/covariance/sn.safetensors",
        report=f"{RUN}/covariance/covariance.json",
    params:
        job=as_json(fitting),
        model=lambda w, input: folder_of(input.model),
        about=about,
        checkpoints=f"{CHECKPOINTS}/{{run}}/covariance",
    log:
        f"{LOG}/{{run}}/fit_covariances.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/fit_covariances.tsv"
    threads: 1
    priority: 5
    resources:
        mem_mb=memory(4000, copies=2),
        runtime=24 * 60,
        gpu=gpu_of,
        checkpoint_seconds=CONFIG.checkpoint_seconds,
    conda:
        "../../environment.yml"
    message:
        "Fitting covariances to {params.about}"
    shell:
        f"{STAGES}.fit_covariances"
        " --params {params.job:q} --images {input.images:q}"
        " --model {params.model:q} --analytic {output.analytic:q} --npr {output.npr:q} --sn {output.sn:q}"
        " --report {output.report:q} --checkpoints {params.checkpoints:q}"
        " --checkpoint-seconds {resources.checkpoint_seconds} 2> {log:q}"

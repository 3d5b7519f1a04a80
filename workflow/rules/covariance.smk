"""Covariances: one pass over the data fits all those that need no more than the network's forward pass."""

fitting = lambda w: telling.covariance_job(CONFIG, *grid.parse_run(w.run)[::2], w.fits.split("+"))


rule fit_covariances:
    input:
        images=images_of,
        model=MODEL,
        record=again_unless(f"{RUN}/covariance/{{fits}}.json", fitting),
    output:
        fitted=f"{RUN}/covariance/{{fits}}.safetensors",
        report=f"{RUN}/covariance/{{fits}}.json",
    log:
        f"{LOG}/{{run}}/fit_covariances-{{fits}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/fit_covariances-{{fits}}.tsv"
    priority: 5
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(4000, copies=2),
        runtime=24 * 60,
        gpu=gpu_of,
        checkpoint_seconds=seconds_and_execution,
    params:
        job=as_json(fitting),
        model=lambda w, input: folder_of(input.model),
        about=about,
        checkpoints=f"{CHECKPOINTS}/{{run}}/covariance/{{fits}}",
    message:
        "Fitting {wildcards.fits} to {params.about}"
    shell:
        f"{STAGES}.fit_covariances"
        " --params {params.job:q} --images {input.images:q}"
        " --model {params.model:q} --fitted {output.fitted:q}"
        " --report {output.report:q} --checkpoints {params.checkpoints:q}"
        " --checkpoint-seconds {resources.checkpoint_seconds} 2> {log:q}"

"""Variational bounds in bits/dim: of the images that are trained on, or of the source's test split."""

bounding = lambda w: telling.likelihood_job(CONFIG, bounded_cells_of(w))
held_out_of = lambda w: f"{HELD_OUT}/images.npy".format(dataset=name_of_dataset(w))
looked_at = lambda w: held_out_of(w) if dataset_of(w).likelihood.split == "test" else images_of(w)


rule measure_likelihood:
    input:
        images=looked_at,
        model=MODEL,
        covariances=covariances_of(bounded_cells_of),
        record=again_unless(f"{RUN}/likelihood/{{pack}}.json", bounding),
    output:
        scores=f"{RUN}/likelihood/{{pack}}.json",
        influence=f"{RUN}/likelihood/{{pack}}.influence.npz",
    log:
        f"{LOG}/{{run}}/measure_likelihood-{{pack}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/measure_likelihood-{{pack}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(4000, copies=8),
        runtime=24 * 60,
        gpu=gpu_of,
        checkpoint_seconds=CONFIG.checkpoint_seconds,
    params:
        job=as_json(bounding),
        model=lambda w, input: folder_of(input.model),
        about=about,
        checkpoints=f"{CHECKPOINTS}/{{run}}/likelihood",
    message:
        "Measuring the bounds {wildcards.pack} of {params.about}"
    shell:
        f"{STAGES}.measure_likelihood"
        " --params {params.job:q} --images {input.images:q} --model {params.model:q}"
        " --covariances {input.covariances:q} --scores {output.scores:q} --influence {output.influence:q}"
        " --checkpoints {params.checkpoints:q} --checkpoint-seconds {resources.checkpoint_seconds} 2> {log:q}"

"""Scores of the samples, in the same packs as they were drawn."""

scoring = lambda w: telling.score_job(CONFIG, cells_of(w))


rule score:
    input:
        samples=f"{SAMPLES}.npy",
        report=f"{SAMPLES}.json",
        reference=lambda w: f"{ROOT}/{name_of_dataset(w)}/reference.npz",
        weights=extractor_of,
        images=measured_of,
        record=again_unless(f"{RUN}/scores/{{pack}}.json", scoring),
    output:
        scores=f"{RUN}/scores/{{pack}}.json",
        influence=f"{RUN}/scores/{{pack}}.influence.npz",
    log:
        f"{LOG}/{{run}}/score-{{pack}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/score-{{pack}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: growing(dataset_of(w).extractor.memory_mb, attempt),
        runtime=lambda w, attempt: growing(dataset_of(w).extractor.minutes + 10 * len(cells_of(w)), attempt),
        gpu=looking_gpu_of,
    params:
        job=as_json(scoring),
        about=about,
    message:
        "Scoring {wildcards.pack} of {params.about}"
    shell:
        f"{STAGES}.score"
        " --params {params.job:q} --samples {input.samples:q}"
        " --report {input.report:q} --reference {input.reference:q} --weights {input.weights:q}"
        " --images {input.images:q} --scores {output.scores:q}"
        " --influence {output.influence:q} 2> {log:q}"

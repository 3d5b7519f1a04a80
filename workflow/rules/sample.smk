"""Samples: a job draws some cells of one model, and where images are many, several jobs each draw a part of them."""

sampling = lambda w: telling.sample_job(
    CONFIG, cells_of(w), (int(w.shard), int(w.shards)) if hasattr(w, "shard") else (0, 1)
)

# The files of one form that the jobs write which share a set of samples.
parts_of = lambda form: lambda w: expand(
    f"{PART}.{form}", run=w.run, pack=w.pack, shard=range(dataset_of(w).shards), shards=dataset_of(w).shards
)


rule sample:
    input:
        model=MODEL,
        covariances=covariances_of(cells_of),
        tuned=tuned_of,
        record=again_unless(f"{SAMPLES}.json", sampling),
    output:
        samples=f"{SAMPLES}.npy",
        report=f"{SAMPLES}.json",
    log:
        f"{LOG}/{{run}}/sample-{{pack}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/sample-{{pack}}.tsv"
    wildcard_constraints:
        run=runs_where(lambda dataset, model: CONFIG.datasets[dataset].shards == 1),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(4000, copies=4),
        runtime=24 * 60,
        gpu=gpu_of,
        checkpoint_seconds=seconds_and_execution,
    params:
        job=as_json(sampling),
        model=lambda w, input: folder_of(input.model),
        about=about,
        checkpoints=f"{CHECKPOINTS}/{{run}}/samples",
    message:
        "Sampling {wildcards.pack} of {params.about}"
    shell:
        f"{STAGES}.sample"
        " --params {params.job:q} --model {params.model:q}"
        " --covariances {input.covariances:q} --tuned {input.tuned:q}"
        " --samples {output.samples:q} --report {output.report:q}"
        " --checkpoints {params.checkpoints:q} --checkpoint-seconds {resources.checkpoint_seconds} 2> {log:q}"


use rule sample as sample_part with:
    input:
        model=MODEL,
        covariances=covariances_of(cells_of),
        tuned=tuned_of,
        record=again_unless(f"{PART}.json", sampling),
    output:
        samples=temp(f"{PART}.npy"),
        report=temp(f"{PART}.json"),
    log:
        f"{LOG}/{{run}}/sample-{{pack}}.part{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/sample-{{pack}}.part{{shard}}-of-{{shards}}.tsv"
    wildcard_constraints:
        run=runs_where(lambda dataset, model: CONFIG.datasets[dataset].shards > 1),
    message:
        "Sampling {wildcards.pack}.part{wildcards.shard}-of-{wildcards.shards} of {params.about}"


rule join_parts:
    input:
        parts=parts_of("npy"),
        reports=parts_of("json"),
        record=again_unless(f"{SAMPLES}.json", sampling),
    output:
        samples=f"{SAMPLES}.npy",
        report=f"{SAMPLES}.json",
    log:
        f"{LOG}/{{run}}/join_parts-{{pack}}.log",
    benchmark:
        f"{BENCHMARK}/{{run}}/join_parts-{{pack}}.tsv"
    wildcard_constraints:
        run=runs_where(lambda dataset, model: CONFIG.datasets[dataset].shards > 1),
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=as_json(sampling),
        about=about,
    message:
        "Joining the parts of {wildcards.pack} of {params.about}"
    shell:
        f"{STAGES}.join_parts"
        " --params {params.job:q} --parts {input.parts:q}"
        " --part-reports {input.reports:q} --samples {output.samples:q} --report {output.report:q} 2> {log:q}"

"""Images, what looks at them, and the statistics of what it sees."""

preparing = lambda w: jobs.DataJob(source=dataset_of(w).source)
preparing_held_out = lambda w: jobs.DataJob(source=dataset_of(w).source.held_out())
training_extractor = lambda w: jobs.ExtractorJob(extractor=dataset_of(w).extractor)
measuring_reference = lambda w: telling.reference_job(CONFIG, w.dataset)


# Where Snakemake itself runs: compute nodes seldom reach the network.
rule prepare_data:
    input:
        lambda w: check_source(w.dataset),
        record=again_unless(f"{DATASET}/data/dataset.json", preparing),
    output:
        images=f"{DATASET}/data/images.npy",
        labels=f"{DATASET}/data/labels.npy",
        description=f"{DATASET}/data/dataset.json",
    log:
        f"{LOG}/{{dataset}}/prepare_data.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/prepare_data.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        job=as_json(preparing),
    message:
        "Preparing the images of {wildcards.dataset}"
    shell:
        f"{STAGES}.prepare_data"
        " --params {params.job:q} --images {output.images:q}"
        " --labels {output.labels:q} --description {output.description:q} 2> {log:q}"


# After the images that are trained on: both may be downloaded into one folder.
use rule prepare_data as prepare_held_out with:
    input:
        images=ancient(f"{DATASET}/data/images.npy"),
        record=again_unless(f"{HELD_OUT}/dataset.json", preparing_held_out),
    output:
        images=f"{HELD_OUT}/images.npy",
        labels=f"{HELD_OUT}/labels.npy",
        description=f"{HELD_OUT}/dataset.json",
    log:
        f"{LOG}/{{dataset}}/prepare_held_out.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/prepare_held_out.tsv"
    params:
        job=as_json(preparing_held_out),
    message:
        "Preparing the test images of {wildcards.dataset}"


rule train_extractor:
    input:
        images=images_of,
        labels=f"{DATASET}/data/labels.npy",
        record=again_unless(f"{DATASET}/extractor.json", training_extractor),
    output:
        weights=f"{DATASET}/extractor.safetensors",
        report=f"{DATASET}/extractor.json",
    log:
        f"{LOG}/{{dataset}}/train_extractor.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/train_extractor.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(2000, copies=2),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        job=as_json(training_extractor),
    message:
        "Training what looks at the samples of {wildcards.dataset}"
    shell:
        f"{STAGES}.train_extractor"
        " --params {params.job:q} --images {input.images:q}"
        " --labels {input.labels:q} --weights {output.weights:q} --report {output.report:q} 2> {log:q}"


rule measure_reference:
    input:
        images=measured_of,
        weights=extractor_of,
        published=lambda w: named(f"datasets.{w.dataset}.reference"),
        record=again_unless(f"{DATASET}/reference.json", measuring_reference),
    output:
        reference=f"{DATASET}/reference.npz",
        report=f"{DATASET}/reference.json",
    log:
        f"{LOG}/{{dataset}}/measure_reference.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/measure_reference.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: growing(dataset_of(w).extractor.memory_mb, attempt),
        runtime=lambda w, attempt: growing(dataset_of(w).extractor.minutes, attempt),
        gpu=looking_gpu_of,
    params:
        job=as_json(measuring_reference),
    message:
        "Measuring the real images of {wildcards.dataset}"
    shell:
        f"{STAGES}.measure_reference"
        " --params {params.job:q} --images {input.images:q}"
        " --weights {input.weights:q} --published {input.published:q}"
        " --reference {output.reference:q} --report {output.report:q} 2> {log:q}"

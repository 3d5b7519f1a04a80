"""Images, the classifier that looks at them, and the statistics of what it sees."""

preparing = lambda w: jobs.DataJob(source=dataset_of(w).source)
training_classifier = lambda w: jobs.ClassifierJob(classifier=dataset_of(w).classifier)
measuring_reference = lambda w: jobs.reference_job(CONFIG, w.dataset)


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


rule train_classifier:
    input:
        images=images_of,
        labels=f"{DATASET}/data/labels.npy",
        record=again_unless(f"{DATASET}/classifier.json", training_classifier),
    output:
        weights=f"{DATASET}/classifier.safetensors",
        report=f"{DATASET}/classifier.json",
    log:
        f"{LOG}/{{dataset}}/train_classifier.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/train_classifier.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(2000, copies=2),
        runtime=lambda w, attempt: growing(30, attempt),
    params:
        job=as_json(training_classifier),
    message:
        "Training the classifier that scores samples of {wildcards.dataset}"
    shell:
        f"{STAGES}.train_classifier"
        " --params {params.job:q} --images {input.images:q}"
        " --labels {input.labels:q} --weights {output.weights:q} --report {output.report:q} 2> {log:q}"


rule measure_reference:
    input:
        images=measured_of,
        weights=classifier_of,
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
        mem_mb=lambda w, attempt: growing(looking(w, 8000, 2000), attempt),
        runtime=lambda w, attempt: growing(looking(w, 120, 30), attempt),
        gpu=lambda w: looking(w, gpu_of(w), 0),
    params:
        job=as_json(measuring_reference),
    message:
        "Measuring the real images of {wildcards.dataset}"
    shell:
        f"{STAGES}.measure_reference"
        " --params {params.job:q} --images {input.images:q}"
        " --weights {input.weights:q} --published {input.published:q}"
        " --reference {output.reference:q} --report {output.report:q} 2> {log:q}"

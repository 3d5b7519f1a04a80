"""Images, the classifier that looks at them, and the statistics of what it sees."""


# Where Snakemake itself runs: compute nodes seldom reach the network.
rule prepare_data:
    localrule: True
    output:
        images=f"{DATA}/images.npy",
        labels=f"{DATA}/labels.npy",
        description=f"{DATA}/dataset.json",
    params:
        job=lambda w: as_json(jobs.DataJob(source=CONFIG.datasets[w.dataset].source)),
    log:
        f"{LOG}/{{dataset}}/prepare_data.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/prepare_data.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    conda:
        "../../environment.yml"
    message:
        "Preparing the images of {wildcards.dataset}"
    shell:
        f"{STAGES}.prepare_data"
        " --params {params.job:q}"
        " --images {output.images} --labels {output.labels} --description {output.description} 2> {log}"


rule train_classifier:
    input:
        images=f"{DATA}/images.npy",
        labels=f"{DATA}/labels.npy",
    output:
        weights=f"{DATASET}/classifier.safetensors",
        report=f"{DATASET}/classifier.json",
    params:
        job=lambda w: as_json(jobs.ClassifierJob(classifier=CONFIG.datasets[w.dataset].classifier)),
    log:
        f"{LOG}/{{dataset}}/train_classifier.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/train_classifier.tsv"
    threads: 1
    resources:
        mem_mb=memory(2000, copies=2),
        runtime=lambda w, attempt: growing(30, attempt),
    conda:
        "../../environment.yml"
    message:
        "Training the classifier that scores samples of {wildcards.dataset}"
    shell:
        f"{STAGES}.train_classifier"
        " --params {params.job:q}"
        " --images {input.images} --labels {input.labels} --weights {output.weights} --report {output.report} 2> {log}"


rule measure_reference:
    input:
        images=lambda w: measured_of(w.dataset),
        weights=lambda w: classifier_of(w.dataset),
        published=lambda w: published_of(w.dataset),
    output:
        reference=f"{DATASET}/reference.npz",
    params:
        job=lambda w: as_json(jobs.reference_job(CONFIG, w.dataset)),
    log:
        f"{LOG}/{{dataset}}/measure_reference.log",
    benchmark:
        f"{BENCHMARK}/{{dataset}}/measure_reference.tsv"
    threads: 1
    resources:
        mem_mb=lambda w, attempt: growing(looking(w.dataset, 8000, 2000), attempt),
        runtime=lambda w, attempt: growing(looking(w.dataset, 120, 30), attempt),
        gpu=lambda w: looking(w.dataset, gpu_of(w.dataset), 0),
    conda:
        "../../environment.yml"
    message:
        "Measuring the real images of {wildcards.dataset}"
    shell:
        f"{STAGES}.measure_reference"
        " --params {params.job:q}"
        " --images {input.images} --weights {input.weights} --published {input.published}"
        " --reference {output.reference} 2> {log}"

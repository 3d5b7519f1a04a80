"""Samples: a job for each cell, or one for several cells, or several jobs that each draw a part of a cell."""

for job, part in {"sample": "", "sample_part": ".part{shard}-of-{shards}"}.items():
    file_of = temp if part else str

    for suffix, label, draws, runs in packs(lambda run: (shards_of(run) > 1) == bool(part)):

        rule:
            name:
                f"{job}{suffix}"
            wildcard_constraints:
                run=one_of(runs),
            input:
                model=[f"{ROOT}/{{run}}/{file}" for file in MODEL],
                covariances=lambda w, draws=draws: covariances_of(w.run, draws_of(w, draws)),
            output:
                samples=[file_of(f"{ROOT}/{{run}}/samples/{draw}{part}.npy") for draw in draws],
                reports=[file_of(f"{ROOT}/{{run}}/samples/{draw}{part}.json") for draw in draws],
            params:
                job=lambda w, draws=draws: as_json(jobs.sample_job(CONFIG, w.run, draws_of(w, draws), shard_of(w))),
                about=lambda w, draws=draws: sampling_of(w, draws_of(w, draws)),
                model=lambda w, input: folder_of(input.model),
                checkpoints=f"{CHECKPOINTS}/{{run}}/samples",
            log:
                f"{LOG}/{{run}}/sample-{label}{part}.log",
            benchmark:
                f"{BENCHMARK}/{{run}}/sample-{label}{part}.tsv"
            threads: 1
            resources:
                mem_mb=memory(4000, copies=4),
                runtime=24 * 60,
                gpu=lambda w: gpu_of(jobs.parse_run(w.run)[0]),
                checkpoint_seconds=CONFIG.checkpoint_seconds,
            conda:
                "../../environment.yml"
            message:
                "Sampling {params.about}"
            shell:
                f"{STAGES}.sample"
                " --params {params.job:q} --model {params.model}"
                " --covariances {input.covariances} --samples {output.samples} --reports {output.reports}"
                " --checkpoints {params.checkpoints} --checkpoint-seconds {resources.checkpoint_seconds} 2> {log}"


for suffix, label, draws, runs in packs(lambda run: shards_of(run) > 1):

    rule:
        name:
            f"join_parts{suffix}"
        localrule: True
        wildcard_constraints:
            run=one_of(runs),
        input:
            samples=lambda w, draws=draws: part_files(w.run, draws_of(w, draws), "npy"),
            reports=lambda w, draws=draws: part_files(w.run, draws_of(w, draws), "json"),
        output:
            samples=[f"{ROOT}/{{run}}/samples/{draw}.npy" for draw in draws],
            reports=[f"{ROOT}/{{run}}/samples/{draw}.json" for draw in draws],
        params:
            job=lambda w, draws=draws: as_json(jobs.sample_job(CONFIG, w.run, draws_of(w, draws))),
        log:
            f"{LOG}/{{run}}/join_parts-{label}.log",
        benchmark:
            f"{BENCHMARK}/{{run}}/join_parts-{label}.tsv"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        conda:
            "../../environment.yml"
        message:
            "Joining the parts of {wildcards.run}"
        shell:
            f"{STAGES}.join_parts"
            " --params {params.job:q} --parts {input.samples}"
            " --part-reports {input.reports} --samples {output.samples} --reports {output.reports} 2> {log}"

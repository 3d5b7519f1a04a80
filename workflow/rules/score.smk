"""Scores of the samples, in the same sets as they were drawn."""

for suffix, label, draws, runs in packs():

    rule:
        name:
            f"score{suffix}"
        wildcard_constraints:
            run=one_of(runs),
        input:
            samples=[f"{ROOT}/{{run}}/samples/{draw}.npy" for draw in draws],
            reports=[f"{ROOT}/{{run}}/samples/{draw}.json" for draw in draws],
            reference=lambda w: f"{ROOT}/{jobs.parse_run(w.run)[0]}/reference.npz",
            weights=lambda w: classifier_of(jobs.parse_run(w.run)[0]),
            images=lambda w: measured_of(jobs.parse_run(w.run)[0]),
        output:
            scores=[f"{ROOT}/{{run}}/scores/{draw}.json" for draw in draws],
        params:
            job=lambda w, draws=draws: as_json(jobs.score_job(CONFIG, w.run, draws_of(w, draws))),
            about=lambda w, draws=draws: ", ".join(map(str, draws_of(w, draws))),
        log:
            f"{LOG}/{{run}}/score-{label}.log",
        benchmark:
            f"{BENCHMARK}/{{run}}/score-{label}.tsv"
        threads: 1
        resources:
            mem_mb=lambda w, attempt: growing(looking(jobs.parse_run(w.run)[0], 8000, 1500), attempt),
            runtime=lambda w, attempt, draws=draws: growing(
                looking(jobs.parse_run(w.run)[0], 60, 10) + 10 * len(draws), attempt
            ),
            gpu=lambda w: looking(jobs.parse_run(w.run)[0], gpu_of(jobs.parse_run(w.run)[0]), 0),
        conda:
            "../../environment.yml"
        message:
            "Scoring {wildcards.run}: {params.about}"
        shell:
            f"{STAGES}.score"
            " --params {params.job:q} --samples {input.samples}"
            " --reports {input.reports} --reference {input.reference} --weights {input.weights}"
            " --images {input.images} --scores {output.scores} 2> {log}"

"""Scores of the samples, in the same sets as they were drawn."""

for draws, runs in grid.runs_by_draws(CONFIG).items():

    rule:
        name:
            f"score_{label_of(draws)}"
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
            job=lambda w, draws=draws: as_json(jobs.score_job(CONFIG, w.run, draws)),
        log:
            f"{LOG}/{{run}}/score-{label_of(draws)}.log",
        benchmark:
            f"{BENCHMARK}/{{run}}/score-{label_of(draws)}.tsv"
        threads: 1
        resources:
            mem_mb=lambda w: looking(jobs.parse_run(w.run)[0], 8000, 1500),
            runtime=lambda w: looking(jobs.parse_run(w.run)[0], 24 * 60, 60),
            gpu=lambda w: looking(jobs.parse_run(w.run)[0], 1, 0),
        conda:
            "../../environment.yml"
        message:
            f"Scoring {{wildcards.run}}: {', '.join(map(str, draws))}"
        shell:
            "exec python -m sadpm.stages.score --params {params.job:q} --samples {input.samples}"
            " --reports {input.reports} --reference {input.reference} --weights {input.weights}"
            " --images {input.images} --scores {output.scores} 2> {log}"

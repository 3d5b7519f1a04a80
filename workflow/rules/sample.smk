"""Samples. A rule for each set of draws that share a process, because the grid says which files that is."""

for draws, runs in grid.runs_by_draws(CONFIG).items():

    rule:
        name:
            f"sample_{label_of(draws)}"
        wildcard_constraints:
            run=one_of(runs),
        input:
            model=[f"{ROOT}/{{run}}/{file}" for file in MODEL],
            covariances=covariances_of(draws),
        output:
            samples=[f"{ROOT}/{{run}}/samples/{draw}.npy" for draw in draws],
            reports=[f"{ROOT}/{{run}}/samples/{draw}.json" for draw in draws],
        params:
            job=lambda w, draws=draws: as_json(jobs.sample_job(CONFIG, w.run, draws)),
            model=lambda w, input: folder_of(input.model),
        log:
            f"{LOG}/{{run}}/sample-{label_of(draws)}.log",
        benchmark:
            f"{BENCHMARK}/{{run}}/sample-{label_of(draws)}.tsv"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=24 * 60,
            gpu=1,
        conda:
            "../../environment.yml"
        message:
            f"Sampling {{wildcards.run}}: {', '.join(map(str, draws))}"
        shell:
            "exec python -m sadpm.stages.sample --params {params.job:q} --model {params.model}"
            " --covariances {input.covariances} --samples {output.samples} --reports {output.reports} 2> {log}"

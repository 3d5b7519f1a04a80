"""Figures, each from the samples, scores or gap curves that its kind shows."""


rule figure:
    localrule: True
    input:
        samples=shown("samples", lambda name: sample_files(grid.figure_cells(CONFIG, name))),
        data=shown("samples", lambda name: [f"{DATA}/images.npy".format(dataset=CONFIG.figures[name].dataset)]),
        scores=shown("quality", lambda name: score_files(grid.figure_cells(CONFIG, name))),
        curves=shown("gap", lambda name: [f"{GAP}.csv".format(**vars(c)) for c in grid.figure_curves(CONFIG, name)]),
    output:
        pdf=f"{ROOT}/figures/{{figure}}.pdf",
        png=report(f"{ROOT}/figures/{{figure}}.png", caption="../report/figure.rst", category="Figures"),
    params:
        job=lambda w: as_json(jobs.figure_job(CONFIG, w.figure)),
    log:
        f"{LOG}/figures/{{figure}}.log",
    benchmark:
        f"{BENCHMARK}/figures/{{figure}}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    conda:
        "../../environment.yml"
    message:
        "Drawing {wildcards.figure}"
    shell:
        f"{STAGES}.figure"
        " --params {params.job:q} --samples {input.samples} --data {input.data}"
        " --scores {input.scores} --curves {input.curves} --pdf {output.pdf} --png {output.png} 2> {log}"

"""Figures, each from what its kind shows: samples, scores, gap curves or the theorems' numbers."""


rule figure:
    input:
        samples=shown("samples", lambda name: pack_files(grid.figure_cells(CONFIG, name), "samples/{pack}.npy")),
        reports=shown("samples", lambda name: pack_files(grid.figure_cells(CONFIG, name), "samples/{pack}.json")),
        data=shown("samples", lambda name: f"{ROOT}/{CONFIG.figures[name].dataset}/data/images.npy"),
        scores=shown("quality", lambda name: pack_files(grid.figure_cells(CONFIG, name), "scores/{pack}.json")),
        curves=shown("gap", gap_files),
        theorems=shown("theory", theory_files),
        record=again_unless(f"{ROOT}/figures/{{figure}}.json", drawing_figure),
    output:
        pdf=f"{ROOT}/figures/{{figure}}.pdf",
        png=report(f"{ROOT}/figures/{{figure}}.png", caption="../report/figure.rst", category="Figures"),
        report=f"{ROOT}/figures/{{figure}}.json",
    log:
        f"{LOG}/figures/{{figure}}.log",
    benchmark:
        f"{BENCHMARK}/figures/{{figure}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=10,
    params:
        job=as_json(drawing_figure),
    message:
        "Drawing {wildcards.figure}"
    shell:
        f"{STAGES}.figure"
        " --params {params.job:q} --samples {input.samples:q}"
        " --sample-reports {input.reports:q} --data {input.data:q} --scores {input.scores:q}"
        " --curves {input.curves:q} --theorems {input.theorems:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --report {output.report:q} 2> {log:q}"

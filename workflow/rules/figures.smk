"""Figures, each from what it says that it shows: images, samples, scores, gap curves, or the theorems' numbers."""

drawing_figure = lambda w: telling.figure_job(CONFIG, w.figure)

# The input of those figures that show such things.
shown = lambda what, files: lambda w: files(CONFIG.figures[w.figure]) if what in CONFIG.figures[w.figure].shows else []
numbers_of = lambda figure: number_files([(metric, figure.cells(CONFIG.seeds)) for metric in figure.metrics], "json")
of_packs = lambda name: lambda figure: pack_files(figure.cells(CONFIG.seeds), name)


rule figure:
    input:
        samples=shown("samples", of_packs("samples/{pack}.npy")),
        reports=shown("samples", of_packs("samples/{pack}.json")),
        data=shown("data", lambda figure: f"{ROOT}/{figure.dataset}/data/images.npy"),
        scores=shown("scores", numbers_of),
        details=shown("details", of_packs("scores/{pack}.influence.npz")),
        curves=shown("curves", lambda figure: gap_files(figure.curves(CONFIG.seeds))),
        theorems=lambda w: theory_files(w.figure),
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
        " --details {input.details:q} --curves {input.curves:q} --theorems {input.theorems:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --report {output.report:q} 2> {log:q}"

"""Tables: the long CSV is the truth, LaTeX and Markdown are rendered from it."""


rule table:
    localrule: True
    input:
        scores=lambda w: score_files(grid.table_cells(CONFIG, w.table)),
        published=[CONFIG.published] if CONFIG.published else [],
    output:
        csv=report(f"{ROOT}/tables/{{table}}.csv", caption="../report/table.rst", category="Tables"),
        tex=f"{ROOT}/tables/{{table}}.tex",
        markdown=f"{ROOT}/tables/{{table}}.md",
    params:
        job=lambda w: as_json(jobs.table_job(CONFIG, w.table)),
    log:
        f"{LOG}/tables/{{table}}.log",
    benchmark:
        f"{BENCHMARK}/tables/{{table}}.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../environment.yml"
    message:
        "Writing {wildcards.table}"
    shell:
        f"{STAGES}.table"
        " --params {params.job:q} --scores {input.scores}"
        " --published {input.published} --csv {output.csv} --tex {output.tex} --markdown {output.markdown} 2> {log}"

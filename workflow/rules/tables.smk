"""Tables: the long CSV is the truth, LaTeX and Markdown are rendered from it."""

writing_table = lambda w: telling.table_job(CONFIG, w.table)
tabulated = lambda w: [(CONFIG.tables[w.table].metric, grid.table_cells(CONFIG, w.table))]
tabulating_theory = lambda w: telling.figure_job(CONFIG, w.theory)


rule table:
    input:
        scores=lambda w: number_files(tabulated(w), "json"),
        influence=lambda w: number_files(tabulated(w), "influence.npz"),
        published=lambda w: published_values(),
        record=again_unless(f"{ROOT}/tables/{{table}}.json", writing_table),
    output:
        csv=report(f"{ROOT}/tables/{{table}}.csv", caption="../report/table.rst", category="Tables"),
        tex=f"{ROOT}/tables/{{table}}.tex",
        markdown=f"{ROOT}/tables/{{table}}.md",
        report=f"{ROOT}/tables/{{table}}.json",
    log:
        f"{LOG}/tables/{{table}}.log",
    benchmark:
        f"{BENCHMARK}/tables/{{table}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=as_json(writing_table),
    message:
        "Writing {wildcards.table}"
    shell:
        f"{STAGES}.table"
        " --params {params.job:q} --scores {input.scores:q}"
        " --influence {input.influence:q} --published {input.published:q} --csv {output.csv:q} --tex {output.tex:q}"
        " --markdown {output.markdown:q} --report {output.report:q} 2> {log:q}"


rule theory_table:
    input:
        theorems=lambda w: theory_files(w.theory),
        record=again_unless(f"{ROOT}/tables/{{theory}}.json", tabulating_theory),
    output:
        csv=report(f"{ROOT}/tables/{{theory}}.csv", caption="../report/theory.rst", category="Tables"),
        tex=f"{ROOT}/tables/{{theory}}.tex",
        markdown=f"{ROOT}/tables/{{theory}}.md",
        report=f"{ROOT}/tables/{{theory}}.json",
    log:
        f"{LOG}/tables/{{theory}}.log",
    benchmark:
        f"{BENCHMARK}/tables/{{theory}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=as_json(tabulating_theory),
    message:
        "Tabulating {wildcards.theory}"
    shell:
        f"{STAGES}.theory_table"
        " --params {params.job:q} --theorems {input.theorems:q}"
        " --csv {output.csv:q} --tex {output.tex:q}"
        " --markdown {output.markdown:q} --report {output.report:q} 2> {log:q}"

"""Tables: the long CSV is the truth, LaTeX and Markdown are rendered from it."""

writing_table = lambda w: jobs.table_job(CONFIG, w.table)


rule table:
    input:
        scores=lambda w: pack_files(grid.table_cells(CONFIG, w.table), "scores/{pack}.json"),
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
        " --published {input.published:q} --csv {output.csv:q} --tex {output.tex:q}"
        " --markdown {output.markdown:q} --report {output.report:q} 2> {log:q}"

"""Verdicts on claims, from the scores, gaps and costs that they compare."""

judging = lambda w: telling.claims_job(CONFIG)
CLAIMED = [(metric, claim.cells(CONFIG.seeds)) for claim in CONFIG.claims.values() for metric in claim.metrics]
VERDICTS = [f"{ROOT}/claims.{form}" for form in ("csv", "tex", "md")] + [f"{ROOT}/claims-verdicts.csv"]


rule claims:
    input:
        scores=number_files(CLAIMED, "json"),
        influence=number_files(CLAIMED, "influence.npz"),
        curves=[path for curves in judging(None).curves.values() for path in gap_files(curves)],
        record=again_unless(f"{ROOT}/claims.json", judging),
    output:
        csv=report(VERDICTS[0], caption="../report/claims.rst", category="Claims"),
        tex=VERDICTS[1],
        markdown=VERDICTS[2],
        verdicts=report(VERDICTS[3], caption="../report/claims.rst", category="Claims"),
        report=f"{ROOT}/claims.json",
    log:
        f"{LOG}/claims.log",
    benchmark:
        f"{BENCHMARK}/claims.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        job=as_json(judging),
    message:
        f"Judging the claims of {CONFIG.experiment}"
    shell:
        f"{STAGES}.claims"
        " --params {params.job:q} --scores {input.scores:q} --influence {input.influence:q} --curves {input.curves:q}"
        " --csv {output.csv:q} --verdicts {output.verdicts:q} --tex {output.tex:q}"
        " --markdown {output.markdown:q} --report {output.report:q} 2> {log:q}"

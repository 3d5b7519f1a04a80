"""The names people type."""

TABLES = {name: [f"{ROOT}/tables/{name}.{form}" for form in ("csv", "tex", "md")] for name in CONFIG.tables}
FIGURES = {
    name: [f"{ROOT}/figures/{name}.{form}" for form in ("pdf", "png")]
    + [f"{ROOT}/tables/{name}.{form}" for form in ("csv", "tex", "md") if name in THEORIES]
    for name, figure in CONFIG.figures.items()
}


rule tables:
    input:
        TABLES.values(),


rule figures:
    input:
        FIGURES.values(),


for name, files in {**TABLES, **FIGURES}.items():

    rule:
        name:
            name
        input:
            files,

include: "workflow/Snakefile"


# The default target of an included file is not that of the file which includes it.
rule everything:
    input:
        rules.all.input,

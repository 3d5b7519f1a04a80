"""Work one can watch: which jobs of a run of the workflow run, wait, have failed or are done, read from small files.

``python -m sadpm.watch results/paper`` asks neither Snakemake nor SLURM, and changes nothing: it may run anywhere the
results are seen, as often as one likes.
"""

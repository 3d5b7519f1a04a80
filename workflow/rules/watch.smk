"""What `python -m sadpm.watch` and the curves of a training need; no job depends on it."""

from sadpm.config.watch import VARIABLE
from sadpm.watch.jobs import write_jobs

# A variable, for an option would be part of the command: with it, a finished training would run again.
os.environ[VARIABLE] = CONFIG.watch.model_dump_json()


onstart:
    # Where files lie in a storage, the watch can't see which are there.
    if not workflow.storage_settings.default_storage_provider:
        ordered = [
            job for level in workflow.dag.toposorted() for job in sorted(level, key=lambda job: str(job.log))
        ]
        graph = {job: workflow.dag.dependencies[job] for job in ordered}
        write_jobs(graph, workflow.dag.needrun_jobs(), ROOT, LOG)

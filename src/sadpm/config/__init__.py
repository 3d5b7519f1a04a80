"""What an experiment is: the YAML that belongs to no kind, the cells that it asks for, what each job is told."""

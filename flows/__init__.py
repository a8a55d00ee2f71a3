"""What runs, in which order: the run file, the pipeline, the command line."""

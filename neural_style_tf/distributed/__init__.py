"""Several GPUs and machines share the work on one picture."""

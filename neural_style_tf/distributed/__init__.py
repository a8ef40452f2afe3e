"""Several GPUs and machines share one picture: replicas and workers."""

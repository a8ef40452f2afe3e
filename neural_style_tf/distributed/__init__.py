"""Several GPUs and machines share one picture: replicas, workers, sharding of tiles."""

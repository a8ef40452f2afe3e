"""What a run leaves on disk: the output folder, callbacks, TensorBoard, manifest, resume."""

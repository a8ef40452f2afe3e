"""The files of a run: output folder, pictures, metrics, TensorBoard, manifest, and how a run is resumed."""

"""Read MatConvNet's .mat files."""

from __future__ import annotations

from pathlib import Path

from neural_style_tf.weights.structure import Arrays, WrongFile


def read_matconvnet(path: Path) -> tuple[Arrays, Arrays]:
    """Return the kernels and biases of a file of any generation; kernels are [3, 3, N_in, N_out], RGB."""
    import scipy.io

    # The other variables, a mean picture and the names of classes, would be parsed for nothing.
    content = scipy.io.loadmat(path, variable_names=["layers"], simplify_cells=True)
    if "layers" not in content:
        raise WrongFile("a MATLAB file without MatConvNet's list of layers")
    kernels, biases = {}, {}
    # Generations differ in the order of the fields and in the shape of a bias.
    for layer in content["layers"]:
        pair = layer.get("weights", ())
        if "filters" in layer:
            pair = layer["filters"], layer["biases"]
        if len(pair) == 2:
            kernels[layer["name"]], biases[layer["name"]] = pair[0], pair[1].reshape(-1)
    return kernels, biases

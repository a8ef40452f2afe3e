"""What is refused of a network: its layers, their shapes and numbers, and HDF5 files that hold none."""

import h5py
import numpy as np
import pytest
from weight_files import NAMES, SMALL, network, write_h5

from neural_style_tf.weights import keras_h5, structure
from neural_style_tf.weights.structure import WrongStructure


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((), "no layers with weights"),
        (("fc6",), "another network, with the layers fc6"),
        ([name for name in NAMES if name not in structure.ABSENT_FROM_VGG16], "VGG-16"),
        (NAMES[1:], "a network without conv1_1"),
    ],
)
def test_missing_layers_are_named(found, said):
    with pytest.raises(WrongStructure, match=said):
        structure.check_names(found)
    structure.check_names(NAMES)


def test_a_wrong_shape_type_or_number_is_named():
    kernels, biases = network()
    structure.check_structure(kernels, biases, widths=SMALL)
    wrong = {
        "conv1_2 has a kernel of shape": {"conv1_2": kernels["conv1_2"][:2]},
        "conv2_1 has a kernel of float64": {"conv2_1": kernels["conv2_1"].astype(float)},
        "NaN or infinity in the kernel of conv3_4": {"conv3_4": kernels["conv3_4"] * np.float32(np.inf)},
    }
    for said, change in wrong.items():
        with pytest.raises(WrongStructure, match=said):
            structure.check_structure(kernels | change, biases, widths=SMALL)
    with pytest.raises(WrongStructure, match="conv5_4 has a bias of shape"):
        structure.check_structure(kernels, biases | {"conv5_4": biases["conv5_4"][1:]}, widths=SMALL)
    with pytest.raises(WrongStructure, match="conv1_1 holds int64"):
        structure.to_float32(np.zeros(3, np.int64), "conv1_1")


def _empty(path):
    h5py.File(path, "w").close()


def _truncated(path):
    write_h5(path, *network())
    path.write_bytes(path.read_bytes()[:4000])


def _incomplete(path):
    kernels, biases = network()
    del kernels["conv4_1"], biases["conv4_1"]
    write_h5(path, kernels, biases)


def _two_kernels(path):
    write_h5(path, *network())
    with h5py.File(path, "a") as file:
        keras_h5._groups(file)["conv2_2"]["another"] = np.zeros((3, 3, 1, 1), np.float32)


def _elsewhere(path):
    write_h5(path, *network())
    with h5py.File(path, "a") as file:
        group = keras_h5._groups(file)["conv2_2"]
        _, bias = keras_h5._pair(group, "conv2_2")
        where, shape = bias.name, bias.shape
        del file[where]
        file.create_dataset(where, shape, "f4", external=[("/dev/zero", 0, 4 * shape[0])])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_empty, "without the layers block1_conv1"),
        (_truncated, "a damaged or truncated HDF5 file"),
        (_incomplete, "a network without conv4_1"),
        (_two_kernels, "conv2_2 has 2 kernels"),
        (_elsewhere, "conv2_2 keeps its numbers in another file"),
    ],
)
def test_an_hdf5_file_that_is_no_vgg19_is_refused(make, said, tmp_path):
    path = tmp_path / "vgg19.h5"
    make(path)
    with pytest.raises(WrongStructure, match=said):
        keras_h5.read_keras(path, widths=SMALL)

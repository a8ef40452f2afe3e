"""What a run says of a GPU that it cannot use."""

import pytest

from neural_style_tf.utils import runtime


@pytest.mark.parametrize(
    ("devices", "hidden", "said"),
    [(["nvidia0"], None, True), (["nvidia0"], "-1", False), (["nvidiactl"], None, False), ([], "0", False)],
)
def test_a_gpu_that_tensorflow_cannot_use_is_named(devices, hidden, said, tmp_path, monkeypatch):
    for name in devices:
        (tmp_path / name).touch()
    monkeypatch.setattr(runtime, "_DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert ("neural-style-tf[gpu]" in runtime.unused_gpu()) is said

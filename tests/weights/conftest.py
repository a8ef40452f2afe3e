import os

import pytest

from neural_style_tf.weights import download


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "CONNECT", 2)
    monkeypatch.setattr(download, "STALL", 0.4)

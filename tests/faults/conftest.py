"""One warm process and one undisturbed run of each kind for all tests of faults."""

import pytest
from harness import ROOT, WORKLOADS, Warm, traces, write_pictures

from neural_style_tf import load_weights


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    # Converted before anything counts what a run writes.
    load_weights("bundled", folder=ROOT / "weights")
    write_pictures(folder)
    return folder


@pytest.fixture(scope="session")
def warm(place):
    process = Warm(place)
    yield process
    process.close()


@pytest.fixture(scope="session")
def undisturbed(warm, place):
    """Return name → `traces` of a run of that workload."""
    found = {}

    def of(name):
        if name not in found:
            assert warm.run(*WORKLOADS[name], "--output_dir=whole", "--overwrite") == 0, warm.said()
            found[name] = traces(place / "whole")
        return found[name]

    return of


@pytest.fixture
def error_line(warm):
    """Return a function that gives the only line that the last run wrote as an error."""

    def line():
        said = warm.said()
        assert "Traceback" not in said, said
        [error] = [line for line in said.splitlines() if line.startswith("neural-style-tf: ")]
        assert said.rstrip().endswith(error), said
        return error

    return line

"""What a run writes for TensorBoard, read as TensorBoard itself reads it."""

import pytest
import tensorflow as tf
from narrow import SHALLOW, make_narrow_weights, warm_stylize
from objectives import names
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.runs.tensorboard import Curves
from neural_style_tf.sweeps.space import Axis, combine

WEIGHTS = make_narrow_weights()


def read(folder):
    """Return the runs in a folder as TensorBoard reads them."""
    multiplexer = EventMultiplexer(tensor_size_guidance={"tensors": 0}).AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    return multiplexer


def test_the_curves_are_the_records(tmp_path, pictures):
    config = Config(**SHALLOW, iterations=6, log_every=2, save_every=1)
    curves = Curves(tmp_path / "a-run", config, Job())
    totals = {}
    for record in warm_stylize(*pictures, config, weights=WEIGHTS):
        curves.on_step(record)
        totals[record.step] = record.total
    curves.on_end()
    events = read(tmp_path)
    tags = set(events.Runs()["a-run"]["tensors"])
    assert {f"loss/{name}" for name in names(config)} | {"seconds", "image"} <= tags
    points = {
        one.step: float(tf.make_ndarray(one.tensor_proto)) for one in events.Tensors("a-run", "loss/total")
    }
    assert points == pytest.approx(totals)
    [text] = events.Tensors("a-run", "config")
    assert b"style_weight" in text.tensor_proto.string_val[0]


def test_runs_compare_by_their_settings_and_last_losses(tmp_path, pictures):
    finals = {}
    for name, weight in (("light", 1.0), ("heavy", 50.0)):
        config = Config(**SHALLOW, iterations=2, log_every=1, style_weight=weight)
        job, measure = Job(content=f"{name}.jpg"), lambda record: {"ssim": record.total}
        curves = Curves(tmp_path / name, config, job, measure=measure)
        for record in warm_stylize(*pictures, config, weights=WEIGHTS):
            curves.on_step(record)
        curves.on_end()
        finals[weight] = record.total
    experiment, _ = ask_hparams(tmp_path)
    assert "measure/ssim" in [one.name.tag for one in experiment.metric_infos]
    _, groups = ask_hparams(tmp_path, metric="measure/ssim")
    totals = {}
    for group in groups:
        assert [session.status for session in group.sessions] == [api_pb2.STATUS_SUCCESS]
        assert group.hparams["content"].string_value in ("light.jpg", "heavy.jpg")
        assert group.hparams["clamp"].bool_value is False
        [value] = [one.value for one in group.metric_values if one.name.tag == "measure/ssim"]
        totals[group.hparams["style_weight"].number_value] = value
    assert totals == pytest.approx(finals)


def write_sweep(root, axes):
    """Write the settings of each run of a sweep; nothing is painted."""
    kinds = {"style_weight": float, "seed": int, "pooling": str}
    for number, texts in enumerate(combine(axes, ())):
        config = Config().replace(**{name: kinds[name](text) for name, text in texts.items()})
        Curves(root / f"{number}", config, Job()).on_end()


def test_sweeps_and_single_runs_in_one_folder_are_compared_by_all_that_differs(tmp_path):
    write_sweep(tmp_path / "first", [Axis("style_weight", ("1", "5"))])
    write_sweep(tmp_path / "second", [Axis("pooling", ("max", "average")), Axis("seed", ("1", "2"))])
    config = Config(style_weight=7.0, learning_rate=1.0)
    Curves(tmp_path / "single", config, Job(output_dir="single")).on_end()
    experiment, groups = ask_hparams(tmp_path)
    differing = [one.name for one in experiment.hparam_infos if one.differs]
    assert differing == ["learning_rate", "pooling", "seed", "style_weight"]
    rows = [group.hparams for group in groups]
    found = {
        (row["style_weight"].number_value, row["pooling"].string_value, row["seed"].number_value)
        for row in rows
    }
    swept = {(100.0, pooling, seed) for pooling in ("max", "average") for seed in (1, 2)}
    assert found == swept | {(1.0, "max", 0), (5.0, "max", 0), (7.0, "max", 0)}
    # The settings that are swept come first, and are shown; where a run is written does not count.
    alone, _ = ask_hparams(tmp_path / "second")
    assert [one.name for one in alone.hparam_infos if one.differs] == ["pooling", "seed"]
    assert [one.name for one in alone.hparam_infos][:2] == ["pooling", "seed"]


def ask_hparams(folder, metric=""):
    """Return what TensorBoard's HParams plugin finds in a folder: the experiment, and the groups of runs."""
    provider = MultiplexerDataProvider(read(folder), str(folder))
    context = backend_context.Context(TBContext(data_provider=provider))
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING, api_pb2.STATUS_SUCCESS]
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=100)
    if metric:
        request.col_params.add().metric.tag = metric
    experiment = get_experiment.Handler(RequestContext(), context, "", api_pb2.GetExperimentRequest())
    groups = list_session_groups.Handler(RequestContext(), context, "", request)
    return experiment.run(), groups.run().session_groups


def test_an_interrupted_run_is_no_success(tmp_path, pictures):
    config = Config(**SHALLOW, iterations=3, log_every=1)
    curves = Curves(tmp_path, config, Job())
    for record in warm_stylize(*pictures, config, weights=WEIGHTS, tick=lambda step: True):
        curves.on_step(record)
    curves.on_end()
    [path] = tmp_path.iterdir()
    assert b"session_end_info" not in path.read_bytes()

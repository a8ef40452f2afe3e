"""The command `neural-style-tf-evaluate`: measure paintings, compare systems, write a report."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from neural_style_tf import __version__
from neural_style_tf.cli import flags
from neural_style_tf.config.schema import EvaluationConfig
from neural_style_tf.errors import FAILURE, SUCCESS, UserError, show
from neural_style_tf.evaluation.columns import MEASURES, SUMS
from neural_style_tf.evaluation.comparison import PHOTO, STYLE, Comparison, compare, read_scores, read_votes
from neural_style_tf.evaluation.looks import Viewer
from neural_style_tf.evaluation.pairs import COLUMNS, REPORT, Search, System
from neural_style_tf.evaluation.report import check_report, to_markdown, write_comparison
from neural_style_tf.evaluation.single import EXTRA, check_longest_side
from neural_style_tf.images.files import expand_files
from neural_style_tf.jobs.error_messages import exit_code_of
from neural_style_tf.runs.manifest import version_of
from neural_style_tf.utils.console import Console, Download, duration
from neural_style_tf.utils.files import is_file
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import check_spec, load_weights

PACKAGES = {"skimage": "scikit-image", "matplotlib": "matplotlib"}
INTERRUPTED = 130


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process, and return the exit code.

    0 for success; 1 if some pictures could not be measured; 2 for a mistake of the user; 130 if interrupted.
    """
    argv = list(sys.argv if argv is None else argv)
    console = Console()
    if any(argument in ("--help", "-h", "-help") for argument in argv[1:]):
        console.say(flags.help_text(flags.EVALUATE_USAGE, flags.EVALUATE_GROUPS))
        return SUCCESS
    try:
        return exit_code_of(lambda: _evaluate(*flags.read_evaluation(argv), console), console.error)
    except KeyboardInterrupt:
        console.error("interrupted; no report was written")
        return INTERRUPTED


def _evaluate(results: Sequence[str], config: EvaluationConfig, console: Console) -> int:
    console.quiet = config.quiet
    if not results:
        raise UserError(
            "name what to measure, a folder of paintings: neural-style-tf-evaluate RESULTS; see --help"
        )
    check_longest_side(config.size)
    for module, package in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise UserError(f"this needs {package}: {EXTRA}")
    first = Path(results[0])
    folder = Path(config.output_dir) if config.output_dir else first if first.is_dir() else first.parent
    search = Search(_files("content", config.content), _files("style", config.style))
    for name in (*results, *config.compare):
        search.add(name)
    measures, values = read_scores([Path(name) for name in config.scores], search.paintings)
    systems = list(dict.fromkeys(painting.system.name for painting in search.paintings))
    votes = [vote for name in config.votes for vote in read_votes(Path(name), systems)]
    files = [getattr(painting, side) for painting in search.paintings for side in COLUMNS]
    files += [Path(name) for name in (*results, *config.compare, *config.scores, *config.votes)]
    check_report(folder, read=files, overwrite=config.overwrite)
    check_spec(config.weights, Path(config.weights_dir), network=config.network, trust=config.trust_weights)
    comparison = None
    if search.paintings:
        comparison = _measure(search, config, console)
        rows = [
            dataclasses.replace(row, values={**row.values, **values.get(row.result.resolve(), {})})
            for row in comparison.rows
        ]
        comparison = dataclasses.replace(
            comparison, rows=rows, measures=(*comparison.measures, *measures), votes=votes
        )
    problems = comparison.problems if comparison else search.problems
    for line in problems:
        console.error(line)
    if not comparison or all(row.system in (PHOTO, STYLE) for row in comparison.rows):
        console.error("nothing could be measured")
        return FAILURE
    write_comparison(folder, comparison)
    console.say(to_markdown(comparison))
    console.say(f"written: {folder / REPORT['.csv']}, {', '.join([*REPORT][1:])}")
    return FAILURE if problems else SUCCESS


def _files(flag: str, names: Sequence[str]) -> list[Path]:
    """Return the picture files that the values `names` of `--flag` stand for: files, folders or patterns."""
    files = [file for name in names for file in expand_files(name)]
    if names and not files:
        raise UserError(f"--{flag}={show(names[0])}: no picture there")
    for file in files:
        if not is_file(file):
            raise UserError(f"--{flag}: {show(file)} does not exist")
    return [Path(file) for file in files]


def _measure(search: Search, config: EvaluationConfig, console: Console) -> Comparison:
    """Start TensorFlow and measure all paintings."""
    from neural_style_tf.utils.runtime import start_tensorflow

    device = start_tensorflow(verbose=config.verbose, threads=config.threads)
    weights = load_weights(
        config.weights,
        folder=config.weights_dir,
        network=config.network,
        trust=config.trust_weights,
        progress=Download(console),
        log=console.say,
    )
    facts = _provenance(weights, config, device)
    for name, value in facts.items():
        console.say(f"{name}: {value}")

    def progress(done: int, count: int, seconds_left: float) -> None:
        line = f"{done}/{count} paintings  {duration(seconds_left)} left"
        if console.interactive:
            console.rewrite(line)
        elif done == count or done % max(1, count // 10) == 0:
            console.say(line)

    rows, unreadable, notes = compare(search.paintings, Viewer(weights), size=config.size, progress=progress)
    systems = list(dict.fromkeys(painting.system for painting in search.paintings))
    rows.sort(key=lambda row: (row.pair, ([*systems, PHOTO, STYLE]).index(row.system)))
    comparison = Comparison(rows, (*SUMS, *MEASURES), [*search.problems, *unreadable], notes, facts)
    everything = len({row.pair for row in rows})
    if len(comparison.pairs) < everything:
        note = f"Means are over the {len(comparison.pairs)} of {everything} pairs that all systems have."
    elif any(_lacks_pairs(comparison, system) for system in comparison.systems):
        note = "No pair is in all systems: each mean is over the pairs of its own, and none is comparable."
    else:
        return comparison
    return dataclasses.replace(comparison, notes=(*notes, note))


def _lacks_pairs(comparison: Comparison, system: System) -> bool:
    """Return whether `system` has no painting for some of the pairs (photo, style picture)."""
    return len({row.pair for row in comparison.rows if row.system == system}) < len(comparison.pairs)


def _provenance(weights: Weights, config: EvaluationConfig, device: str) -> dict[str, str]:
    """Return a dict from name to text of what the figures depend on: network, size, versions and device."""
    versions = ("numpy", "scipy", "scikit-image", "tensorflow")
    return {
        "network": f"{weights.architecture.name} from {weights.source}, sha256 {weights.sha256}",
        "size": f"longest side {config.size} px",
        "program": f"neural-style-tf {__version__}; "
        + ", ".join(f"{name} {version_of(name)}" for name in versions),
        "device": device,
    }

"""Command-line flags, made from the settings; preset < flag file < flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags as absl_flags

from neural_style_tf.config.fields import leaves
from neural_style_tf.config.parsing import format_list, parse_counts, parse_layer_weights
from neural_style_tf.config.presets import preset
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.runs.replay import read_run, settings_of
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.weights.structure import printable

USAGE = """Neural style transfer: paint one picture in the manner of another.

usage: python run.py --content=PHOTO --style=PAINTING [--iterations=N] [flags]

Any flag can be put in a file, one to a line, and read with --flagfile=FILE.
"""

# Of a flag file; of a message that repeats what came.
_MOST_BYTES, _LONGEST = 1 << 20, 300


def parse(argv: Sequence[str]) -> tuple[Config, Job]:
    """Turn a command line into settings.

    Args:
        argv: The program's name and its arguments.

    Returns:
        The resolved settings and the files.

    Raises:
        UserError: An unknown flag, a value that cannot be, a file flag missing.
    """
    values = _define()
    _refuse_twice(argv[1:], "")
    try:
        rest = values(_flag_files_first(argv))[1:]
    except absl_flags.UnrecognizedFlagError as error:
        name = printable(error.flagname, _LONGEST)
        raise UserError(
            f"unknown flag --{name}{did_you_mean(name, list(values))}; --help lists them"
        ) from None
    except (absl_flags.Error, OSError, ValueError) as error:
        raise UserError(printable(" ".join(str(error).split()), _LONGEST)) from None
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}: every setting is a flag, such as --content=FILE")
    given = {name: values[name].value for name in values if values[name].present}
    for name in ("content_layers", "style_layers"):
        if name in given:
            given[name] = parse_layer_weights(given[name])
    if "scale_iterations" in given:
        given["scale_iterations"] = parse_counts(given["scale_iterations"])
    base_config, base_job = None, Job()
    if given.get("from_run"):
        if "preset" in given:
            raise UserError("--from_run has every setting of its run, and --preset changes them: give one")
        base_config, base_job = settings_of(read_run(given["from_run"]), given["from_run"])
    job_names = {field.name for field in leaves(Job)}
    job = base_job.replace(**{name: value for name, value in given.items() if name in job_names})
    changes = {name: value for name, value in given.items() if name not in job_names}
    config = (base_config or preset(changes.pop("preset", Config.preset))).replace(**changes)
    for name in ("content", "style"):
        if not getattr(job, name):
            raise UserError(f"--{name}=FILE is missing: --content and --style name the two pictures")
    return config, job


def help_text() -> str:
    """Return what `--help` prints."""
    lines = [USAGE]
    for title, settings in (("Files", Job), ("Settings (defaults of the preset `original`)", Config)):
        lines.append(f"{title}:\n")
        for field in leaves(settings):
            default = _default_text(field)
            lines.append(f"  --{field.name}{default}")
            lines.append(f"      {field.metadata['help']}")
        lines.append("")
    return "\n".join(lines)


def table() -> str:
    """Return the flags as a Markdown table, for docs/flags.md."""
    lines = ["| flag | meaning |", "|---|---|"]
    for settings in (Job, Config):
        for field in leaves(settings):
            flag = f"`--{field.name}{_default_text(field)}`"
            lines.append(f"| {flag} | {field.metadata['help']} |")
    return "\n".join(lines) + "\n"


def _define() -> absl_flags.FlagValues:
    values = absl_flags.FlagValues()
    makers = {
        bool: absl_flags.DEFINE_bool,
        int: absl_flags.DEFINE_integer,
        float: absl_flags.DEFINE_float,
    }
    for settings in (Config, Job):
        for field in leaves(settings):
            maker = makers.get(type(field.default), absl_flags.DEFINE_string)
            maker(field.name, None, field.metadata["help"], flag_values=values)
    return values


def _refuse_twice(arguments: Sequence[str], where: str) -> None:
    """Refuse a file named twice in one place: the first would silently not be used."""
    names = [argument.lstrip("-").partition("=")[0] for argument in arguments if argument.startswith("-")]
    for name in ("content", "style", "init", "weights", "output", "output_dir", "from_run"):
        if names.count(name) > 1:
            more = "; several styles are not supported" if name == "style" else ""
            raise UserError(f"{where}--{name} is given {names.count(name)} times: give one{more}")


def _flag_files_first(argv: Sequence[str]) -> list[str]:
    """Move flag files to the front, so that flags win over them wherever they stand."""
    program, *rest = argv
    files, others = [], []
    arguments = iter(rest)
    for argument in arguments:
        if argument in ("--flagfile", "-flagfile"):
            file = next(arguments, "")
            if not file:
                raise UserError("--flagfile=FILE needs the name of a file")
            files.append(f"--flagfile={file}")
        elif argument.lstrip("-").startswith("flagfile=") and argument.startswith("-"):
            files.append(argument)
        else:
            others.append(argument)
    for file in files:
        _check_flag_file(file.partition("=")[2], ())
    return [program, *files, *others]


def _check_flag_file(name: str, around: tuple[Path, ...]) -> None:
    """Refuse what absl would read for ever, or could not name: a device, a picture, a file inside itself."""
    path = Path(name).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"--flagfile={show(name)}: not a file")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"--flagfile={show(name)}: too long for a file of flags")
        if path.resolve() in around:
            raise UserError(f"--flagfile={show(name)}: this file includes itself")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"--flagfile={show(name)}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"--flagfile={show(name)}: not a text of flags, one to a line") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--flagfile={name!r}: not a file name") from None
    _refuse_twice([line.strip() for line in lines], f"--flagfile={show(name)}: ")
    for line in lines:
        flag, _, inner = line.strip().partition("=")
        if flag.lstrip("-") == "flagfile" and flag.startswith("-"):
            _check_flag_file(inner, (*around, path.resolve()))


def _default_text(field: dataclasses.Field) -> str:
    if isinstance(field.default, bool):
        return ""
    text = format_list(field.default) if isinstance(field.default, tuple) else str(field.default)
    return f"={text or field.metadata['value']}"

"""Command-line flags, made from the settings; preset < flag file < flags."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from neural_style_tf.config.fields import flat, leaves
from neural_style_tf.config.parsing import (
    format_list,
    parse_counts,
    parse_layer_weights,
    parse_numbers,
)
from neural_style_tf.config.presets import PRESETS, preset
from neural_style_tf.config.schema import REPEATED_FILES, Config, Job, SweepConfig
from neural_style_tf.errors import UserError, show
from neural_style_tf.images.files import expand_files
from neural_style_tf.runs.manifest import NOT_REPEATED, flag_texts, from_anywhere
from neural_style_tf.runs.replay import read_run, settings_of
from neural_style_tf.sweeps.space import Axis, parse_axis
from neural_style_tf.utils.text import did_you_mean
from neural_style_tf.weights.structure import printable

USAGE = """Neural style transfer: paint one picture in the manner of another.

usage: python run.py --content=PHOTO --style=PAINTING [--iterations=N] [flags]

Any flag can be put in a file, one to a line, and read with --flagfile=FILE.
"""

# Of a flag file; of a message that repeats what came.
_MOST_BYTES, _LONGEST = 1 << 20, 300
_REPEATED = ("content", "sweep", *REPEATED_FILES)
# Of `Job`; of `Config` all can be swept.
_SWEPT = ("content", *REPEATED_FILES, "content_weight_mask", "weights", "stretch_contrast")
_NUMBERS = ("style_blend", "mask_weight", "style_scale")


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What a command line asks for.

    Attributes:
        sweep: How many runs, and which.
        contents: What `--content` names, a pattern each.
        files_given: What each of `schema.REPEATED_FILES` names, if it is given.
        given: Names of the settings that stand on the command line itself, not in a flag file.
        values: Flags of absl as they were given.
    """

    sweep: SweepConfig
    contents: tuple[str, ...]
    files_given: Mapping[str, tuple[str, ...]]
    given: frozenset[str]
    values: absl_flags.FlagValues

    @property
    def is_sweep(self) -> bool:
        """Whether several runs are asked for, or one in a form that could be several."""
        contents = self.contents
        if self.values["frames"].value:
            return bool(self.sweep.sweep) or len(contents) > 1
        return bool(self.sweep.sweep) or len(contents) > 1 or any(expand_files(c) != [c] for c in contents)

    def check_single(self) -> None:
        """Refuse, for a single run, what shares out the runs of a sweep.

        Raises:
            UserError: Naming the flag.
        """
        for name in ("jobs", "shard", "ray", "shared_output"):
            if getattr(self.sweep, name) != getattr(SweepConfig, name):
                raise UserError(
                    f"--{name} is about the runs of a sweep, and this is a single run: give --sweep, or "
                    "several pictures as --content"
                )

    def axes(self) -> list[Axis]:
        """Return the swept settings; several `--content` come first.

        Raises:
            UserError: A setting that is swept and given, or as of `parse_axis`.
        """
        kinds = {field.name: type(field.default) for field in leaves(Config)}
        kinds |= {field.name: type(field.default) for field in leaves(Job) if field.name in _SWEPT}
        seed = self.values["seed"].value or Config.seed
        given = {
            "samples": self.sweep.sweep_samples,
            "seed": seed,
            "frames": bool(self.values["frames"].value),
        }
        axes = [parse_axis(text, kinds, **given) for text in self.sweep.sweep]
        for axis in axes:
            if {axis.name, f"no{axis.name}"} & self.given:
                raise UserError(f"--{axis.name} is given, and swept by --sweep={axis.name}=…: leave one out")
        if self.contents and not any(axis.name == "content" for axis in axes):
            as_frames = self.values["frames"].value
            found = [path for one in self.contents for path in ([one] if as_frames else expand_files(one))]
            if not found:
                raise UserError(f"--content={show(self.contents[0])}: no picture there")
            if len(set(found)) < len(found):
                twice = next(path for path in found if found.count(path) > 1)
                raise UserError(f"--content: {show(twice)} is named twice")
            if len(found) > 1 or found != list(self.contents):
                axes.insert(0, Axis("content", tuple(found)))
        return axes

    def base(self, swept: Set[str]) -> dict[str, Any]:
        """Return name → value of what was given and is not swept, but for what is asked anew each time."""
        skipped = {*swept, "content", *(field.name for field in leaves(SweepConfig))}
        skipped |= set(NOT_REPEATED) - {"from_run", "output"}
        found = {name: value for name, value in self._given().items() if name not in skipped}
        if "content" not in swept and self.contents:
            found["content"] = self.contents[-1]
        found = from_anywhere(found)
        # One file is recorded as one.
        one = {name: found[name][0] for name in REPEATED_FILES if len(found.get(name, ())) == 1}
        for name in _NUMBERS:
            with contextlib.suppress(KeyError, ValueError):
                one[name] = float(found[name])
        return found | one

    def _given(self) -> dict[str, Any]:
        """Return name → value of what was given."""
        given = {name: self.values[name].value for name in self.values if self.values[name].present}
        given |= self.files_given
        return given | {"content": self.contents[-1]} if self.contents else given

    def files(self) -> Job:
        """Return the files that all runs have in common; whether a picture is missing is not checked.

        Raises:
            UserError: A value out of range, a `--from_run` that cannot be read.
        """
        names = {field.name for field in leaves(Job)}
        given = {name: value for name, value in self._given().items() if name in names}
        if not given.get("from_run"):
            return Job(**given)
        return settings_of(read_run(given["from_run"]), given["from_run"])[1].replace(**given)

    def settings(self, changes: Mapping[str, str] | None = None) -> tuple[Config, Job]:
        """Return the resolved settings and the files of one run.

        Args:
            changes: Name of a flag → its text, which wins over what was given.

        Raises:
            UserError: A value that cannot be, a file flag missing.
        """
        given = self._given()
        for name, text in (changes or {}).items():
            try:
                given[name] = self.values[name].parser.parse(text)
            except (absl_flags.Error, ValueError) as error:
                raise UserError(
                    f"--{name}={printable(text, _LONGEST)}: {' '.join(str(error).split())}"
                ) from None
        return _resolve(given)


def parse(argv: Sequence[str]) -> tuple[Config, Job]:
    """Turn a command line into the settings and the files of a single run; errors as of `CommandLine`."""
    line = read(argv)
    if len(line.contents) > 1:
        raise UserError(f"--content is given {len(line.contents)} times: give one")
    return line.settings()


def read(argv: Sequence[str]) -> CommandLine:
    """Read a command line.

    Args:
        argv: The program's name and its arguments.

    Returns:
        What it asks for; the settings themselves are not checked yet.

    Raises:
        UserError: An unknown flag, a value of the wrong type.
    """
    values = _define()
    _refuse_twice(argv[1:], "")
    try:
        arguments, named = _flag_files_first(argv)
        rest = values(arguments)[1:]
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
    here = frozenset(_names(argv[1:]))
    files = {
        name: _of_the_last_place(given[name], [place for place, one in named if one == name])
        for name in ("content", *REPEATED_FILES)
        if given.get(name)
    }
    contents = files.pop("content", ())
    names = [field.name for field in leaves(SweepConfig)]
    chosen = {name: given[name] for name in names if given.get(name) is not None}
    if "sweep" in chosen:
        chosen["sweep"] = tuple(chosen["sweep"])
    return CommandLine(SweepConfig(**chosen), contents, files, here, values)


def _resolve(given: dict[str, Any]) -> tuple[Config, Job]:
    """Return the settings that flags make: preset < flag file < flags."""
    for name in ("content_layers", "style_layers"):
        if name in given:
            given[name] = parse_layer_weights(given[name])
    for name in _NUMBERS:
        if name in given:
            given[name] = parse_numbers(name, given[name])
    for name in ("scale_iterations", "long_term"):
        if name in given:
            given[name] = parse_counts(name, given[name])
    base_config, base_job = None, Job()
    if given.get("from_run"):
        if "preset" in given:
            raise UserError("--from_run has every setting of its run, and --preset changes them: give one")
        base_config, base_job = settings_of(read_run(given["from_run"]), given["from_run"])
    job_names, config_names = ({field.name for field in leaves(kind)} for kind in (Job, Config))
    job = base_job.replace(**{name: value for name, value in given.items() if name in job_names})
    changes = {name: value for name, value in given.items() if name in config_names}
    config = (base_config or preset(changes.pop("preset", Config.preset))).replace(**changes)
    for name in ("content", "style"):
        if not getattr(job, name):
            raise UserError(f"--{name}=FILE is missing: --content and --style name the two pictures")
    return config, job


def command(config: Config, job: Job, *, program: Sequence[str] = ("python", "run.py")) -> str:
    """Return the command line of a run, for a shell: its preset and what differs from it."""
    known = PRESETS.get(config.preset, PRESETS[Config.preset])
    # Its settings are all here.
    job = job.replace(from_run="")
    words = [*program]
    for settings, defaults in ((job, Job()), (config, known)):
        before = flat(defaults)
        for name, value in flat(settings).items():
            if value != before[name] or (name == "preset" and value != Config.preset):
                words += flag_texts(name, value)
    return shlex.join(words)


def help_text() -> str:
    """Return what `--help` prints."""
    lines = [USAGE]
    groups = ("Files", Job), ("Settings (defaults of the preset `original`)", Config), ("Sweeps", SweepConfig)
    for title, settings in groups:
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
    for settings in (Job, Config, SweepConfig):
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
    for settings in (Config, Job, SweepConfig):
        for field in leaves(settings):
            maker = makers.get(type(field.default), absl_flags.DEFINE_string)
            if field.name in _REPEATED:
                maker = absl_flags.DEFINE_multi_string
            maker(field.name, None, field.metadata["help"], flag_values=values)
    return values


def _refuse_twice(arguments: Sequence[str], where: str) -> None:
    """Refuse a file named twice in one place: the first would silently not be used."""
    names = _names(arguments)
    for name in ("init", "weights", "output", "output_dir", "from_run", "content_weight_mask"):
        if names.count(name) > 1:
            raise UserError(f"{where}--{name} is given {names.count(name)} times: give one")


def _names(arguments: Sequence[str]) -> list[str]:
    """Return the names of the flags among arguments."""
    return [argument.lstrip("-").partition("=")[0] for argument in arguments if argument.startswith("-")]


def _of_the_last_place(values: Sequence[str], places: Sequence[object]) -> tuple[str, ...]:
    """Return those of a repeated flag's values that stand where its last one does, which win over others."""
    return tuple(value for value, place in zip(values, places, strict=True) if place is places[-1])


def _flag_files_first(argv: Sequence[str]) -> tuple[list[str], list[tuple[object, str]]]:
    """Move flag files to the front, so that flags win over them wherever they stand.

    Returns:
        The arguments; and for each flag, in their order, the place where it stands (a file, the command line)
        and its name.
    """
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
    named = [one for file in files for one in _check_flag_file(file.partition("=")[2], ())]
    return [program, *files, *others], [*named, *((argv, name) for name in _names(others))]


def _check_flag_file(name: str, around: tuple[Path, ...]) -> list[tuple[object, str]]:
    """Refuse what absl would read for ever, or could not name: a device, a picture, a file inside itself.

    Returns:
        For each flag, also of files inside, the file's lines, which stand for the place, and its name.
    """
    path = Path(name).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"--flagfile={show(name)}: not a file")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"--flagfile={show(name)}: too long for a file of flags")
        if path.resolve() in around:
            raise UserError(f"--flagfile={show(name)}: this file includes itself")
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"--flagfile={show(name)}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"--flagfile={show(name)}: not a text of flags, one to a line") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--flagfile={name!r}: not a file name") from None
    _refuse_twice(lines, f"--flagfile={show(name)}: ")
    named = []
    for line in lines:
        for flag in _names([line]):
            if flag == "flagfile":
                named += _check_flag_file(line.partition("=")[2], (*around, path.resolve()))
            else:
                named.append((lines, flag))
    return named


def _default_text(field: dataclasses.Field) -> str:
    if isinstance(field.default, bool):
        return ""
    text = format_list(field.default) if isinstance(field.default, tuple) else str(field.default)
    return f"={text or field.metadata['value']}"

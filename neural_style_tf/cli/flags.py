"""Command-line flags, made from the settings; preset < flag file < flags."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import re
import shlex
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from neural_style_tf.config.fields import flat, leaves
from neural_style_tf.config.parsing import format_list
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import REPEATED_FILES, Config, Job, ScaleConfig, SweepConfig
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
        return _resolve(given, self.given | (changes or {}).keys())


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
    line = argv[1:]
    placed = _placed(line, values)
    # So that flags win over files wherever they stand.
    placed.sort(key=lambda one: one[0] is line)
    try:
        rest = values([argv[0], *(argument for _, argument in placed)])[1:]
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
    here = frozenset(_name(argument) for place, argument in placed if place is line)
    files = {
        name: _of_the_last_place(given[name], [place for place, one in placed if _name(one) == name])
        for name in ("content", *REPEATED_FILES)
        if given.get(name)
    }
    contents = files.pop("content", ())
    names = [field.name for field in leaves(SweepConfig)]
    chosen = {name: given[name] for name in names if given.get(name) is not None}
    if "sweep" in chosen:
        chosen["sweep"] = tuple(chosen["sweep"])
    return CommandLine(SweepConfig(**chosen), contents, files, here, values)


def _resolve(given: dict[str, Any], here: Set[str]) -> tuple[Config, Job]:
    """Return the settings that flags make: preset < flag file < flags, the names of which are `here`."""
    if "scales" in here and "scale_iterations" in given.keys() - here:
        # As those of a preset do, those of a flag file follow.
        counts = ScaleConfig(scales=0, scale_iterations=given["scale_iterations"])
        given["scale_iterations"] = counts.replace(scales=given["scales"]).scale_iterations
    base_config, base_job = None, Job()
    if given.get("from_run"):
        if "preset" in given:
            raise UserError("--from_run has every setting of its run, and --preset changes them: give one")
        base_config, base_job = settings_of(read_run(given["from_run"]), given["from_run"])
    job_names, config_names = ({field.name for field in leaves(kind)} for kind in (Job, Config))
    job = base_job.replace(**{name: value for name, value in given.items() if name in job_names})
    changes = {name: value for name, value in given.items() if name in config_names}
    config = base_config.replace(**changes) if base_config else Config(**changes)
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


def _name(argument: str) -> str:
    """Return the name of the flag that an argument is; "" for one that is none."""
    return argument.lstrip("-").partition("=")[0] if argument.startswith("-") else ""


def _of_the_last_place(values: Sequence[str], places: Sequence[object]) -> tuple[str, ...]:
    """Return those of a repeated flag's values that stand where its last one does, which win over others."""
    return tuple(value for value, place in zip(values, places, strict=True) if place is places[-1])


def _placed(
    arguments: Sequence[str],
    values: absl_flags.FlagValues,
    where: str = "",
    around: tuple[Path, ...] = (),
) -> list[tuple[Sequence[str], str]]:
    """Join each flag with its value, and put what flag files say in their place.

    Args:
        arguments: Of the command line, or of a flag file.
        values: All flags.
        where: What a message about one of them begins with.
        around: The flag file in which they stand, and those in which that one is named.

    Returns:
        For each argument those among which it stands; and itself, `--name=value` if it takes a value.

    Raises:
        UserError: A value is missing, a file is named twice, or a flag file cannot be read.
    """
    found: list[tuple[Sequence[str], str]] = []
    rest = iter(arguments)
    for argument in rest:
        name = _name(argument)
        takes_value = name == "flagfile" or (name in values and not values[name].boolean)
        if takes_value and "=" not in argument:
            value = next(rest, None)
            following = _name(value or "")
            if value is None or {following, following.removeprefix("no")} & {"flagfile", *values}:
                came = "nothing" if value is None else printable(value, _LONGEST)
                kind = "FILE" if name == "flagfile" else "…"
                raise UserError(f"{where}--{name}={kind} needs a value, and {came} follows --{name}")
            argument = f"--{name}={value}"
        if name == "flagfile":
            found += _read_flag_file(argument.partition("=")[2], values, around)
        else:
            found.append((arguments, argument))
    # The first would silently not be used.
    names = [_name(argument) for place, argument in found if place is arguments]
    for name in ("init", "weights", "output", "output_dir", "from_run", "content_weight_mask"):
        if names.count(name) > 1:
            raise UserError(f"{where}--{name} is given {names.count(name)} times: give one")
    return found


def _read_flag_file(
    name: str, values: absl_flags.FlagValues, around: tuple[Path, ...]
) -> list[tuple[Sequence[str], str]]:
    """Return what a flag file says, as of `_placed`.

    absl would read a device or a file inside itself for ever, and takes quotes and a byte-order mark for part
    of a name.
    """
    path = Path(name).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"--flagfile={show(name)}: not a file")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"--flagfile={show(name)}: too long for a file of flags")
        if path.resolve() in around:
            raise UserError(f"--flagfile={show(name)}: this file includes itself")
        data = path.read_bytes()
        # As Notepad and PowerShell write it.
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise UserError(f"--flagfile={show(name)}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"--flagfile={show(name)}: not a text of flags, one to a line, in UTF-8") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--flagfile={name!r}: not a file name") from None
    lines = [line.strip() for line in text.splitlines()]
    arguments = [_unquoted(line) for line in lines if line and not line.startswith(("#", "//"))]
    return _placed(arguments, values, f"--flagfile={show(name)}: ", (*around, path.resolve()))


def _unquoted(line: str) -> str:
    """Return a line of a flag file without quotes around it, or around its value; a name may hold some."""
    flag = re.match(r"(--?(?:sweep=)?\w+)=|(--?\w+)\s+(?:=\s*)?", line)
    before, value = (f"{flag[1] or flag[2]}=", line[flag.end() :]) if flag else ("", line)
    if not value.lstrip().startswith(("'", '"')):
        return before + value
    words = shlex.shlex(value, posix=True, punctuation_chars=False)
    # Windows separates folders by what is the escape in a shell.
    words.escape, words.commenters, words.whitespace_split = "", "", True
    try:
        [word] = words
    except ValueError:
        # A quote without its end, or several words: part of a name.
        return before + value
    return before + word


def _default_text(field: dataclasses.Field) -> str:
    if isinstance(field.default, bool):
        return ""
    text = format_list(field.default) if isinstance(field.default, tuple) else str(field.default)
    return f"={text or field.metadata['value']}"

"""Read the command line. Its flags are made from the settings of `config.schema`.

Flags override flag files, and flag files override the preset. `run.py` and `neural-style-tf-evaluate` have
different settings, which are read in the same way.
"""

from __future__ import annotations

import codecs
import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from neural_style_tf.config.fields import flat, from_text, leaves, tagged, to_flags
from neural_style_tf.config.parsing import to_text
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import (
    EVALUATION,
    SETTINGS,
    Config,
    EvaluationConfig,
    Job,
    ScaleConfig,
    SweepConfig,
)
from neural_style_tf.errors import UserError, did_you_mean, one_line, show
from neural_style_tf.images.files import expand_files
from neural_style_tf.runs.manifest import with_absolute_paths
from neural_style_tf.runs.resume import repeated_manifest, settings_of
from neural_style_tf.sweeps.space import Axis, parse_axis

USAGE = """Neural style transfer: paint one picture in the manner of another.

usage: python run.py --content=PHOTO --style=PAINTING [--iterations=N] [flags]

Any flag can be put in a file, one to a line, and read with --flagfile=FILE.
"""
GROUPS = (("Files", Job), ("Settings (defaults of the preset `original`)", Config), ("Sweeps", SweepConfig))
EVALUATE_USAGE = """Measure paintings of any program: how much of the photo and of the style is in them.

usage: neural-style-tf-evaluate RESULTS [--compare=RESULTS …] [--content=PHOTOS --style=PAINTINGS] [flags]

RESULTS is a folder of runs of this program; or a folder of pictures, such as photo_style.png, with --content
and --style; or a CSV with the columns result, content, style.
"""
EVALUATE_GROUPS = (("Flags", EvaluationConfig),)
LONGEST_FLAG_FILE = 1 << 20
"""Largest flag file, in bytes."""
Fields = Mapping[str, dataclasses.Field]
"""Name of each setting of a command → its dataclass field."""
Texts = Mapping[str, tuple[str, ...]]
"""Name of each setting → its values as strings, one for each time that its flag is given."""


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A parsed command line."""

    texts: Texts  # values of all settings that it and its flag files name
    here: Set[str]  # names of the settings on the command line itself, not in a flag file
    sweep: SweepConfig

    @property
    def contents(self) -> tuple[str, ...]:
        """The files, folders and patterns that `--content` names."""
        return self.texts.get("content", ())

    @property
    def _frames(self) -> bool:
        """Whether `--frames` is given: the pictures of a folder are the frames of one clip."""
        return self._value("frames")

    @property
    def is_sweep(self) -> bool:
        """Whether there are several runs: `--sweep`, several `--content`, a folder, or a pattern.

        A folder or a pattern counts even if it has only one picture.
        """
        several = bool(self.sweep.sweep) or len(self.contents) > 1
        return several or (not self._frames and any(expand_files(name) != [name] for name in self.contents))

    def check_single(self) -> None:
        """Raise UserError if this is a single run with a flag that distributes the runs of a sweep."""
        for name in tagged("shares", SweepConfig):
            if getattr(self.sweep, name) != getattr(SweepConfig, name):
                raise UserError(
                    f"--{name} is about the runs of a sweep, and this is a single run: give --sweep, or "
                    "several pictures as --content"
                )

    def axes(self) -> list[Axis]:
        """Return the swept settings with their values. Several `--content` become the first of them."""
        samples, seed = self.sweep.sweep_samples, self._value("seed")
        axes = [
            parse_axis(text, samples=samples, seed=seed, frames=self._frames) for text in self.sweep.sweep
        ]
        for axis in axes:
            if axis.name in self.here:
                raise UserError(f"--{axis.name} is given, and swept by --sweep={axis.name}=…: leave one out")
        if self.contents and not any(axis.name == "content" for axis in axes):
            files = [
                file for name in self.contents for file in ([name] if self._frames else expand_files(name))
            ]
            if not files:
                raise UserError(f"--content={show(self.contents[0])}: no picture there")
            if len(set(files)) < len(files):
                twice = next(file for file in files if files.count(file) > 1)
                raise UserError(f"--content: {show(twice)} is named twice")
            if len(files) > 1 or files != list(self.contents):
                axes.insert(0, Axis("content", tuple(files)))
        return axes

    def base(self, swept: Set[str]) -> dict[str, Any]:
        """Return name → value of the settings that all runs of a sweep share.

        Left out: `swept`, `SweepConfig`, and settings of one run (tag `anew`) but `from_run` and `output`.
        """
        left_out = {*swept, *(leaf.name for leaf in leaves(SweepConfig)), *tagged("anew", Job)}
        left_out -= {"from_run", "output"} - swept
        return with_absolute_paths(
            {name: value for name, value in self._values(self.texts).items() if name not in left_out}
        )

    def files(self) -> Job:
        """Return the files that all runs share. Its content and style may be empty."""
        return _resolve_job(self._values(self.texts))[1]

    def settings(self, changes: Mapping[str, str] | None = None) -> tuple[Config, Job]:
        """Return the settings and the files of one run, of a sweep with `changes`, name → string."""
        changes = changes or {}
        values = self._values({**self.texts, **{name: (text,) for name, text in changes.items()}})
        here = self.here | changes.keys()
        if "scales" in here and "scale_iterations" in values.keys() - here:
            # A flag file's iterations are adapted to the number of scales, as a preset's are.
            counts = ScaleConfig(scales=0, scale_iterations=values["scale_iterations"])
            values["scale_iterations"] = counts.replace(scales=values["scales"]).scale_iterations
        base, job = _resolve_job(values)
        own = {leaf.name: values[leaf.name] for leaf in leaves(Config) if leaf.name in values}
        config = base.replace(**own) if base else Config(**own)
        for name in ("content", "style"):
            if not getattr(job, name):
                raise UserError(f"--{name}=FILE is missing: --content and --style name the two pictures")
        return config, job

    def _value(self, name: str) -> Any:
        field = SETTINGS[name]
        return from_text(field, *self.texts[name]) if name in self.texts else field.default

    @staticmethod
    def _values(texts: Texts) -> dict[str, Any]:
        return {name: from_text(SETTINGS[name], *several) for name, several in texts.items()}


def read(argv: Sequence[str]) -> CommandLine:
    """Parse the command line `argv`: the program's name and its arguments."""
    texts, here = _read(argv[1:], SETTINGS)
    sweep = {leaf.name: texts[leaf.name] for leaf in leaves(SweepConfig) if leaf.name in texts}
    return CommandLine(texts, here, SweepConfig(**CommandLine._values(sweep)))


def read_evaluation(argv: Sequence[str]) -> tuple[list[str], EvaluationConfig]:
    """Parse a command line of `neural-style-tf-evaluate`; return its RESULTS and its settings."""
    results: list[str] = []
    texts, _ = _read(argv[1:], EVALUATION, results)
    values = {name: from_text(EVALUATION[name], *own) for name, own in texts.items()}
    return results, EvaluationConfig(**values)


def _resolve_job(values: Mapping[str, Any]) -> tuple[Config | None, Job]:
    """Return the settings of the run that `--from_run` names, else None; and the files with `values`."""
    base, job = None, Job()
    if path := values.get("from_run"):
        if "preset" in values:
            raise UserError("--from_run has every setting of its run, and --preset changes them: give one")
        base, job = settings_of(repeated_manifest(path), path)
    return base, job.replace(**{leaf.name: values[leaf.name] for leaf in leaves(Job) if leaf.name in values})


def command(config: Config, job: Job, *, program: Sequence[str] = ("python", "run.py")) -> str:
    """Return a shell command that repeats a run: its preset, and the settings that differ from it."""
    known = PRESETS.get(config.preset, PRESETS[Config.preset])
    before = flat(Job()) | flat(known) | {"preset": Config.preset}
    # `config` and `job` already have the settings of the run that `from_run` names.
    values = flat(job.replace(from_run="")) | flat(config)
    words = [to_flags(SETTINGS[name], value) for name, value in values.items() if value != before[name]]
    return shlex.join([*program, *(word for several in words for word in several)])


def help_text(usage: str = USAGE, groups: Sequence[tuple[str, type]] = GROUPS) -> str:
    """Return the text of `--help`: `usage`, then the flags of each of `groups`, pairs (title, dataclass)."""
    lines = [usage]
    for title, kind in groups:
        lines.append(f"{title}:\n")
        for field in leaves(kind):
            lines += [f"  --{_usage(field)}", f"      {explanation(field)}"]
        lines.append("")
    return "\n".join(lines)


def table(fields: Fields = SETTINGS) -> str:
    """Return a Markdown table of the flags, for docs/flags.md."""
    rows = [f"| `--{_usage(field)}` | {explanation(field)} |" for field in fields.values()]
    return "\n".join(["| flag | meaning |", "|---|---|", *rows]) + "\n"


def explanation(field: dataclasses.Field) -> str:
    """Return the help text of a setting; `{presets}` in it is replaced by the names of the presets."""
    return field.metadata["help"].replace("{presets}", ", ".join(PRESETS))


def _usage(field: dataclasses.Field) -> str:
    if isinstance(field.default, bool):
        return field.name
    return f"{field.name}={to_text(field.default) or field.metadata['value']}"


def _read(
    arguments: Sequence[str],
    fields: Fields,
    others: list[str] | None = None,
    *,
    where: str = "",
    around: tuple[Path, ...] = (),
) -> tuple[Texts, Set[str]]:
    """Read flags; return the texts of all settings, and the names of those that `arguments` name directly.

    They override the flags of the flag files that they name. Flag files are not left to absl. It would apply
    them at their positions, would never finish reading a device or a file that includes itself, and would
    treat quotes and a byte-order mark as part of a name.

    Arguments that are not flags are appended to `others`; without this list they raise UserError. Messages
    begin with `where`. `around` are the flag file that holds the arguments, and all files that include it.
    """
    values = _define(fields)
    own, texts = [], {}
    for name, argument in _with_values(arguments, fields, where):
        if name == "flagfile":
            texts = _over(_read_flag_file(argument.partition("=")[2], fields, around), texts)
        elif others is not None and not argument.startswith("-"):
            others.append(argument)
        else:
            own.append(argument)
    try:
        # With `known_only` absl returns unknown flags. Its own search for a similar name recurses once for
        # each letter, and fails on a long name.
        rest = [argument for argument in values(["", *own], known_only=True)[1:] if argument != "--"]
    except (absl_flags.Error, ValueError) as error:
        raise UserError(where + one_line(str(error))) from None
    if rest and (name := _name(rest[0])) and name not in fields:
        nearest = did_you_mean(name, fields)
        raise UserError(f"{where}unknown flag --{one_line(name)}{nearest}; --help lists them")
    if rest:
        raise UserError(
            f"{where}unexpected argument {one_line(repr(rest[0]))}: every setting is a flag, such as "
            "--content=FILE"
        )
    here: dict[str, tuple[str, ...]] = {}
    for name, field in fields.items():
        if not values[name].present:
            continue
        value = values[name].value
        here[name] = (to_text(value),) if isinstance(value, bool) else tuple(value)
        is_path = field.metadata["value"] in ("FILE", "FOLDER")
        # Otherwise the first file would be ignored without a message.
        if is_path and "repeated" not in field.metadata["tags"] and len(here[name]) > 1:
            raise UserError(f"{where}--{name} is given {len(here[name])} times: give one")
    return _over(here, texts), here.keys()


def _over(texts: Texts, others: Texts) -> Texts:
    """Merge two sets of values: `texts` replaces `others`, except that all `--sweep` flags are kept."""
    sweeps = others.get("sweep", ()) + texts.get("sweep", ())
    return {**others, **texts, **({"sweep": sweeps} if sweeps else {})}


def _define(fields: Fields) -> absl_flags.FlagValues:
    """Define the settings as absl flags. absl only separates names from values; `from_text` converts them."""
    values = absl_flags.FlagValues()
    for field in fields.values():
        is_bool = isinstance(field.default, bool)
        define = absl_flags.DEFINE_bool if is_bool else absl_flags.DEFINE_multi_string
        define(field.name, None, "", flag_values=values)
    return values


def _with_values(arguments: Sequence[str], fields: Fields, where: str) -> Iterator[tuple[str, str]]:
    """Yield (name, `--name=value`) for each flag, and ("", argument) for each other argument.

    absl would use the next flag as the value of one that lacks its own.
    """
    rest = iter(arguments)
    for argument in rest:
        name = _name(argument)
        is_bool = name in fields and isinstance(fields[name].default, bool)
        takes_value = name == "flagfile" or (name in fields and not is_bool)
        if is_bool and "=" in argument:
            try:
                argument = f"--{name}={to_text(from_text(fields[name], argument.partition('=')[2]))}"
            except UserError as error:
                raise UserError(f"{where}{error}") from None
        if takes_value and "=" not in argument:
            value = next(rest, None)
            follower = _name(value or "")
            if value is None or {follower, follower.removeprefix("no")} & {"flagfile", *fields}:
                came = "nothing" if value is None else one_line(value)
                form = "FILE" if name == "flagfile" else "…"
                raise UserError(f"{where}--{name}={form} needs a value, and {came} follows --{name}")
            argument = f"--{name}={value}"
        yield name, argument


def _name(argument: str) -> str:
    """Return the name of a flag, or "" if `argument` is not a flag."""
    return argument.lstrip("-").partition("=")[0] if argument.startswith("-") else ""


def _read_flag_file(name: str, fields: Fields, around: tuple[Path, ...]) -> Texts:
    """Return the texts of the settings that the flag file `name` sets; `around` as in `_read`."""
    path = Path(name).expanduser()
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"--flagfile={show(name)}: not a file")
        if path.stat().st_size > LONGEST_FLAG_FILE:
            raise UserError(f"--flagfile={show(name)}: too long for a file of flags")
        if path.resolve() in around:
            raise UserError(f"--flagfile={show(name)}: this file includes itself")
        data = path.read_bytes()
        # Notepad and PowerShell write UTF-16.
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except OSError as error:
        raise UserError(f"--flagfile={show(name)}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"--flagfile={show(name)}: not a text of flags, one to a line, in UTF-8") from None
    except UserError:
        raise
    except ValueError:
        raise UserError(f"--flagfile={name!r}: not a file name") from None
    lines = [line.strip() for line in text.splitlines()]
    arguments = [_unquoted(line) for line in lines if line and not line.startswith(("#", "//"))]
    where = f"--flagfile={show(name)}: "
    return _read(arguments, fields, where=where, around=(*around, path.resolve()))[0]


def _unquoted(line: str) -> str:
    """Remove the quotes around a line of a flag file, or around the flag's value. Quotes inside remain."""
    flag = re.match(r"(--?(?:sweep=)?\w+)=|(--?\w+)\s+(?:=\s*)?", line)
    before, value = (f"{flag[1] or flag[2]}=", line[flag.end() :]) if flag else ("", line)
    if not value.lstrip().startswith(("'", '"')):
        return before + value
    words = shlex.shlex(value, posix=True, punctuation_chars=False)
    # No escape character: in Windows paths a backslash separates folders.
    words.escape, words.commenters, words.whitespace_split = "", "", True
    try:
        [word] = words
    except ValueError:
        # With an unclosed quote, or with several words, the quotes are part of the value.
        return before + value
    return before + word

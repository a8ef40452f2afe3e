"""Paintings for other programs: `paint`, `status`, `result` and `stop`.

Each is a method of `Api`. `routes` serves them by HTTP, with status codes. `connect` names them for
`gradio_client`, whose protocol has no status codes of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from neural_style_tf.app import gallery
from neural_style_tf.app.gallery import PAINT_FURTHER, StoredRun
from neural_style_tf.app.pictures import upload_name
from neural_style_tf.app.queue import QueueFull, RunQueue
from neural_style_tf.app.requests import LARGEST_UPLOAD, MOST_STYLES, plan_files
from neural_style_tf.config.fields import leaves, read_value, tagged
from neural_style_tf.config.presets import PRESETS, preset
from neural_style_tf.config.schema import Config, Job, SaveConfig
from neural_style_tf.errors import RunError, UserError, did_you_mean, one_line, reason
from neural_style_tf.jobs.error_messages import GO_ON, line_of

TROUBLE = (UserError, RunError, OSError, MemoryError)
"""Errors that are shown as a line: mistakes, missing files, a full disk, too little memory."""
PRESET = "balanced"
"""Preset of a request that names none."""
LARGEST_REQUEST = (1 + MOST_STYLES) * LARGEST_UPLOAD
"""Largest request, in bytes."""
MOST_FILES = 2 + 3 * MOST_STYLES
"""A photo, its weight mask, and for each style a picture and two masks."""
_FOLDERS = re.compile(r"""(?<![^\s'"(=:])/(?![/\s])(?:[^\s'"/]+/)*""")
"""The folders of an absolute path, but not of a URL."""
_FLAG = re.compile(r"(?<![\w'-])--(\w+)")
"""A flag in a message, but not a name that a client has sent, which has quotes."""
_CLAUSE = re.compile(r"(?=; |: |, or |\. )")
"""Where a part of a message begins that can be left out."""


def _request_fields() -> dict[str, dataclasses.Field]:
    """Return the fields of the settings of a request: not of clips, nor of how often a run is saved.

    A request may use only the listed choices: no file name, no class of the user's.
    """
    fields = {}
    left_out = {*tagged("clip", Config), *(leaf.name for leaf in leaves(SaveConfig))}
    of_job = [leaf for leaf in leaves(Job) if "request" in leaf.metadata["tags"]]
    for leaf in (*of_job, *(leaf for leaf in leaves(Config) if leaf.name not in left_out)):
        fields[leaf.name] = field = copy.copy(leaf)
        choices = tuple(PRESETS) if leaf.name == "preset" else leaf.metadata["choices"]
        field.metadata = {**leaf.metadata, "choices": choices, "is_own": None}
    return fields


FIELDS = _request_fields()
"""Name → field of each setting that a request may have."""
PICTURES = {name for name, field in FIELDS.items() if "picture" in field.metadata["tags"]}
"""Names of those settings that are pictures."""


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """How far a run is."""

    name: str
    # `waiting`, `starting`, `painting`, `stopping`; then `finished`, `interrupted` or `failed`. Of a run of
    # another process `running`, or `ended` if that process was killed.
    status: str
    step: int = 0  # the last step
    steps: int = 0  # the last planned step; 0 before the first step, and after the end
    seconds_left: float | None = None  # the run's own estimate
    seconds: float | None = None  # how long a run took that has ended
    before: int = 0  # how many runs are painted before it
    line: str = ""  # why it failed, or has no result

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self.status in ("finished", "interrupted", "failed", "ended")


class Api:
    """What the server can be asked for.

    Args:
        base: Job with the output folder and the network of all runs.
        temporary: Folder for uploads, and for the copies that Gradio serves.
        queue: Returns the queue.
    """

    def __init__(self, base: Job, temporary: Path, queue: Callable[[], RunQueue]) -> None:
        self._base, self._temporary, self._queue = base, temporary, queue

    def paint(self, pictures: Mapping[str, Sequence[str]], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a run; return its status.

        Args:
            pictures: Name of each setting that is a picture → paths of files; `""`: no mask.
            settings: Name of each other setting → its value, also as a string.

        Raises:
            UserError: A setting is unknown or invalid, a picture cannot be read, or too many runs wait.
        """
        if unknown := (settings.keys() - FIELDS.keys()) or (settings.keys() & PICTURES):
            name = min(unknown)
            what = "must be a file" if name in PICTURES else f"is no setting{did_you_mean(name, FIELDS)}"
            raise UserError(f"{one_line(name)!r} {what}")
        for name in ("content", "style"):
            if not any(pictures.get(name, ())):
                raise UserError(f"{name} is missing: send a picture file as content, and one as style")
        for name, paths in pictures.items():
            most = MOST_STYLES if FIELDS[name].metadata["kind"].type is not str else 1
            if len(paths) > most:
                raise UserError(f"{name} is given {len(paths)} times: at most {most}")
        values = {name: read_value(FIELDS[name], value) for name, value in settings.items()}
        files = {name: values.pop(name) for name in tagged("request", Job) if name in values}
        job = self._base.replace(**files)
        config = preset(values.pop("preset", PRESET)).replace(**values)
        return self.status(self._queue().add(lambda: plan_files(config, pictures, job)))

    def find(self, name: str) -> RunStatus | None:
        """Return the status of run `name`; None if there is none."""
        queue = self._queue()
        line, queued, run = queue.line(), queue.find(name), self.stored(name)
        if queued and name in line:
            before = line.index(name)
            status = "waiting" if before else "starting"
            if not before and (queued.stops or queued.planned):
                status = "stopping" if queued.stops else "painting"
            return RunStatus(name, status, queued.step, queued.planned, queued.seconds_left, before=before)
        outcome = queued and queued.outcome
        if outcome and outcome.status in ("failed", "in use"):
            return RunStatus(name, "failed", line=outcome.line or "another process is painting it")
        if run is None:
            # Unless somebody has removed its folder.
            stopped = outcome and outcome.status == "interrupted"
            line = "stopped before its first step"
            return RunStatus(name, "interrupted", line=line) if stopped else None
        facts = run.manifest
        why = facts.status.partition(": ")[2]
        return RunStatus(name, run.status, facts.steps or 0, seconds=facts.seconds, line=why)

    def stored(self, name: str) -> StoredRun | None:
        """Return the run `name` in the output folder, and nowhere else; None if there is none."""
        is_inside = name != ".." and Path(name).name == name
        return gallery.read_stored(Path(self._base.output_dir) / name) if name and is_inside else None

    def status(self, name: str) -> dict[str, Any]:
        """Return the status of run `name` as values of JSON; raise `HTTPException` if there is none."""
        # `gradio_client` may send any value.
        status = self.find(name) if isinstance(name, str) else None
        if status is None:
            raise HTTPException(404, f"there is no run {one_line(str(name))!r}")
        return dataclasses.asdict(status) | {"line": self._for_client(status.line), "done": status.done}

    def result(self, name: str) -> Path:
        """Return the path of the picture of run `name`; raise `HTTPException` if there is none yet."""
        status, run = self.status(name), self.stored(name)
        word, line = status["status"], status["line"]
        if not status["done"]:
            raise HTTPException(409, f"{name} is not done yet, but {word}: ask again later")
        if word == "failed" or run is None or run.result is None:
            raise HTTPException(409, f"{name} has no result: {line or word}")
        return run.result

    def stop(self, name: str) -> dict[str, Any]:
        """Save and end run `name`, at once if it was stopped before; return its status.

        Raise `HTTPException` if there is no such run. One that has ended stays as it is.
        """
        self.status(name)
        self._queue().stop(name)
        return self.status(name)

    def routes(self) -> list[Route]:
        """Return the routes of the HTTP API."""

        def of_run(method: Callable[[str], Any], respond: Callable[[Any], Response] = JSONResponse) -> Any:
            async def endpoint(request: Request) -> Response:
                return respond(await run_in_threadpool(method, request.path_params["name"]))

            return self._answered(endpoint)

        return [
            Route("/api/paint", self._answered(self._receive), methods=["POST"]),
            Route("/api/runs/{name}", of_run(self.status)),
            Route("/api/runs/{name}/result", of_run(self.result, _file)),
            Route("/api/runs/{name}/stop", of_run(self.stop), methods=["POST"]),
        ]

    async def _receive(self, request: Request) -> Response:
        """Receive the form of a run, and queue it."""
        # Before the pictures are received.
        self._queue().check_room()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "multipart/form-data":
            raise HTTPException(
                415, f"expected multipart/form-data, as curl -F sends it, not {one_line(kind)!r}"
            )
        limited = Request(request.scope, _limited(request.receive))
        try:
            form = await limited.form(max_files=MOST_FILES, max_fields=len(FIELDS))
        except ValueError as error:
            # Of python-multipart; older releases of Starlette let it pass.
            raise HTTPException(400, f"the form cannot be read: {reason(error)}") from None
        try:
            return JSONResponse(await run_in_threadpool(self._paint_form, form.multi_items()), 202)
        finally:
            await form.close()

    def _answered(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Any:
        """Return `endpoint`, which answers errors with a status and one line."""

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except (HTTPException, *TROUBLE) as error:
                line, code = self._line(error), _code(error)
            except ClientDisconnect:
                # Nobody reads this answer.
                return Response(status_code=400)
            except Exception:
                # Older releases of Gradio would send the traceback.
                logging.exception("%s %s", request.method, request.url.path)
                line, code = "the server made a mistake, which it has printed", 500
            return PlainTextResponse(f"{line}\n", code)

        return answer

    def _line(self, error: Exception) -> str:
        """Return an error as one line for a client."""
        if isinstance(error, HTTPException):
            return error.detail
        return self._for_client(line_of(error) or str(error))

    def _for_client(self, text: str) -> str:
        """Return a message as one line, without folders of this machine, in which settings have no dashes.

        Advice that names a flag which no request has, such as `--resume`, is left out.
        """
        text = one_line(text, 1000)
        for advice in (GO_ON, PAINT_FURTHER):
            text = text.replace(advice, "send it again")
        ours = (self._temporary, self._base.output_dir, self._base.weights_dir)
        # Their names may have spaces. The longest first, since one may be inside of another.
        for folder in sorted((Path(folder).absolute() for folder in ours), key=str, reverse=True):
            text = text.replace(f"{folder}{os.sep}", "/").replace(str(folder), f"/{folder.name}")
        first, *further = _CLAUSE.split(_FOLDERS.sub("", text))
        kept = [clause for clause in further if FIELDS.keys() >= {*_FLAG.findall(clause)}]
        return _FLAG.sub(r"\1", "".join([first, *kept]))

    def _paint_form(self, items: Sequence[tuple[str, str | UploadFile]]) -> dict[str, Any]:
        """Queue the run of a form, whose pictures are stored in a folder for the moment."""
        pictures: dict[str, list[str]] = {}
        settings: dict[str, str] = {}
        self._temporary.mkdir(0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._temporary) as folder:
            for number, (name, value) in enumerate(items):
                if isinstance(value, UploadFile):
                    if name not in PICTURES:
                        raise UserError(f"{one_line(name)!r} is no picture: send no file")
                    path = Path(folder, str(number), upload_name(value.filename or ""))
                    _keep(value, path)
                    pictures.setdefault(name, []).append(str(path))
                elif name in PICTURES and not value:
                    pictures.setdefault(name, []).append("")
                else:
                    settings[name] = value
            return self.paint(pictures, settings)

    def connect(self) -> None:
        """Name the endpoints for `gradio_client`; must be called inside `gr.Blocks`."""

        def paint(*values: Any) -> dict:
            given = {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}
            pictures = {
                name: self._uploaded(given.pop(name)) for name in FIELDS if name in PICTURES & given.keys()
            }
            return self.paint(pictures, given)

        def result(name: str) -> gr.FileData:
            path = save_file_to_cache(self.result(name), str(self._temporary))
            return gr.FileData(path=path, orig_name=f"{name}.png").model_dump()

        parameters = list(map(_parameter, FIELDS))
        paint.__signature__ = inspect.Signature(parameters, return_annotation=dict)
        paint.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        for function in (paint, self.status, result, self.stop):
            gr.api(self._told(function), api_name=function.__name__, concurrency_limit=2)

    def _told(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, whose errors Gradio passes on as one line."""

        @functools.wraps(function)
        def told(*values: Any) -> Any:
            try:
                return function(*values)
            except (HTTPException, *TROUBLE) as error:
                raise gr.Error(self._line(error), print_exception=False) from None

        return told

    def _uploaded(self, files: Any) -> list[str]:
        """Return the paths of files that were uploaded to Gradio; raise `UserError` for any other."""
        folder, paths = self._temporary.resolve(), []
        for file in files if isinstance(files, list) else [files]:
            path = file.get("path") if isinstance(file, dict) else file or ""
            try:
                is_upload = path == "" or Path(path).resolve().is_relative_to(folder)
            except (TypeError, ValueError):
                # No text, or with a null character.
                is_upload = False
            if not is_upload:
                raise UserError("a picture must be an uploaded file: use handle_file of gradio_client")
            paths.append(path)
        return paths


def _file(path: Path) -> Response:
    return FileResponse(path, media_type="image/png", filename=f"{path.parent.name}.png")


def _code(error: Exception) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, HTTPException):
        return error.status_code
    return 429 if isinstance(error, QueueFull) else 400 if isinstance(error, UserError) else 503


def _parameter(name: str) -> inspect.Parameter:
    """Return a setting as a parameter for `gradio_client`; None stands for what the preset has."""
    field = FIELDS[name]
    kind, default = field.metadata["kind"].type, None
    if name in PICTURES:
        kind = gr.FileData if kind is str else list[gr.FileData]
    elif choices := field.metadata["choices"]:
        kind = Literal[choices]
    if name in ("content", "style"):
        default = inspect.Parameter.empty
    else:
        kind |= None
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind, default=default)


def _keep(upload: UploadFile, path: Path) -> None:
    """Write an upload to a new file; raise `HTTPException` if it is too large."""
    if (upload.size or 0) > LARGEST_UPLOAD:
        raise HTTPException(413, f"{path.name} is larger than {LARGEST_UPLOAD // 2**20} MB")
    path.parent.mkdir()
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)


def _limited(receive: Receive) -> Receive:
    """Return `receive`, which raises `HTTPException` when a request becomes too large."""
    left = LARGEST_REQUEST

    async def receive_counted() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"the request is larger than {LARGEST_REQUEST // 2**20} MB")
        return message

    return receive_counted

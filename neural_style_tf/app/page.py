"""The page at work: what its controls do, and what it shows of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import html
import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from PIL import Image
from starlette.middleware import Middleware

from neural_style_tf.app import gallery, layout
from neural_style_tf.app.gallery import StoredRun
from neural_style_tf.app.guard import HOSTS, Guard, host_of
from neural_style_tf.app.layout import COLORS, DRAWN, LARGEST_CANVAS, NO_RUN, status_line
from neural_style_tf.app.pictures import check_picture, layer_of, preview, strokes
from neural_style_tf.app.queue import PlannedRun, Progress, RunQueue
from neural_style_tf.app.requests import (
    MOST_STYLES,
    Place,
    Request,
    Style,
    check_memory,
    plan,
    whole,
)
from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.schema import Config, Job, numbered
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import deep, load_image, save_image
from neural_style_tf.images.masks import fit_mask, load_mask
from neural_style_tf.jobs.error_messages import line_of
from neural_style_tf.jobs.painter import Painter
from neural_style_tf.utils.atomic import atomic_path
from neural_style_tf.utils.console import duration

SECONDS_BETWEEN_LOOKS = 1.0
TROUBLE = (UserError, RunError, OSError, MemoryError)
"""What is said on the page: mistakes, files that are gone, a full disk, too little memory."""


class Page:
    """The page, and the queue behind it.

    Args:
        place: Where runs are written.
        temporary: A folder for uploads and previews, the only one whose files are served.
        queue: Paints the runs; default: one worker process.
        environment: Variables that this process adds to its own.
    """

    def __init__(
        self,
        place: Place,
        temporary: Path,
        queue: RunQueue | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._place, self._temporary = place, temporary
        self._previews = temporary / "previews"
        self._queue = queue or RunQueue(
            functools.partial(Painter, go_on="press Paint further"), check_memory, environment=environment
        )
        try:
            self.blocks = self._build()
        except BaseException:
            # Its process waits for this one, and at the end this one for it.
            self._queue.close()
            raise

    def launch(self, host: str, port: int, *, browser: bool, share: bool, hosts: Sequence[str] = ()) -> str:
        """Serve the page in a thread; return its address.

        Args:
            host: Address to listen on.
            port: Likewise.
            browser: Open one.
            share: Make a public link.
            hosts: Further names that the page answers to. One with a scheme, such as
                `https://hub.example/user/me/proxy/7860`, is what a browser is told to ask, too.
        """
        known = {*HOSTS, *map(host_of, hosts)}
        public = next((one for one in hosts if "://" in one), None)
        # A browser that goes away in the middle of an answer is no news.
        for name in ("httpx", "uvicorn.error", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _, local, shared = self.blocks.launch(
            server_name=host,
            server_port=port,
            inbrowser=browser,
            share=share,
            root_path=public,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_file_size=layout.LARGEST_UPLOAD,
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=layout.theme(),
            css=layout.CSS,
            app_kwargs={
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
                "middleware": [Middleware(Guard, hosts=known)],
            },
        )
        if shared:
            known.add(host_of(shared))
        return shared or public or local

    def close(self) -> None:
        """End the server, save the run that is painted, and end its process."""
        with contextlib.suppress(Exception):
            self.blocks.close(verbose=False)
        self._queue.close()

    def _build(self) -> gr.Blocks:
        with gr.Blocks(
            title="neural-style-tf", analytics_enabled=False, delete_cache=(3600, 24 * 3600)
        ) as blocks:
            self._connect(blocks, layout.build())
        return blocks

    def _connect(self, blocks: gr.Blocks, built: layout.Layout) -> None:
        inputs, outputs, shown = built.inputs, built.outputs, built.shown
        session = gr.State(_Session())
        private = {"api_visibility": "private", "show_progress": "hidden"}
        for number, one in enumerate(inputs.pictures):
            canvas, accordion = one.brush.canvas, one.brush.accordion
            one.file.upload(
                functools.partial(self._take_upload, number),
                *([session, one.file], one.shown),
                preprocess=False,
                **private,
            )
            one.preview.clear(functools.partial(self._picture, number), session, one.shown, **private)
            if one.examples:
                one.examples.select(self._chooser(number, one.offered), session, one.shown, **private)
            accordion.expand(functools.partial(_open_canvas, number), session, canvas, **private)
            accordion.collapse(functools.partial(_close_canvas, number), session, None, **private)
        built.paint.click(
            self._paint, [session, *inputs.values], [built.line, *shown], concurrency_limit=2, **private
        )
        outputs.stop.click(self._stop, [session], shown, **private)
        outputs.further.click(
            self._go_on, [session, outputs.more], [built.line, *shown], concurrency_limit=2, **private
        )
        take_over = functools.partial(self._take_over, len(inputs.settings))
        outputs.take_over.click(take_over, [session], [built.line, *inputs.settings], **private)
        built.earlier.select(self._choose, [session], shown, **private)
        looking = {**private, "queue": False}
        gr.Timer(SECONDS_BETWEEN_LOOKS).tick(self._look, [session], shown, **looking)
        blocks.load(self._arrive, [session], shown, **looking)
        blocks.load(None, js=layout.SCRIPT)

    def _take_upload(self, number: int, session: _Session, file: dict[str, Any]) -> list[Any]:
        return self._take_picture(number, session, Path(file["path"]))

    def _chooser(self, number: int, offered: Sequence[Path]) -> Callable[..., list[Any]]:
        """Return what takes a picture of the examples; Gradio reads the types of a plain function only."""

        def choose(session: _Session, chosen: gr.SelectData) -> list[Any]:
            return self._take_picture(number, session, offered[chosen.index])

        return choose

    def _take_picture(self, number: int, session: _Session, path: Path) -> list[Any]:
        """Take a picture as the photo (0) or a style, or say what is wrong with it."""
        try:
            check_picture(str(path))
            return self._picture(number, session, path)
        except TROUBLE as error:
            return self._picture(number, session, line=_mistake(error, path))

    def _picture(
        self,
        number: int,
        session: _Session,
        path: Path | None = None,
        masks: Sequence[str | None] = (),
        line: str = "",
    ) -> list[Any]:
        """Return what is shown of a picture.

        Args:
            number: 0 for the photo, then the styles.
            session: Of the browser.
            path: Of the file; None: there is no picture.
            masks: Files of what is drawn on it, one for each colour of its brush.
            line: What is wrong with it.

        Returns:
            The values of `PictureInput.shown`.
        """
        shown = None if path is None else preview(path, self._previews)
        drawing = None if shown is None else self._drawing(number, shown, masks)
        return [
            "" if path is None else str(path),
            line,
            gr.update(value=None, visible=path is None),
            gr.update(value=shown and str(shown), visible=path is not None),
            session.draw(number, drawing),
        ]

    def _paint(self, session: _Session, *values: Any) -> list[Any]:
        """Put what is asked for into the queue."""
        try:
            self._queue.check_room()
            request = _request(values, session)
            for path in filter(None, (request.photo, *(style.path for style in request.styles))):
                if not Path(path).exists():
                    raise UserError("A picture was dropped here long ago, and is gone: drop it once more.")
            run = plan(request, self._place)
            self._submit(run, session)
        except TROUBLE as error:
            return [_mistake(error), *self._look(session)]
        return ["", *self._look(session)]

    def _submit(self, run: PlannedRun, session: _Session) -> None:
        self._queue.submit(run)
        session.view(run.name)

    def _go_on(self, session: _Session, more: float | None) -> list[Any]:
        """Go on with the run that is shown."""
        run = self._stored(session)
        try:
            if run is None:
                raise UserError("There is no painting to go on with.")
            self._submit(gallery.go_on(run, whole("Iterations to add", more)), session)
        except TROUBLE as error:
            return [_mistake(error), *self._look(session)]
        return ["", *self._look(session)]

    def _stop(self, session: _Session) -> list[Any]:
        self._queue.stop(session.name)
        return self._look(session)

    def _choose(self, session: _Session, chosen: gr.SelectData) -> list[Any]:
        """Show a run of the gallery."""
        if isinstance(chosen.index, int) and 0 <= chosen.index < len(session.gallery):
            session.view(session.gallery[chosen.index])
        return self._look(session)

    def _arrive(self, session: _Session) -> list[Any]:
        """Show a browser that arrives what is being painted, or the newest painting."""
        session.view(
            self._queue.current() or next((run.name for run in gallery.find_runs(self._place.output_dir)), "")
        )
        return self._look(session)

    def _stored(self, session: _Session) -> StoredRun | None:
        return gallery.read_stored(self._place.output_dir / session.name) if session.name else None

    def _look(self, session: _Session) -> list[Any]:
        """Return what has changed of what is shown."""
        # A system that cleans its temporary folders may have taken it; what is put there is nobody else's.
        self._temporary.mkdir(0o700, parents=True, exist_ok=True)
        run, progress = self._stored(session), self._queue.progress(session.name)
        status, pictures = self._status(run, progress, session.name), [gr.skip(), gr.skip()]
        try:
            pictures = self._look_at_picture(session, run)
        except FileNotFoundError:
            # It is replaced, or was removed, at this moment.
            pass
        except TROUBLE as error:
            status += _mistake(error)
        return [
            session.changed("status", status),
            *pictures,
            self._look_at_losses(session, run),
            *self._look_at_end(session, run, progress),
            self._look_at_gallery(session),
        ]

    def _status(self, run: StoredRun | None, progress: Progress | None, name: str) -> str:
        shown = f"<b>{html.escape(name)}</b>"
        if progress is not None:
            return _progress_line(shown, progress)
        outcome = self._queue.outcome(name)
        if outcome is not None and outcome.status in ("failed", "in use"):
            line = outcome.line or "another process is painting it"
            return status_line(f"{shown}: {html.escape(line)}", mistake=True)
        if run is None:
            stopped = outcome is not None
            return status_line(f"{shown}: stopped before its first step." if stopped else NO_RUN)
        status = {
            "finished": "finished",
            "interrupted": "stopped, and saved: it can be painted further",
            "running": "another process is painting it",
            "ended": "was ended without warning: it can be painted further",
        }.get(run.status, html.escape(run.manifest.status))
        steps = f", {run.manifest.steps} steps" if run.manifest.steps else ""
        took = f" in {duration(run.manifest.seconds)}" if run.manifest.seconds else ""
        return status_line(f"{shown}: {status}{steps}{took}.")

    def _look_at_picture(self, session: _Session, run: StoredRun | None) -> list[Any]:
        """Return picture and comparison."""
        result = run.result if run else None
        if result is None:
            return [session.changed("picture", None), session.changed("compare", None)]
        picture = preview(result, self._previews)
        if session.seen.get("picture") == str(picture):
            return [gr.skip(), gr.skip()]
        pair = None
        # Without its photo there is still the painting.
        with contextlib.suppress(*TROUBLE):
            if run.photo is not None:
                with Image.open(picture) as opened:
                    longest = max(opened.size)
                pair = str(preview(run.photo, self._previews, longest=longest)), str(picture)
        return [session.changed("picture", str(picture)), session.changed("compare", pair)]

    def _look_at_losses(self, session: _Session, run: StoredRun | None) -> Any:
        size = run.metrics.stat().st_size if run and run.metrics.exists() else 0
        if session.seen.get("losses") == size:
            return gr.skip()
        session.seen["losses"] = size
        rows = run.losses() if run else []
        points = [
            {"step": row["step"], "loss": math.log10(row[name]), "of": name}
            for row in rows
            for name in DRAWN
            if row.get(name, 0) > 0
        ]
        return pd.DataFrame(points, columns=["step", "loss", "of"])

    def _look_at_end(self, session: _Session, run: StoredRun | None, progress: Progress | None) -> list[Any]:
        """Return buttons, files and command, which change when a run begins or ends."""
        state = None if progress is None else (progress.place == 0, progress.stopping)
        result = run.result if run else None
        stamp = result.stat().st_mtime_ns if result and progress is None else 0
        key = (
            session.name,
            state,
            run.manifest.status if run else "",
            run.manifest.steps if run else 0,
            stamp,
        )
        # The server forgets files after a day.
        if session.seen.get("end") == key and all(path.exists() for path in session.files):
            return [gr.skip()] * 8
        idle, found = progress is None, []
        stop = "Stop at once" if progress and progress.stopping else "Stop and keep"
        files, command, note = [gr.update(value=None, interactive=False)] * 3, "", ""
        if idle and result is not None:
            with contextlib.suppress(*TROUBLE):
                found = self._files(run, result)
                files = [gr.update(value=str(path), interactive=True) for path in found]
            try:
                command, note = gallery.command_of(run)
            except TROUBLE as error:
                note = line_of(error) or ""
        session.seen["end"], session.files = key, found
        return [
            gr.update(interactive=not idle, value=stop),
            gr.update(interactive=idle and run is not None),
            *files,
            command,
            status_line(html.escape(note)) if note else "",
            gr.update(interactive=run is not None),
        ]

    def _files(self, run: StoredRun, result: Path) -> list[Path]:
        """Return copies of a result as PNG, JPEG and TIFF, to be downloaded."""
        folder = self._temporary / "downloads" / f"{run.name}-{result.stat().st_mtime_ns}"
        folder.mkdir(parents=True, exist_ok=True)
        png, jpeg, tiff = (folder / f"{run.name}{suffix}" for suffix in (".png", ".jpg", ".tiff"))
        if not all(path.exists() for path in (png, jpeg, tiff)):
            with atomic_path(png) as copy:
                shutil.copyfile(result, copy)
            picture = load_image(png, keep_profile=True)
            bits = int(run.settings()[1].bits) if deep.is_installed() else 8
            kept = {"profile": picture.profile, "dpi": picture.dpi}
            save_image(jpeg, picture.pixels, **kept)
            save_image(tiff, picture.pixels, alpha=picture.alpha, bits=bits, **kept)
        return [png, jpeg, tiff]

    def _look_at_gallery(self, session: _Session) -> Any:
        found = gallery.find_runs(self._place.output_dir)
        runs = [run for run in found if self._queue.progress(run.name) is None]
        key = [(run.name, run.status, run.manifest.steps) for run in runs]
        if session.seen.get("gallery") == key:
            return gr.skip()
        pictures, names = [], []
        for run in runs:
            with contextlib.suppress(*TROUBLE):
                pictures.append((str(preview(run.result, self._previews, longest=256)), run.name))
                names.append(run.name)
        session.seen["gallery"], session.gallery = key, names
        return pictures

    def _take_over(self, count: int, session: _Session) -> list[Any]:
        """Fill in the pictures, masks and settings of the run that is shown."""
        run = self._stored(session)
        try:
            if run is None:
                raise UserError("There is no painting to take settings from.")
            config, job = run.settings()
            filled = self._filled(session, config, job)
        except TROUBLE as error:
            return [_mistake(error), *[gr.skip()] * count]
        session.base = config
        lost = _not_taken_over(config, job)
        line = f"Settings taken over, but for {', '.join(lost)}." if lost else "Settings taken over."
        return [status_line(html.escape(line), mistake=bool(lost)), *filled]

    def _filled(self, session: _Session, config: Config, job: Job) -> list[Any]:
        """Return the values of all controls for a run."""
        files = job.pictures
        blend = config.loss.style_blend or config.loss.mask_weight or (1.0,) * len(job.style)
        masks = [files.get(role) for role in numbered("content_mask", MOST_STYLES)]
        filled = self._picture(0, session, Path(job.content), masks)
        for number, role in enumerate(numbered("style", MOST_STYLES), 1):
            path = Path(files[role]) if role in files else None
            filled += self._picture(number, session, path, [files.get(role.replace("style", "style_mask"))])
        return [
            *filled,
            *[*(weight / max(blend) for weight in blend), *[1.0] * MOST_STYLES][:MOST_STYLES],
            *(config.preset, config.loss.strength, max(config.sizes.style_scale), config.sizes.image_size),
            *(config.colors, config.iterations, config.seed, job.bits == "16"),
        ]

    def _drawing(self, number: int, shown: Path, masks: Sequence[str | None]) -> Any:
        """Return what the brush draws on, from a preview, with masks drawn already."""
        with Image.open(preview(shown, self._previews, longest=LARGEST_CANVAS)) as opened:
            canvas = np.asarray(opened)
        drawn = [
            None if mask is None else fit_mask(load_mask(mask)[0], canvas.shape[:2]) >= 0.5 for mask in masks
        ]
        layer = layer_of(drawn, _colors(number))
        return {"background": canvas, "layers": [] if layer is None else [layer], "composite": None}


@dataclasses.dataclass
class _Session:
    """What a browser looks at.

    Attributes:
        name: Of the run, or `""`.
        seen: What it was shown last, so that only changes are sent.
        gallery: Names of the runs, in the order in which it was shown them.
        files: What it may download.
        base: Settings that were taken over from a run.
        open_canvases: Numbers of the pictures whose canvas can be seen: 0 for the photo, then the styles.
        drawings: Number → what a canvas shows when it is opened next.
    """

    name: str = ""
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)
    gallery: list[str] = dataclasses.field(default_factory=list)
    files: list[Path] = dataclasses.field(default_factory=list)
    base: Config | None = None
    open_canvases: set[int] = dataclasses.field(default_factory=set)
    drawings: dict[int, Any] = dataclasses.field(default_factory=dict)

    def draw(self, number: int, drawing: Any) -> Any:
        """Return what a canvas is to show; if it is hidden, keep that until it is opened."""
        if number in self.open_canvases:
            return drawing
        self.drawings[number] = drawing
        return gr.skip()

    def view(self, name: str) -> None:
        """Look at another run; everything is shown anew."""
        self.name = name
        self.seen = {}

    def changed(self, part: str, value: Any) -> Any:
        """Return a value to show, or that it is shown already."""
        if part in self.seen and self.seen[part] == value:
            return gr.skip()
        self.seen[part] = value
        return value


def _open_canvas(number: int, session: _Session) -> Any:
    session.open_canvases.add(number)
    return session.drawings.pop(number, gr.skip())


def _close_canvas(number: int, session: _Session) -> None:
    session.open_canvases.discard(number)


def _request(values: Sequence[Any], session: _Session) -> Request:
    """Return what the controls ask for, from their values in the order of `Inputs.values`."""
    pictures, rest = values[: 2 * (1 + MOST_STYLES)], values[2 * (1 + MOST_STYLES) :]
    weights, controls = rest[:MOST_STYLES], rest[MOST_STYLES:]
    preset, strength, stroke_size, image_size, colors, iterations, seed, deep_colors = controls
    photo, *files = pictures[::2]
    drawn, *parts = (
        strokes(_layers(session.drawings.get(number, canvas)), _colors(number))
        for number, canvas in enumerate(pictures[1::2])
    )
    styles = [
        Style(file, weight, region, part)
        for file, weight, region, [part] in zip(files, weights, drawn, parts, strict=True)
        if file
    ]
    return Request(
        photo=photo,
        styles=tuple(styles),
        preset=preset,
        strength=strength,
        stroke_size=stroke_size,
        image_size=image_size,
        colors=colors,
        iterations=iterations,
        seed=seed,
        bits="16" if deep_colors else "8",
        base=session.base,
    )


def _colors(number: int) -> Sequence[str]:
    """Return the colours of the brush for the photo (0), one for each style, or for a style."""
    return COLORS[number - 1 : number] if number else COLORS


def _layers(drawing: dict[str, Any] | None) -> list[np.ndarray]:
    return [layer for layer in (drawing or {}).get("layers") or [] if layer is not None]


def _not_taken_over(config: Config, job: Job) -> list[str]:
    """Return what of a run the page cannot paint with, in words."""
    kept = {name for tag in ("page", "clip", "anew") for name in tagged(tag, Job)}
    lost = [
        f"--{name}" for name, value in flat(job).items() if name not in kept and value != getattr(Job, name)
    ]
    if len(job.style) > MOST_STYLES:
        lost.append(f"the styles after the first {MOST_STYLES}")
    if len(set(config.sizes.style_scale)) > 1:
        lost.append("a --style_scale for each style")
    if config.loss.mask_weight and max(config.loss.mask_weight) != 1:
        lost.append("the size of --mask_weight, of which only the ratios are kept")
    return lost


def _mistake(error: Exception, path: Path | None = None) -> str:
    """Return the line about an error; a path of a temporary file is said as its name."""
    text = line_of(error) or str(error)
    if path is not None:
        text = text.replace(str(path), path.name)
    return status_line(html.escape(text), mistake=True)


def _progress_line(shown: str, progress: Progress) -> str:
    if progress.place:
        before = "1 painting is" if progress.place == 1 else f"{progress.place} paintings are"
        return status_line(f"{shown}: waiting, {before} before it.")
    if progress.stopping:
        return status_line(f"{shown}: stopping after this step …")
    if not progress.step:
        return status_line(f"{shown}: starting …")
    left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
    bar = f'<progress aria-label="steps" max="{progress.planned}" value="{progress.step}"></progress>'
    return status_line(f"{shown}: step {progress.step} of {progress.planned}{left}{bar}")

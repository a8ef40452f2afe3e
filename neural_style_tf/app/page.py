"""The page itself: its controls, what they do, and what it shows of a run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import html
import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from PIL import Image
from starlette.middleware import Middleware

from neural_style_tf.app import gallery
from neural_style_tf.app.gallery import StoredRun
from neural_style_tf.app.guard import Guard
from neural_style_tf.app.pictures import check_picture, layer_of, preview, strokes
from neural_style_tf.app.queue import MOST_WAITING, PlannedRun, Progress, RunQueue
from neural_style_tf.app.requests import (
    MOST_STYLES,
    Place,
    Request,
    Style,
    check_memory,
    plan,
    whole,
)
from neural_style_tf.cli.error_messages import line_of
from neural_style_tf.cli.main import Painter
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import Config, Job, numbered
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import deep, load_image, save_image
from neural_style_tf.images.masks import fit_mask, load_mask
from neural_style_tf.utils.console import duration

LARGEST_UPLOAD = "100mb"
LARGEST_CANVAS = 800
"""Longest side of what is drawn on with the brush, in pixels."""
COLORS = ("#e4572e", "#2e86ab", "#7cb518")
"""Of the brush: one for each style."""
SECONDS_BETWEEN_LOOKS = 1.0
EXAMPLES = Path(__file__).parents[2] / "examples"
"""There in a checkout, not in an installed package."""
PHOTOS = ("chelsea.jpg", "coffee.jpg", "astronaut.jpg", "rocket.jpg")
PAINTINGS = ("starry_night.jpg", "mosaic.jpg", "watercolour.jpg", "ink.jpg", "strokes.jpg")
DRAWN = ("total", "content", "style")
"""Losses of the plot."""
COLOR_CHOICES = [
    ("the style's", "style"),
    ("the photo's", "content"),
    ("the style's, matched to the photo", "match"),
    ("the photo's, only light and dark painted", "luminance"),
]
CSS = """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important; }
#title h1 { margin-bottom: 0; }
.line { min-height: 1.6em; padding: .15em 0; }
.line.mistake { border-left: 4px solid #d33; padding-left: .7em; font-weight: 600; }
.line progress { appearance: none; display: block; width: 100%; height: .6em; margin-top: .4em; border: 0; }
.line progress, .line progress::-webkit-progress-bar {
  background: var(--border-color-primary); border-radius: .3em;
}
.line progress::-webkit-progress-value { background: var(--color-accent); border-radius: .3em; }
.line progress::-moz-progress-bar { background: var(--color-accent); border-radius: .3em; }
.pictures .grid-wrap { height: auto !important; min-height: 0 !important; max-height: none !important; }
.pictures .grid-container {
  grid-template-columns: repeat(auto-fill, minmax(var(--smallest), 1fr)) !important;
  grid-auto-rows: auto !important; padding-top: 28px !important;
}
.pictures .thumbnail-item { height: auto !important; aspect-ratio: 4 / 3; }
.examples { --smallest: 68px; }
.examples .caption-label { display: none; }
.earlier { --smallest: 150px; }
.earlier .grid-container { padding-top: 0 !important; }
.block:has(.prose:empty) { display: none; }
#painting img { width: 100%; height: 420px; object-fit: contain; }
@media (min-width: 900px) { #painting-column { position: sticky; top: 1em; align-self: flex-start; } }
@media (max-width: 600px) {
  #painting img { height: 280px; }
  .gradio-container main { padding: 12px !important; }
}
"""
LABEL_COMMAND = "() => document.querySelector('#command textarea').setAttribute('aria-label', 'Command')"
"""Gradio gives this label to the button that copies."""
TROUBLE = (UserError, RunError, OSError, MemoryError)
"""What is said on the page: mistakes, files that are gone, a full disk, too little memory."""
NO_RUN = "Nothing painted yet."


class Page:
    """The page, and the queue behind it.

    Args:
        place: Where runs are written.
        temporary: A folder for uploads and previews, the only one whose files are served.
        queue: Paints the runs; default: one worker process.
    """

    def __init__(self, place: Place, temporary: Path, queue: RunQueue | None = None) -> None:
        self._place, self._temporary = place, temporary
        self._previews = temporary / "previews"
        self._previews.mkdir(parents=True, exist_ok=True)
        self._queue = queue or RunQueue(Painter, check_memory)
        self.blocks = self._build()

    def launch(self, host: str, port: int, *, browser: bool, share: bool) -> str:
        """Serve the page in a thread; return its address."""
        # A browser that goes away in the middle of an answer is no news.
        for name in ("httpx", "uvicorn.error", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _, local, shared = self.blocks.launch(
            server_name=host,
            server_port=port,
            inbrowser=browser,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_file_size=LARGEST_UPLOAD,
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            theme=_theme(),
            css=CSS,
            app_kwargs={
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
                "middleware": [Middleware(Guard, shared=share)],
            },
        )
        return shared or local

    def close(self) -> None:
        """End the server, save the run that is painted, and end its process."""
        with contextlib.suppress(Exception):
            self.blocks.close(verbose=False)
        self._queue.close()

    def _build(self) -> gr.Blocks:
        with gr.Blocks(
            title="neural-style-tf", analytics_enabled=False, delete_cache=(3600, 24 * 3600)
        ) as blocks:
            gr.Markdown(
                "# neural-style-tf\nPaint a photo in the style of a picture. Nothing leaves this machine.",
                elem_id="title",
            )
            with gr.Row():
                with gr.Column(scale=6, min_width=320):
                    inputs = self._build_inputs()
                with gr.Column(scale=6, min_width=320, elem_id="painting-column"):
                    paint = gr.Button("Paint", variant="primary", size="lg", elem_id="paint")
                    line = gr.HTML(elem_id="mistake", padding=False)
                    outputs = self._build_outputs()
            inputs = dataclasses.replace(inputs, paint=paint, line=line)
            with gr.Accordion("Earlier paintings", open=True):
                earlier = gr.Gallery(
                    label="Earlier paintings, the newest first",
                    show_label=False,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_classes=["pictures", "earlier"],
                )
            gr.Markdown(
                f"Limits: pictures up to {LARGEST_UPLOAD.upper()}, {MOST_STYLES} styles, one painting at a "
                f"time, {MOST_WAITING} in line. Closing this page does not stop a painting."
            )
            self._connect(blocks, inputs, outputs, earlier)
        return blocks

    def _build_inputs(self) -> _Inputs:
        with gr.Row():
            with gr.Column(min_width=280):
                photo = self._build_picture("Photo", "Example photos", PHOTOS)
            with gr.Column(min_width=280), gr.Tabs():
                styles = []
                for number in range(1, MOST_STYLES + 1):
                    with gr.Tab(f"Style {number}"):
                        label = f"Style {number}" + (" (optional)" if number > 1 else "")
                        styles.append(self._build_picture(label, "Example styles", PAINTINGS))
        preset = gr.Radio(
            list(PRESETS)[::-1],
            value="balanced",
            label="Preset",
            info="balanced suits every pair of pictures; the others are as published",
        )
        strength = gr.Slider(
            0, 1, 0.5, step=0.05, label="Strength", info="0: a hint; 1: all that leaves the subject"
        )
        stroke_size = gr.Slider(
            0.25, 4, 1, step=0.25, label="Stroke size", info="how large the style picture is looked at"
        )
        image_size = gr.Slider(
            64,
            4096,
            384,
            step=32,
            label="Size",
            info="longest side in pixels; twice the size takes four times as long",
        )
        colors = gr.Radio(COLOR_CHOICES, value="style", label="Colours")
        photo, styles, weights = self._build_directing(photo, styles)
        with gr.Accordion("Advanced", open=False):
            iterations = gr.Number(
                0, label="Iterations", info="at the final size; 0: as the preset", precision=0, minimum=0
            )
            seed = gr.Number(
                0, label="Seed", info="of the noise that some presets begin with", precision=0, minimum=0
            )
            bits = gr.Checkbox(
                False,
                label="16 bits a channel, for print",
                info="" if deep.is_installed() else 'needs: pip install "neural-style-tf[deep]"',
                interactive=deep.is_installed(),
            )
        controls = (preset, strength, stroke_size, image_size, colors, iterations, seed, bits)
        return _Inputs(photo, styles, weights, controls)

    @staticmethod
    def _build_directing(
        photo: _PictureInput, styles: Sequence[_PictureInput]
    ) -> tuple[_PictureInput, tuple[_PictureInput, ...], tuple[gr.Slider, ...]]:
        """Return the pictures with their brushes, and the weights of the styles."""
        numbers = range(1, MOST_STYLES + 1)
        legend = ", ".join(
            f'<span style="color:{color}">■</span> style {number}'
            for number, color in zip(numbers, COLORS, strict=True)
        )
        with gr.Accordion("Several styles and masks", open=False):
            with gr.Row():
                weights = tuple(
                    gr.Slider(0, 1, 1, step=0.05, label=f"Weight {number}", min_width=150)
                    for number in numbers
                )
            gr.Markdown(
                f"Draw on the photo where each style goes: {legend}. A style that is not drawn gets what is "
                "left; if none is, styles are blended everywhere. What belongs to no style stays a photo."
            )
            brushes = [_brush("Where each style goes in the photo", COLORS)]
            for number, color in zip(numbers, COLORS, strict=True):
                brushes.append(_brush(f"What is taken of style {number}: nothing drawn, all of it", [color]))
        photo, *styles = (
            dataclasses.replace(one, brush=brush)
            for one, brush in zip((photo, *styles), brushes, strict=True)
        )
        return photo, tuple(styles), weights

    def _build_picture(self, label: str, examples: str, names: Sequence[str]) -> _PictureInput:
        file = gr.State("")
        picture = gr.Image(
            label=label,
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard"],
            height=250,
            buttons=["fullscreen"],
            elem_classes="picture",
        )
        line = gr.HTML(padding=False)
        self._build_examples(examples, names, picture)
        return _PictureInput(file, picture, line)

    def _build_examples(self, label: str, names: Sequence[str], target: gr.Image) -> None:
        """Offer the example pictures of a checkout."""
        found = [EXAMPLES / name for name in names if (EXAMPLES / name).is_file()]
        if not found:
            return
        examples = gr.Gallery(
            [(str(preview(path, self._previews, longest=192)), _title(path)) for path in found],
            label=label,
            height="auto",
            object_fit="cover",
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_classes=["pictures", "examples"],
        )

        def choose(chosen: gr.SelectData) -> str:
            return self._copy(found[chosen.index])

        examples.select(choose, None, target, api_visibility="private", show_progress="hidden")

    def _build_outputs(self) -> _Outputs:
        status = gr.HTML(_line(NO_RUN), elem_id="status", padding=False)
        with gr.Tabs():
            with gr.Tab("Painting"):
                picture = gr.Image(
                    label="Painting", interactive=False, buttons=["fullscreen"], elem_id="painting"
                )
            with gr.Tab("Compare"):
                compare = gr.ImageSlider(
                    label="Photo and painting", interactive=False, buttons=["fullscreen"]
                )
            with gr.Tab("Losses"):
                plot = gr.LinePlot(
                    x="step",
                    y="loss",
                    color="of",
                    color_map=dict(zip(DRAWN, ("#7c3aed", "#0d9488", "#f97316"), strict=True)),
                    color_title=" ",
                    caption="violet: total; teal: content; orange: style",
                    title="Losses, as powers of ten",
                    x_title="step",
                    y_title="log₁₀ of the loss",
                    label="Losses",
                    height=320,
                    buttons=[],
                )
        with gr.Row(equal_height=True):
            stop = gr.Button(
                "Stop and keep", variant="stop", interactive=False, elem_id="stop", min_width=120
            )
            further = gr.Button("Paint further", interactive=False, elem_id="further", min_width=120)
            more = gr.Number(
                50, label="Iterations to add when finished", precision=0, minimum=0, min_width=120
            )
        with gr.Row():
            files = tuple(
                gr.DownloadButton(text, interactive=False, elem_id=f"download-{suffix}", min_width=90)
                for text, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tiff"))
            )
        command = gr.Textbox(
            label="The command for this painting, which gives the same bits",
            lines=3,
            max_lines=8,
            interactive=False,
            buttons=["copy"],
            elem_id="command",
        )
        note = gr.HTML(padding=False)
        take_over = gr.Button(
            "Take over the settings of this painting", interactive=False, elem_id="take-over"
        )
        return _Outputs(status, picture, compare, plot, stop, further, more, files, command, note, take_over)

    def _connect(self, blocks: gr.Blocks, inputs: _Inputs, outputs: _Outputs, earlier: gr.Gallery) -> None:
        session = gr.State(_Session())
        private = {"api_visibility": "private", "show_progress": "hidden"}
        shown = [*outputs.shown, earlier]
        for number, one in enumerate((inputs.photo, *inputs.styles)):
            canvas, accordion = one.brush.canvas, one.brush.accordion
            one.picture.change(
                functools.partial(self._take_picture, number),
                *([session, one.picture], [one.file, one.line, canvas]),
                preprocess=False,
                **private,
            )
            accordion.expand(functools.partial(_open_canvas, number), session, canvas, **private)
            accordion.collapse(functools.partial(_close_canvas, number), session, None, **private)
        inputs.paint.click(
            self._paint, [session, *inputs.values], [inputs.line, *shown], concurrency_limit=2, **private
        )
        outputs.stop.click(self._stop, [session], shown, **private)
        outputs.further.click(
            self._go_on, [session, outputs.more], [inputs.line, *shown], concurrency_limit=2, **private
        )
        outputs.take_over.click(self._take_over, [session], [inputs.line, *inputs.settings], **private)
        earlier.select(self._choose, [session], shown, **private)
        looking = {**private, "queue": False}
        gr.Timer(SECONDS_BETWEEN_LOOKS).tick(self._look, [session], shown, **looking)
        blocks.load(self._arrive, [session], shown, **looking)
        blocks.load(None, js=LABEL_COMMAND)

    def _take_picture(self, number: int, session: _Session, picture: dict[str, Any] | None) -> list[Any]:
        """Take an uploaded picture, the photo (0) or a style: its file, a line, what is drawn on."""
        if not picture or not picture.get("path"):
            return ["", "", session.draw(number, None)]
        path = Path(picture["path"])
        try:
            check_picture(str(path))
            if path.name in session.with_masks:
                session.with_masks.remove(path.name)
                return [str(path), "", gr.skip()]
            return [str(path), "", session.draw(number, self._drawing(str(path), [], []))]
        except TROUBLE as error:
            return ["", _mistake(error, path), session.draw(number, None)]

    def _paint(self, session: _Session, *values: Any) -> list[Any]:
        """Put what is asked for into the queue."""
        try:
            self._queue.check_room()
            run = plan(_request(values, session), self._place)
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
        run, progress = self._stored(session), self._queue.progress(session.name)
        updates = [
            session.changed("status", self._status(run, progress, session.name)),
            *self._look_at_picture(session, run),
            self._look_at_losses(session, run),
            *self._look_at_end(session, run, progress),
        ]
        return [*updates, self._look_at_gallery(session)]

    def _status(self, run: StoredRun | None, progress: Progress | None, name: str) -> str:
        shown = f"<b>{html.escape(name)}</b>"
        if progress is not None:
            return _progress_line(shown, progress)
        outcome = self._queue.outcome(name)
        if outcome is not None and outcome.status in ("failed", "in use"):
            line = outcome.line or "another process is painting it"
            return _line(f"{shown}: {html.escape(line)}", mistake=True)
        if run is None:
            stopped = outcome is not None
            return _line(f"{shown}: stopped before its first step." if stopped else NO_RUN)
        status = {
            "finished": "finished",
            "interrupted": "stopped, and saved: it can be painted further",
            "running": "was ended without warning: it can be painted further",
        }.get(run.status, html.escape(run.manifest.status))
        steps = f", {run.manifest.steps} steps" if run.manifest.steps else ""
        took = f" in {duration(run.manifest.seconds)}" if run.manifest.seconds else ""
        return _line(f"{shown}: {status}{steps}{took}.")

    def _look_at_picture(self, session: _Session, run: StoredRun | None) -> list[Any]:
        """Return picture and comparison."""
        result = run.result if run else None
        if result is None:
            return [session.changed("picture", None), session.changed("compare", None)]
        try:
            picture = preview(result, self._previews)
            if session.seen.get("picture") == str(picture):
                return [gr.skip(), gr.skip()]
            pair = None
            if run.photo is not None:
                with Image.open(picture) as opened:
                    longest = max(opened.size)
                pair = str(preview(run.photo, self._previews, longest=longest)), str(picture)
        except TROUBLE:
            # It is replaced, or was removed, at this moment.
            return [gr.skip(), gr.skip()]
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
        if session.seen.get("end") == key:
            return [gr.skip()] * 8
        session.seen["end"] = key
        idle = progress is None
        stop = "Stop at once" if progress and progress.stopping else "Stop and keep"
        files, command, note = [gr.update(value=None, interactive=False)] * 3, "", ""
        if idle and result is not None:
            with contextlib.suppress(*TROUBLE):
                files = [gr.update(value=str(path), interactive=True) for path in self._files(run, result)]
            try:
                command, note = gallery.command_of(run)
            except TROUBLE as error:
                note = line_of(error) or ""
        return [
            gr.update(interactive=not idle, value=stop),
            gr.update(interactive=idle and run is not None),
            *files,
            command,
            _line(html.escape(note)) if note else "",
            gr.update(interactive=run is not None),
        ]

    def _files(self, run: StoredRun, result: Path) -> list[Path]:
        """Return copies of a result as PNG, JPEG and TIFF, to be downloaded."""
        folder = self._temporary / "downloads" / f"{run.name}-{result.stat().st_mtime_ns}"
        folder.mkdir(parents=True, exist_ok=True)
        png, jpeg, tiff = (folder / f"{run.name}{suffix}" for suffix in (".png", ".jpg", ".tiff"))
        if not tiff.exists():
            shutil.copyfile(result, png)
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

    def _take_over(self, session: _Session) -> list[Any]:
        """Fill in the pictures, masks and settings of the run that is shown."""
        run = self._stored(session)
        try:
            if run is None:
                raise UserError("There is no painting to take settings from.")
            config, job = run.settings()
            filled = self._filled(session, config, job)
        except TROUBLE as error:
            return [_mistake(error), *[gr.skip()] * (2 + 3 * MOST_STYLES + 8)]
        session.base = config
        return [_line("Settings taken over; also those that the page has no control for."), *filled]

    def _filled(self, session: _Session, config: Config, job: Job) -> list[Any]:
        """Return the values of all controls for a run."""
        files = {role: self._copy(Path(path)) for role, path in job.pictures.items()}
        # Their masks come with them, and are not to be cleared when the pictures arrive.
        session.with_masks = {Path(file).name for role, file in files.items() if "mask" not in role}
        blend = config.loss.style_blend or config.loss.mask_weight or (1.0,) * len(job.style)
        masks = [files.get(role) for role in numbered("content_mask", MOST_STYLES)]
        drawing = self._drawing(files["content"], masks, COLORS)
        filled: list[Any] = [files["content"], session.draw(0, drawing)]
        for number, role in enumerate(numbered("style", MOST_STYLES)):
            file, mask = files.get(role), files.get(role.replace("style", "style_mask"))
            weight = blend[number] / max(blend) if number < len(blend) else 1.0
            drawing = self._drawing(file, [mask], COLORS[number : number + 1])
            filled += [file, weight, session.draw(number + 1, drawing)]
        return [
            *filled,
            *(config.preset, config.loss.strength, max(config.sizes.style_scale), config.sizes.image_size),
            *(config.colors, config.iterations, config.seed, job.bits == "16"),
        ]

    def _drawing(self, file: str | None, masks: Sequence[str | None], colors: Sequence[str]) -> Any:
        """Return what the brush draws on, with masks drawn already."""
        if file is None:
            return None
        canvas = preview(Path(file), self._previews, longest=LARGEST_CANVAS)
        with Image.open(canvas) as opened:
            size = opened.size[::-1]
        drawn = [None if mask is None else fit_mask(load_mask(mask)[0], size) >= 0.5 for mask in masks]
        layer = layer_of(drawn, colors)
        return {"background": str(canvas), "layers": [] if layer is None else [layer], "composite": None}

    def _copy(self, path: Path) -> str:
        """Return a copy of a file that Gradio may serve."""
        folder = self._temporary / "taken" / f"{path.stat().st_mtime_ns}"
        folder.mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(path, folder / path.name))


@dataclasses.dataclass(frozen=True)
class _Brush:
    """What is drawn on, and what hides it: a canvas that is filled while it is hidden has no size."""

    accordion: gr.Accordion
    canvas: gr.ImageEditor


@dataclasses.dataclass(frozen=True)
class _PictureInput:
    """A picture on the page: its checked file, what shows it, a line about it, and its brush."""

    file: gr.State
    picture: gr.Image
    line: gr.HTML
    brush: _Brush | None = None


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What can be chosen; `controls` are preset, strength and so on, in the order of `_request`."""

    photo: _PictureInput
    styles: tuple[_PictureInput, ...]
    weights: tuple[gr.Slider, ...]
    controls: tuple[gr.components.Component, ...]
    paint: gr.Button | None = None
    line: gr.HTML | None = None

    @property
    def values(self) -> list[gr.components.Component]:
        """What `_request` takes."""
        pairs = zip(self.styles, self.weights, strict=True)
        styles = [one for style, weight in pairs for one in (style.file, weight, style.brush.canvas)]
        return [self.photo.file, self.photo.brush.canvas, *styles, *self.controls]

    @property
    def settings(self) -> list[gr.components.Component]:
        """What `Page._filled` gives."""
        pairs = zip(self.styles, self.weights, strict=True)
        styles = [one for style, weight in pairs for one in (style.picture, weight, style.brush.canvas)]
        return [self.photo.picture, self.photo.brush.canvas, *styles, *self.controls]


@dataclasses.dataclass(frozen=True)
class _Outputs:
    """What shows a run."""

    status: gr.HTML
    picture: gr.Image
    compare: gr.ImageSlider
    plot: gr.LinePlot
    stop: gr.Button
    further: gr.Button
    more: gr.Number
    files: tuple[gr.DownloadButton, ...]
    command: gr.Textbox
    note: gr.HTML
    take_over: gr.Button

    @property
    def shown(self) -> list[gr.components.Component]:
        """What `Page._look` gives, but for the gallery."""
        first = [self.status, self.picture, self.compare, self.plot, self.stop, self.further]
        return [*first, *self.files, self.command, self.note, self.take_over]


@dataclasses.dataclass
class _Session:
    """What a browser looks at.

    Attributes:
        name: Of the run, or `""`.
        seen: What it was shown last, so that only changes are sent.
        gallery: Names of the runs, in the order in which it was shown them.
        base: Settings that were taken over from a run.
        with_masks: Names of pictures that were taken over and are yet to arrive.
        open_canvases: Numbers of the pictures whose canvas can be seen: 0 for the photo, then the styles.
        drawings: Number → what a canvas shows when it is opened next.
    """

    name: str = ""
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)
    gallery: list[str] = dataclasses.field(default_factory=list)
    base: Config | None = None
    with_masks: set[str] = dataclasses.field(default_factory=set)
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
    """Return what the controls ask for, from their values in the order of `_Inputs.values`."""
    photo, regions, *rest = values
    regions = session.drawings.get(0, regions)
    pictures, controls = rest[: 3 * MOST_STYLES], rest[3 * MOST_STYLES :]
    preset, strength, stroke_size, image_size, colors, iterations, seed, deep_colors = controls
    drawn = strokes(_layers(regions), COLORS)
    styles = []
    for number in range(MOST_STYLES):
        file, weight, origin = pictures[3 * number : 3 * number + 3]
        origin = session.drawings.get(number + 1, origin)
        if file:
            [part] = strokes(_layers(origin), COLORS[number : number + 1])
            styles.append(Style(file, weight, drawn[number], part))
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


def _title(path: Path) -> str:
    return path.stem.replace("_", " ")


def _layers(drawing: dict[str, Any] | None) -> list[np.ndarray]:
    return [layer for layer in (drawing or {}).get("layers") or [] if layer is not None]


def _brush(label: str, colors: Sequence[str]) -> _Brush:
    with gr.Accordion(label, open=False) as accordion:
        canvas = gr.ImageEditor(
            label=label,
            show_label=False,
            type="numpy",
            format="png",
            sources=(),
            transforms=(),
            layers=False,
            brush=gr.Brush(default_size=40, colors=list(colors), color_mode="fixed"),
            eraser=gr.Eraser(default_size=40),
            canvas_size=(LARGEST_CANVAS, LARGEST_CANVAS),
            buttons=[],
            elem_classes="canvas",
        )
    return _Brush(accordion, canvas)


def _line(text: str, *, mistake: bool = False) -> str:
    """Return a line of the page; a screen reader says it when it changes."""
    role = 'role="alert"' if mistake else 'role="status"'
    return f'<div class="line{" mistake" if mistake else ""}" {role}>{text}</div>'


def _mistake(error: Exception, path: Path | None = None) -> str:
    """Return the line about an error; a path of a temporary file is said as its name."""
    text = line_of(error) or str(error)
    if path is not None:
        text = text.replace(str(path), path.name)
    return _line(html.escape(text), mistake=True)


def _progress_line(shown: str, progress: Progress) -> str:
    if progress.place:
        before = "1 painting is" if progress.place == 1 else f"{progress.place} paintings are"
        return _line(f"{shown}: waiting, {before} before it.")
    if progress.stopping:
        return _line(f"{shown}: stopping after this step …")
    if not progress.step:
        return _line(f"{shown}: starting …")
    left = "" if progress.seconds_left is None else f", {duration(progress.seconds_left)} left"
    bar = f'<progress aria-label="steps" max="{progress.planned}" value="{progress.step}"></progress>'
    return _line(f"{shown}: step {progress.step} of {progress.planned}{left}{bar}")


def _theme() -> gr.themes.Base:
    """Return a theme whose fonts every system has."""
    theme = gr.themes.Default(
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    # The default's are too pale to be read.
    return theme.set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")

"""The behaviour of the page: what its controls do, and how it shows a run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import html
import logging
import math
import shutil
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import numpy as np
import pandas as pd
from gradio_client.utils import is_file_obj_with_meta, traverse
from PIL import Image
from starlette.middleware import Middleware

from neural_style_tf.app import gallery, layout
from neural_style_tf.app.api import TROUBLE, Api, RunStatus
from neural_style_tf.app.gallery import StoredRun
from neural_style_tf.app.guard import HOSTS, PARAMETER, Guard, host_of
from neural_style_tf.app.layout import DRAWN, LARGEST_CANVAS, NO_RUN, Layout, status_line
from neural_style_tf.app.pictures import check_picture, layer_of, preview, strokes
from neural_style_tf.app.queue import RunQueue
from neural_style_tf.app.requests import LARGEST_UPLOAD, MOST_STYLES, Request, Style, plan
from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.schema import Config, Job, numbered
from neural_style_tf.errors import UserError
from neural_style_tf.images import deep, load_image, save_image
from neural_style_tf.images.masks import fit_mask, load_mask
from neural_style_tf.jobs.error_messages import line_of
from neural_style_tf.jobs.task import Task
from neural_style_tf.utils.console import duration
from neural_style_tf.utils.files import atomic_path

SECONDS_BETWEEN_LOOKS = 1.0
ANY_ADDRESS = "0.0.0.0"
"""Stands for all addresses of this machine."""

Changes = dict[gr.blocks.Block, Any]
"""The new value of each part of the page that changes; other parts stay as they are."""
Values = Mapping[gr.blocks.Block, Any]
"""The value of each control."""


@dataclasses.dataclass
class Browser:
    """The state of one browser window: which run it shows, and what was sent to it."""

    name: str = ""  # of the run that is shown, or `""`
    # For each part of the page, what it was made from. Only changed parts are sent.
    shown: dict[str, Any] = dataclasses.field(default_factory=dict)
    # Names of the runs in the order of the gallery.
    gallery: list[str] = dataclasses.field(default_factory=list)
    files: list[Path] = dataclasses.field(default_factory=list)
    base: Config | None = None  # settings that were taken over from a run
    # By the number of a picture (0: the photo), what its canvas shows when it is opened next. It is filled
    # only then, since a canvas that is filled while it is hidden has no size.
    drawings: dict[int, Any] = dataclasses.field(default_factory=dict)

    def view(self, name: str) -> None:
        """Show run `name` from now on; all parts of the page are sent again."""
        self.name = name
        self.shown = {}

    def needs(self, part: str, source: Any) -> bool:
        """Return whether a part of the page must be sent, since `source` differs from the last time."""
        known = part in self.shown and self.shown[part] == source
        self.shown[part] = source
        return not known


class Page:
    """The page and its queue of runs, which `make_queue` makes once the page is built.

    `base` has the output folder and the network of all runs. `temporary` is a folder for uploads, previews
    and downloads, whose files Gradio serves.
    """

    def __init__(self, base: Job, temporary: Path, make_queue: Callable[[], RunQueue]) -> None:
        self._base, self._output_dir, self._temporary = base, Path(base.output_dir), temporary
        self._previews = temporary / "previews"
        self._api = Api(base, temporary, lambda: self._queue)
        with gr.Blocks(
            title="neural-style-tf", analytics_enabled=False, delete_cache=(3600, 24 * 3600)
        ) as self.blocks:
            self._parts = Layout()
            self._connect()
            self._api.connect()
        _refuse_addresses(self.blocks)
        self._queue = make_queue()

    def launch(
        self,
        port: int | None,
        *,
        browser: bool = False,
        share: bool = False,
        hosts: Sequence[str] = (),
        listen: str = HOSTS[0],
        token: str = "",
    ) -> str:
        """Serve the page in a thread; return its address. The options are those of docs/app.md.

        Without a `port` it is the first free one from 7860. A whole URL among `hosts`, such as
        `https://hub.example/user/me/proxy/7860`, also becomes the address of the page for browsers. With a
        `token` no `browser` is opened: other users can see its command line.
        """
        names = {*map(host_of, hosts), *({listen} - {HOSTS[0], ANY_ADDRESS})}
        public = next((name for name in hosts if "://" in name), None)
        # These log an error for each browser that closes its connection.
        for name in ("httpx", "uvicorn.error", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        _, local, shared = self.blocks.launch(
            server_name=listen,
            server_port=port,
            share=share,
            root_path=public,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,
            max_file_size=LARGEST_UPLOAD,
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
                "routes": self._api.routes(),
                "middleware": [
                    Middleware(Guard, names=names, token=token, path=urlsplit(public or "").path or "/")
                ],
            },
        )
        if shared:
            names.add(host_of(shared))
        address = shared or public or local
        if token:
            address = f"{address}?{PARAMETER}={token}"
        if browser and not token:
            webbrowser.open(address)
        return address

    def close(self) -> None:
        """End the server, save the run that is being painted, and end the process that paints."""
        with contextlib.suppress(Exception):
            self.blocks.close(verbose=False)
        self._queue.close()

    def _connect(self) -> None:
        """Connect each control to the method that handles it."""
        parts, browser = self._parts, gr.State(Browser())
        private = {"api_visibility": "private", "show_progress": "hidden"}
        for number, picture in enumerate(parts.pictures):
            changed = {"outputs": picture.shown, **private}
            take, clear = (
                functools.partial(handler, number) for handler in (self._take_upload, self._show_picture)
            )
            picture.file.upload(take, [browser, picture.file], preprocess=False, **changed)
            picture.preview.clear(clear, browser, **changed)
            if picture.examples:
                picture.examples.select(self._chooser(number), browser, **changed)
            picture.brush.expand(functools.partial(_drawing, number), browser, picture.canvas, **private)
        canvases = [part for picture in parts.pictures for part in (picture.path, picture.canvas)]
        controls = [*parts.weights, *parts.settings.values()]
        submitted = {"outputs": [parts.mistake, *parts.shown], "concurrency_limit": 2, **private}
        paint = functools.partial(self._paint, browser)
        parts.paint.click(paint, {browser, *canvases, *controls}, **submitted)
        parts.further.click(self._go_on, [browser, parts.more], **submitted)
        filled = [*(part for picture in parts.pictures for part in picture.shown), *controls]
        parts.take_over.click(self._take_over, browser, [parts.mistake, *filled], **private)
        parts.stop.click(self._stop, browser, parts.shown, **private)
        parts.earlier.select(self._choose, browser, parts.shown, **private)
        looking = {"inputs": browser, "outputs": parts.shown, "queue": False, **private}
        gr.Timer(SECONDS_BETWEEN_LOOKS).tick(self._look, **looking)
        self.blocks.load(self._arrive, **looking)
        self.blocks.load(None, js=layout.SCRIPT)

    def _take_upload(self, number: int, browser: Browser, file: dict[str, Any]) -> Changes:
        return self._take_picture(number, browser, Path(file["path"]))

    def _chooser(self, number: int) -> Callable[..., Changes]:
        """Return the handler that takes an example as picture `number`.

        It is a plain function, since Gradio reads type annotations only from these.
        """

        def choose(browser: Browser, chosen: gr.SelectData) -> Changes:
            return self._take_picture(number, browser, self._parts.pictures[number].offered[chosen.index])

        return choose

    def _take_picture(self, number: int, browser: Browser, path: Path) -> Changes:
        """Return the changes that show a file as the photo (number 0) or as a style (numbers from 1).

        If the file cannot be read, the changes show no picture, but a line that says what is wrong.
        """
        try:
            check_picture(str(path))
            return self._show_picture(number, browser, path)
        except TROUBLE as error:
            line = _mistake(error, path)
            return self._show_picture(number, browser) | {self._parts.pictures[number].line: line}

    def _show_picture(
        self, number: int, browser: Browser, path: Path | None = None, masks: Sequence[str | None] = ()
    ) -> Changes:
        """Return the changes that show picture `path`, or no picture if it is None.

        `masks` are files, one for each colour of the brush, which are drawn on the picture's canvas.
        """
        part, shown = self._parts.pictures[number], path and preview(path, self._previews)
        drawing = None
        if shown:
            with Image.open(preview(shown, self._previews, longest=LARGEST_CANVAS)) as opened:
                canvas = np.asarray(opened)
            size = canvas.shape[:2]
            drawn = [fit_mask(load_mask(mask)[0], size) >= 0.5 if mask else None for mask in masks]
            layer = layer_of(drawn, part.colors)
            layers = [] if layer is None else [layer]
            drawing = {"background": canvas, "layers": layers, "composite": None}
        browser.drawings[number] = drawing
        return {
            part.path: str(path or ""),
            part.line: "",
            part.file: gr.update(value=None, visible=path is None),
            part.preview: gr.update(value=shown and str(shown), visible=path is not None),
            part.brush: gr.update(open=False),
        }

    def _paint(self, state: gr.State, values: Values) -> Changes:
        """Queue the run that the controls ask for."""
        browser = values[state]
        return self._submit(browser, lambda: plan(self._request(browser, values), self._base))

    def _go_on(self, browser: Browser, more: float | None) -> Changes:
        """Queue the run that is shown, to be continued by `more` iterations if it is finished."""
        return self._submit(browser, lambda: gallery.go_on(self._run_shown(browser), int(more or 0)))

    def _submit(self, browser: Browser, make_task: Callable[[], Task]) -> Changes:
        mistake = ""
        try:
            browser.view(self._queue.add(make_task))
        except TROUBLE as error:
            mistake = _mistake(error)
        return {self._parts.mistake: mistake} | self._changes(browser)

    def _request(self, browser: Browser, values: Values) -> Request:
        parts, masks = self._parts, []
        for number, picture in enumerate(parts.pictures):
            canvas = browser.drawings.get(number, values[picture.canvas]) or {}
            # The canvas has a single layer.
            layer = next((layer for layer in canvas.get("layers") or [] if layer is not None), None)
            masks.append(strokes(layer, picture.colors))
        regions, *origins = masks
        photo, *files = (values[picture.path] for picture in parts.pictures)
        weights = [values[weight] for weight in parts.weights]
        styles = [
            Style(file, weight, region, origin)
            for file, weight, region, [origin] in zip(files, weights, regions, origins, strict=True)
            if file
        ]
        settings = {name: values[control] for name, control in parts.settings.items()}
        bits = "16" if settings.pop("bits") else "8"
        return Request(photo, tuple(styles), settings, bits, browser.base)

    def _stop(self, browser: Browser) -> Changes:
        self._queue.stop(browser.name)
        return self._look(browser)

    def _choose(self, browser: Browser, chosen: gr.SelectData) -> Changes:
        """Show the run that was clicked in the gallery."""
        if isinstance(chosen.index, int) and 0 <= chosen.index < len(browser.gallery):
            browser.view(browser.gallery[chosen.index])
        return self._look(browser)

    def _arrive(self, browser: Browser) -> Changes:
        """Show the run that is being painted, or the newest painting, in a browser that opens the page."""
        stored = (run.path.name for run in gallery.find_runs(self._output_dir))
        browser.view(next(iter(self._queue.line()), None) or next(stored, ""))
        return self._look(browser)

    def _look(self, browser: Browser) -> Changes:
        # Gradio takes an empty dictionary for a value, not for "no changes".
        return self._changes(browser) or gr.skip()

    def _changes(self, browser: Browser) -> Changes:
        """Return the changes of the page since this browser was last updated."""
        # The system may have removed the temporary folder. Only this user may write into it.
        self._temporary.mkdir(0o700, parents=True, exist_ok=True)
        run, changes = self._api.stored(browser.name), {}
        status = self._status(browser.name)
        try:
            changes |= self._changed_picture(browser, run)
        except FileNotFoundError:
            # The picture is just being replaced or removed; the next look will show it.
            pass
        except TROUBLE as error:
            status += _mistake(error)
        if browser.needs("status", status):
            changes[self._parts.status] = status
        for part in (self._changed_losses, self._changed_end):
            changes |= part(browser, run)
        return changes | self._changed_gallery(browser)

    def _run_shown(self, browser: Browser) -> StoredRun:
        run = self._api.stored(browser.name)
        if run is None:
            raise UserError("There is no painting yet.")
        return run

    def _status(self, name: str) -> str:
        shown, status = f"<b>{html.escape(name)}</b>", self._api.find(name)
        if status is None:
            return status_line(NO_RUN)
        if not status.done and status.status != "running":
            return status_line(f"{shown}: {_progress(status)}")
        if status.line:
            return status_line(f"{shown}: {html.escape(status.line)}", mistake=status.status == "failed")
        words = {
            "interrupted": "stopped, and saved: it can be painted further",
            "running": "another process is painting it",
            "ended": "was ended without warning: it can be painted further",
        }.get(status.status, status.status)
        steps = f", {status.step} steps" if status.step else ""
        took = f" in {duration(status.seconds)}" if status.seconds else ""
        return status_line(f"{shown}: {words}{steps}{took}.")

    def _changed_picture(self, browser: Browser, run: StoredRun | None) -> Changes:
        """Return the changes of the picture, the comparison with the photo, and the regions."""
        result = run.result if run else None
        picture = result and preview(result, self._previews)
        if not browser.needs("picture", picture):
            return {}
        pair = regions = None
        with contextlib.suppress(*TROUBLE):
            regions = run and run.regions and str(preview(run.regions, self._previews))
        # If the photo is gone, the painting is shown without it.
        with contextlib.suppress(*TROUBLE):
            if picture and run.photo:
                with Image.open(picture) as opened:
                    longest = max(opened.size)
                pair = str(preview(run.photo, self._previews, longest=longest)), str(picture)
        return {
            self._parts.picture: picture and str(picture),
            self._parts.compare: pair,
            self._parts.regions: regions,
        }

    def _changed_losses(self, browser: Browser, run: StoredRun | None) -> Changes:
        rows = run.losses() if run else ()
        if not browser.needs("losses", rows[-1:]):
            return {}
        points = [
            {"step": row["step"], "loss": math.log10(row[name]), "of": name}
            for row in rows
            for name in DRAWN
            if row.get(name, 0) > 0
        ]
        return {self._parts.plot: pd.DataFrame(points, columns=["step", "loss", "of"])}

    def _changed_end(self, browser: Browser, run: StoredRun | None) -> Changes:
        """Return the changes of buttons, files and command, which depend on whether the run has ended."""
        parts, queued = self._parts, self._queue.find(browser.name)
        busy = queued is not None and queued.outcome is None
        stopping = busy and queued.stops > 0
        result = run.result if run and not busy else None
        status = (run.manifest.status, run.manifest.steps) if run else None
        source = (busy, stopping, status, result and result.stat().st_mtime_ns)
        # Gradio deletes the files after a day; then they are made again.
        if not browser.needs("end", source) and all(path.exists() for path in browser.files):
            return {}
        files, command, note = [], "", ""
        if result:
            with contextlib.suppress(*TROUBLE):
                files = self._files(run, result)
            try:
                command, note = gallery.command_of(run)
            except TROUBLE as error:
                note = line_of(error) or ""
        browser.files = files
        values = files or [None] * len(parts.files)
        return {
            parts.stop: gr.update(interactive=busy, value="Stop at once" if stopping else "Stop and keep"),
            parts.further: gr.update(interactive=not busy and run is not None),
            **{
                button: gr.update(value=path and str(path), interactive=path is not None)
                for button, path in zip(parts.files, values, strict=True)
            },
            parts.command: command,
            parts.note: status_line(html.escape(note)) if note else "",
            parts.take_over: gr.update(interactive=run is not None),
        }

    def _files(self, run: StoredRun, result: Path) -> list[Path]:
        """Return copies of `result` as PNG, JPEG and TIFF for download; make them if they do not exist."""
        name = run.path.name
        folder = self._temporary / "downloads" / f"{name}-{result.stat().st_mtime_ns}"
        folder.mkdir(parents=True, exist_ok=True)
        png, jpeg, tiff = files = [folder / f"{name}{suffix}" for suffix in (".png", ".jpg", ".tiff")]
        if not all(path.exists() for path in files):
            with atomic_path(png) as copy:
                shutil.copyfile(result, copy)
            picture = load_image(png, keep_profile=True)
            bits = int(run.settings()[1].bits) if deep.is_installed() else 8
            kept = {"profile": picture.profile, "dpi": picture.dpi}
            save_image(jpeg, picture.pixels, **kept)
            save_image(tiff, picture.pixels, alpha=picture.alpha, bits=bits, **kept)
        return files

    def _changed_gallery(self, browser: Browser) -> Changes:
        line = self._queue.line()
        runs = [run for run in gallery.find_runs(self._output_dir) if run.path.name not in line]
        if not browser.needs("gallery", [(run.path, run.status, run.manifest.steps) for run in runs]):
            return {}
        pictures = []
        for run in runs:
            with contextlib.suppress(*TROUBLE):
                pictures.append((str(preview(run.result, self._previews, longest=256)), run.path.name))
        browser.gallery = [name for _, name in pictures]
        return {self._parts.earlier: pictures}

    def _take_over(self, browser: Browser) -> Changes:
        """Fill the controls with the pictures, masks and settings of the run that is shown."""
        try:
            config, job = self._run_shown(browser).settings()
            changes = self._filled(browser, config, job)
        except TROUBLE as error:
            return {self._parts.mistake: _mistake(error)}
        browser.base = config
        lost = _not_taken_over(config, job)
        line = f"Settings taken over, but for {', '.join(lost)}." if lost else "Settings taken over."
        return changes | {self._parts.mistake: status_line(html.escape(line), mistake=bool(lost))}

    def _filled(self, browser: Browser, config: Config, job: Job) -> Changes:
        """Return the changes that put the pictures and settings of a run into the controls."""
        parts, files = self._parts, job.pictures
        masks = [files.get(role) for role in numbered("content_mask", MOST_STYLES)]
        changes = self._show_picture(0, browser, Path(job.content), masks)
        for number, role in enumerate(numbered("style", MOST_STYLES), 1):
            path = Path(files[role]) if role in files else None
            mask = files.get(role.replace("style", "style_mask"))
            changes |= self._show_picture(number, browser, path, [mask])
        blend = config.loss.style_blend or config.loss.mask_weight or (1.0,)
        weights = [*(weight / max(blend) for weight in blend), *[1.0] * MOST_STYLES]
        changes |= dict(zip(parts.weights, weights, strict=False))
        settings = flat(config) | {
            "style_scale": max(config.sizes.style_scale),
            "bits": job.bits == "16",
        }
        return changes | {control: settings[name] for name, control in parts.settings.items()}


def _drawing(number: int, browser: Browser) -> Any:
    return browser.drawings.pop(number, gr.skip())


def _not_taken_over(config: Config, job: Job) -> list[str]:
    """Return the settings of a run that the page has no control for, in words for a message."""
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
    """Return an error as a line of the page, in which `path` is shortened to its file name."""
    text = line_of(error) or str(error)
    if path is not None:
        text = text.replace(str(path), path.name)
    return status_line(html.escape(text), mistake=True)


def _progress(status: RunStatus) -> str:
    """Return the status text of a run that waits, or is being painted."""
    if before := status.before:
        return f"waiting, {'1 painting is' if before == 1 else f'{before} paintings are'} before it."
    if status.status == "stopping":
        return "stopping after this step …"
    if not status.steps:
        return "starting …"
    left = "" if status.seconds_left is None else f", {duration(status.seconds_left)} left"
    bar = f'<progress aria-label="steps" max="{status.steps}" value="{status.step}"></progress>'
    return f"step {status.step} of {status.steps}{left}{bar}"


def _refuse_addresses(blocks: gr.Blocks) -> None:
    """Let `blocks` refuse a file that a client names by a URL, which Gradio would download."""
    usual = blocks.preprocess_data

    def check(file: dict[str, Any]) -> dict[str, Any]:
        if not Path(file["path"]).is_absolute():
            raise gr.Error("a picture must be an uploaded file", print_exception=False)
        return file

    async def preprocess(block_fn: Any, inputs: list[Any], *others: Any) -> list[Any]:
        return await usual(block_fn, traverse(inputs, check, is_file_obj_with_meta), *others)

    blocks.preprocess_data = preprocess

"""What stands on the page and where: its controls, what shows a run, and how they look."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from neural_style_tf.app.queue import MOST_WAITING
from neural_style_tf.app.requests import MOST_STYLES
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.images import deep

LARGEST_UPLOAD = "100mb"
LARGEST_CANVAS = 800
"""Longest side of what is drawn on with the brush, in pixels."""
COLORS = ("#e4572e", "#2e86ab", "#7cb518")
"""Of the brush: one for each style."""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
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
NO_RUN = "Nothing painted yet."
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
SCRIPT = """() => {
  document.querySelector('#command textarea').setAttribute('aria-label', 'Command');
  document.addEventListener('paste', event => {
    const input = document.querySelector('.picture:hover input[type=file]');
    if (!input || !event.clipboardData.files.length) return;
    input.files = event.clipboardData.files;
    input.dispatchEvent(new Event('change'));
  });
}"""
"""Gradio gives the label of the command to the button that copies, and its files cannot be pasted."""


@dataclasses.dataclass(frozen=True)
class Brush:
    """What is drawn on, and what hides it: a canvas that is filled while it is hidden has no size."""

    accordion: gr.Accordion
    canvas: gr.ImageEditor


@dataclasses.dataclass(frozen=True)
class PictureInput:
    """A picture on the page.

    Gradio's image takes only what the browser says is one, and leaves showing it to the browser. So a file of
    any kind is taken, and a preview is shown in its place.

    Attributes:
        path: Of the checked file, or `""`.
        file: Takes a file; there while there is no picture.
        preview: Shows the picture; there while there is one.
        line: What is wrong with the file.
        examples: Pictures to choose from, if there are any.
        offered: Their files.
        brush: Draws on the picture.
    """

    path: gr.State
    file: gr.File
    preview: gr.Image
    line: gr.HTML
    examples: gr.Gallery | None
    offered: tuple[Path, ...]
    brush: Brush | None = None

    @property
    def shown(self) -> list[gr.components.Component]:
        """What changes with the picture."""
        return [self.path, self.line, self.file, self.preview, self.brush.canvas]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What can be chosen; `controls` are preset, strength and so on, in the order of `Request`."""

    photo: PictureInput
    styles: tuple[PictureInput, ...]
    weights: tuple[gr.Slider, ...]
    controls: tuple[gr.components.Component, ...]

    @property
    def pictures(self) -> tuple[PictureInput, ...]:
        """The photo, then the styles."""
        return (self.photo, *self.styles)

    @property
    def values(self) -> list[gr.components.Component]:
        """What a request is made of: of each picture its path and its canvas, the weights, the controls."""
        pictures = [part for one in self.pictures for part in (one.path, one.brush.canvas)]
        return [*pictures, *self.weights, *self.controls]

    @property
    def settings(self) -> list[gr.components.Component]:
        """What is filled in when the settings of a run are taken over."""
        return [*(part for one in self.pictures for part in one.shown), *self.weights, *self.controls]


@dataclasses.dataclass(frozen=True)
class Outputs:
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
        """What changes with the run that is shown."""
        first = [self.status, self.picture, self.compare, self.plot, self.stop, self.further]
        return [*first, *self.files, self.command, self.note, self.take_over]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Everything on the page that something happens to."""

    inputs: Inputs
    paint: gr.Button
    line: gr.HTML
    outputs: Outputs
    earlier: gr.Gallery

    @property
    def shown(self) -> list[gr.components.Component]:
        """What `Page` looks after: all of a run, and the gallery."""
        return [*self.outputs.shown, self.earlier]


def build() -> Layout:
    """Put everything on the page; to be called where blocks are being made."""
    gr.Markdown(
        "# neural-style-tf\nPaint a photo in the style of a picture. Nothing leaves this machine.",
        elem_id="title",
    )
    with gr.Row():
        with gr.Column(scale=6, min_width=320):
            inputs = _inputs()
        with gr.Column(scale=6, min_width=320, elem_id="painting-column"):
            paint = gr.Button("Paint", variant="primary", size="lg", elem_id="paint")
            line = gr.HTML(elem_id="mistake", padding=False)
            outputs = _outputs()
    with gr.Accordion("Earlier paintings", open=True):
        earlier = _gallery(None, "Earlier paintings, the newest first", "earlier", show_label=False)
    gr.Markdown(
        f"Limits: pictures up to {LARGEST_UPLOAD.upper()}, {MOST_STYLES} styles, one painting at a "
        f"time, {MOST_WAITING} in line. Closing this page does not stop a painting."
    )
    return Layout(inputs, paint, line, outputs, earlier)


def status_line(text: str, *, mistake: bool = False) -> str:
    """Return a line of the page; a screen reader says it when it changes."""
    role = 'role="alert"' if mistake else 'role="status"'
    return f'<div class="line{" mistake" if mistake else ""}" {role}>{text}</div>'


def theme() -> gr.themes.Base:
    """Return a theme whose fonts every system has."""
    chosen = gr.themes.Default(
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    # The default's are too pale to be read.
    return chosen.set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")


def _inputs() -> Inputs:
    with gr.Row():
        with gr.Column(min_width=280):
            photo = _picture("Photo", "Example photos", PHOTOS)
        with gr.Column(min_width=280), gr.Tabs():
            styles = []
            for number in range(1, MOST_STYLES + 1):
                with gr.Tab(f"Style {number}"):
                    label = f"Style {number}" + (" (optional)" if number > 1 else "")
                    styles.append(_picture(label, "Example styles", PAINTINGS))
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
    photo, styles, weights = _directing(photo, styles)
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
    return Inputs(photo, styles, weights, controls)


def _directing(
    photo: PictureInput, styles: Sequence[PictureInput]
) -> tuple[PictureInput, tuple[PictureInput, ...], tuple[gr.Slider, ...]]:
    """Return the pictures with their brushes, and the weights of the styles."""
    numbers = range(1, MOST_STYLES + 1)
    legend = ", ".join(
        f'<span style="color:{color}">■</span> style {number}'
        for number, color in zip(numbers, COLORS, strict=True)
    )
    with gr.Accordion("Several styles and masks", open=False):
        with gr.Row():
            weights = tuple(
                gr.Slider(0, 1, 1, step=0.05, label=f"Weight {number}", min_width=150) for number in numbers
            )
        gr.Markdown(
            f"Draw on the photo where each style goes: {legend}. A style that is not drawn gets what is "
            "left; if none is, styles are blended everywhere. What belongs to no style stays a photo."
        )
        brushes = [_brush("Where each style goes in the photo", COLORS)]
        for number, color in zip(numbers, COLORS, strict=True):
            brushes.append(_brush(f"What is taken of style {number}: nothing drawn, all of it", [color]))
    photo, *styles = (
        dataclasses.replace(one, brush=brush) for one, brush in zip((photo, *styles), brushes, strict=True)
    )
    return photo, tuple(styles), weights


def _picture(label: str, offers: str, names: Sequence[str]) -> PictureInput:
    path = gr.State("")
    with gr.Column(elem_classes="picture"):
        file = gr.File(label=label, height=250)
        preview = gr.Image(
            label=label,
            visible=False,
            interactive=True,
            sources=["upload"],
            height=250,
            buttons=["fullscreen"],
        )
    line = gr.HTML(padding=False)
    offered = tuple(EXAMPLES / name for name in names if (EXAMPLES / name).is_file())
    examples = None
    if offered:
        # They are served from where they are.
        gr.set_static_paths(list(offered))
        titles = [(str(one), one.stem.replace("_", " ")) for one in offered]
        examples = _gallery(titles, offers, "examples")
    return PictureInput(path, file, preview, line, examples, offered)


def _gallery(
    pictures: Sequence[tuple[str, str]] | None, label: str, kind: str, *, show_label: bool | None = None
) -> gr.Gallery:
    """Return pictures to choose one from, each with its title; `kind` is their class in `CSS`."""
    return gr.Gallery(
        pictures,
        label=label,
        show_label=show_label,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        elem_classes=["pictures", kind],
    )


def _brush(label: str, colors: Sequence[str]) -> Brush:
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
    return Brush(accordion, canvas)


def _outputs() -> Outputs:
    status = gr.HTML(status_line(NO_RUN), elem_id="status", padding=False)
    with gr.Tabs():
        with gr.Tab("Painting"):
            picture = gr.Image(
                label="Painting", interactive=False, buttons=["fullscreen"], elem_id="painting"
            )
        with gr.Tab("Compare"):
            compare = gr.ImageSlider(label="Photo and painting", interactive=False, buttons=["fullscreen"])
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
        stop = gr.Button("Stop and keep", variant="stop", interactive=False, elem_id="stop", min_width=120)
        further = gr.Button("Paint further", interactive=False, elem_id="further", min_width=120)
        more = gr.Number(50, label="Iterations to add when finished", precision=0, minimum=0, min_width=120)
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
    take_over = gr.Button("Take over the settings of this painting", interactive=False, elem_id="take-over")
    return Outputs(status, picture, compare, plot, stop, further, more, files, command, note, take_over)

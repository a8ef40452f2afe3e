"""The layout of the page: its controls, the parts that show a run, and their style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from neural_style_tf.app.queue import MOST_WAITING
from neural_style_tf.app.requests import LARGEST, LARGEST_UPLOAD, MOST_STYLES
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import QUALITIES
from neural_style_tf.images import deep

LARGEST_CANVAS = 800
"""Longest side, in pixels, of the canvas that the brush draws on."""
BRUSH_COLORS = ("#e4572e", "#2e86ab", "#7cb518")
"""Colours of the brush, one for each style."""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
"""Folder of the example pictures, which exists only in a checkout of the repository."""
PHOTOS = ("chelsea.jpg", "coffee.jpg", "astronaut.jpg", "rocket.jpg")
PAINTINGS = ("starry_night.jpg", "mosaic.jpg", "watercolour.jpg", "ink.jpg", "strokes.jpg")
DRAWN = ("total", "content", "style")
"""Losses that the plot shows."""
MATCH_CHOICES = [("as a whole", "none"), ("by regions that match", "regions")]
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
"""Mends two faults of Gradio: it labels the copy button, not the command, and takes no pasted files."""


class PictureInput:
    """The controls for one picture: the photo, or a style.

    Gradio's image control accepts only files that the browser recognises as pictures, and the browser must be
    able to show them. So `file` accepts any file, and `preview` replaces it with a JPEG of the picture. The
    `canvas`, which the brush draws on, lies in the accordion `brush`, which is closed at first and rendered
    in another place.
    """

    def __init__(
        self, label: str, examples: str, names: Sequence[str], drawn: str, colors: Sequence[str]
    ) -> None:
        self.colors, self.path = colors, gr.State("")
        with gr.Column(elem_classes="picture"):
            self.file = gr.File(label=label, height=250)
            self.preview = gr.Image(
                label=label,
                visible=False,
                interactive=True,
                sources=["upload"],
                height=250,
                buttons=["fullscreen"],
            )
        self.line = gr.HTML(padding=False)
        self.offered = [EXAMPLES / name for name in names if (EXAMPLES / name).is_file()]
        self.examples = None
        if self.offered:
            # Gradio serves these files without a copy.
            gr.set_static_paths(self.offered)
            titles = [(str(path), path.stem.replace("_", " ")) for path in self.offered]
            self.examples = _gallery(titles, examples, "examples")
        self.brush = gr.Accordion(drawn, open=False, render=False)
        with self.brush:
            self.canvas = gr.ImageEditor(
                label=drawn,
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

    @property
    def shown(self) -> list[gr.blocks.Block]:
        """The parts of the page that change with the picture."""
        return [self.path, self.line, self.file, self.preview, self.brush]


class Layout:
    """All parts of the page; must be made inside `gr.Blocks`. `pictures` has the photo, then the styles."""

    def __init__(self) -> None:
        gr.Markdown(
            "# neural-style-tf\nPaint a photo in the style of a picture. Nothing leaves this machine.",
            elem_id="title",
        )
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                self._add_inputs()
            with gr.Column(scale=6, min_width=320, elem_id="painting-column"):
                self.paint = gr.Button("Paint", variant="primary", size="lg", elem_id="paint")
                self.mistake = gr.HTML(elem_id="mistake", padding=False)
                self.status = gr.HTML(status_line(NO_RUN), elem_id="status", padding=False)
                self._add_outputs()
        with gr.Accordion("Earlier paintings", open=True):
            title = "Earlier paintings, the newest first"
            self.earlier = _gallery(None, title, "earlier", show_label=False)
        gr.Markdown(
            f"Limits: pictures up to {LARGEST_UPLOAD // 2**20} MB, {MOST_STYLES} styles, one painting at a "
            f"time, {MOST_WAITING} in line. Closing this page does not stop a painting."
        )

    @property
    def shown(self) -> list[gr.components.Component]:
        """The parts of the page that change with the run that is shown."""
        first = [self.status, self.picture, self.compare, self.regions, self.plot]
        return [
            *first,
            self.stop,
            self.further,
            *self.files,
            self.command,
            self.note,
            self.take_over,
            self.earlier,
        ]

    def _add_inputs(self) -> None:
        with gr.Row():
            with gr.Column(min_width=280):
                drawn = "Where each style goes in the photo"
                self.pictures = [PictureInput("Photo", "Example photos", PHOTOS, drawn, BRUSH_COLORS)]
            with gr.Column(min_width=280), gr.Tabs():
                for number, color in enumerate(BRUSH_COLORS, 1):
                    label = f"Style {number}" + (" (optional)" if number > 1 else "")
                    drawn = f"What is taken of style {number}: nothing drawn, all of it"
                    with gr.Tab(f"Style {number}"):
                        style = PictureInput(label, "Example styles", PAINTINGS, drawn, (color,))
                    self.pictures.append(style)
        self.settings = {
            "preset": gr.Radio(
                list(PRESETS)[::-1],
                value="balanced",
                label="Preset",
                info="balanced suits every pair of pictures; the others are as published",
            ),
            "strength": gr.Slider(
                0, 1, 0.5, step=0.05, label="Strength", info="0: a hint; 1: all that leaves the subject"
            ),
            "style_scale": gr.Slider(
                0.25, 4, 1, step=0.25, label="Stroke size", info="how large the style picture is looked at"
            ),
            "image_size": gr.Slider(
                64,
                LARGEST,
                384,
                step=32,
                label="Size",
                info="longest side in pixels; twice the size takes four times as long",
            ),
            "quality": gr.Radio(
                list(QUALITIES),
                value="normal",
                label="Quality",
                info="draft: half the time; fine: three times",
            ),
            "colors": gr.Radio(COLOR_CHOICES, value="style", label="Colours"),
        }
        self._add_brushes()
        with gr.Accordion("Advanced", open=False):
            self.settings["iterations"] = gr.Number(
                0, label="Iterations", info="at the final size; 0: as the preset", precision=0, minimum=0
            )
            self.settings["seed"] = gr.Number(
                0, label="Seed", info="of the noise that some presets begin with", precision=0, minimum=0
            )
            self.settings["bits"] = gr.Checkbox(
                False,
                label="16 bits a channel, for print",
                info="" if deep.is_installed() else 'needs: pip install "neural-style-tf[deep]"',
                interactive=deep.is_installed(),
            )

    def _add_brushes(self) -> None:
        legend = ", ".join(
            f'<span style="color:{color}">■</span> style {number}'
            for number, color in enumerate(BRUSH_COLORS, 1)
        )
        with gr.Accordion("Several styles and masks", open=False):
            with gr.Row():
                self.weights = [
                    gr.Slider(0, 1, 1, step=0.05, label=f"Weight {number}", min_width=150)
                    for number in range(1, MOST_STYLES + 1)
                ]
            gr.Markdown(
                f"Draw on the photo where each style goes: {legend}. A style that is not drawn gets what is "
                "left; if none is, styles are blended everywhere. What belongs to no style stays a photo."
            )
            for picture in self.pictures:
                picture.brush.render()
            self.settings["match"] = gr.Radio(
                MATCH_CHOICES,
                value="none",
                label="Photo and style",
                info="regions are found, such as sky and plain wall, if nothing is drawn; see Regions",
            )

    def _add_outputs(self) -> None:
        with gr.Tabs():
            with gr.Tab("Painting"):
                self.picture = gr.Image(
                    label="Painting", interactive=False, buttons=["fullscreen"], elem_id="painting"
                )
            with gr.Tab("Compare"):
                self.compare = gr.ImageSlider(
                    label="Photo and painting", interactive=False, buttons=["fullscreen"]
                )
            with gr.Tab("Regions"):
                self.regions = gr.Image(
                    label="Regions of photo and styles, a colour each",
                    interactive=False,
                    buttons=["fullscreen"],
                )
            with gr.Tab("Losses"):
                self.plot = gr.LinePlot(
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
            self.stop = gr.Button(
                "Stop and keep", variant="stop", interactive=False, elem_id="stop", min_width=120
            )
            self.further = gr.Button("Paint further", interactive=False, elem_id="further", min_width=120)
            self.more = gr.Number(
                50, label="Iterations to add when finished", precision=0, minimum=0, min_width=120
            )
        with gr.Row():
            self.files = tuple(
                gr.DownloadButton(text, interactive=False, elem_id=f"download-{suffix}", min_width=90)
                for text, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tiff"))
            )
        self.command = gr.Textbox(
            label="The command for this painting, which gives the same bits",
            lines=3,
            max_lines=8,
            interactive=False,
            buttons=["copy"],
            elem_id="command",
        )
        self.note = gr.HTML(padding=False)
        self.take_over = gr.Button(
            "Take over the settings of this painting", interactive=False, elem_id="take-over"
        )


def _gallery(
    pictures: Sequence[tuple[str, str]] | None, label: str, kind: str, *, show_label: bool | None = None
) -> gr.Gallery:
    """Return a gallery of pictures to choose from, (path, title) each; `kind` is its class in `CSS`."""
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


def status_line(text: str, *, mistake: bool = False) -> str:
    """Return `text` as the HTML of a line of the page, which a screen reader reads out when it changes."""
    role = 'role="alert"' if mistake else 'role="status"'
    return f'<div class="line{" mistake" if mistake else ""}" {role}>{text}</div>'


def theme() -> gr.themes.Base:
    """Return a theme with fonts that every system has, so that none is downloaded."""
    chosen = gr.themes.Default(
        font=("ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    # The default colours of these texts are too pale to read.
    return chosen.set(block_info_text_color="*neutral_600", block_info_text_color_dark="*neutral_300")

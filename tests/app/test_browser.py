"""The page in a real browser, on the narrow network: drop, paint, stop, go on, download, repeat."""

import base64
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason='needs Gradio: pip install ".[app]"')
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
PAINTER = "narrow"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, such as Debian's package chromium"),
]

# Without a GPU the canvas needs WebGL in software.
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SECONDS = 120


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, address):
    """Return a function that opens the page at a width; at the end, nothing may have been asked of others."""
    contexts, places, asked, errors = [], ["data:", "blob:"], [], []

    def visit(width=1280, scheme="light", at=address):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        places.append(at.partition("?")[0])
        page.goto(at)
        page.locator("#paint").wait_for()
        playwright.expect(page.locator("#status")).to_contain_text(re.compile("."))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert asked and [url for url in asked if not url.startswith(tuple(places))] == []
    assert errors == []


def see(page, text):
    """Wait until the status says something."""
    playwright.expect(page.locator("#status")).to_contain_text(text, timeout=SECONDS * 1000)


def drop(page, number, path):
    """Give a picture to the photo (0) or the first style (1), and wait until it is shown."""
    page.locator(".picture").nth(number).locator("input[type=file]").set_input_files(path)
    page.locator(".picture").nth(number).locator("img").wait_for()


def open_part(page, title):
    """Open a part of the page, and wait until its controls are there to stay."""
    page.get_by_text(title).click()
    page.wait_for_timeout(1000)


def set_number(page, label, value):
    field = page.get_by_label(label, exact=True)
    field.fill(str(value))
    field.press("Tab")
    playwright.expect(field).to_have_value(str(value))


def test_drop_paint_stop_go_on_download_and_repeat(open_page, folder, narrow_process):
    page = open_page()
    drop(page, 0, folder / "cat.png")
    drop(page, 1, folder / "sea.png")
    page.get_by_label("gatys").check()
    set_number(page, "number input for Size", 64)
    open_part(page, "Advanced")
    set_number(page, "Iterations", 4000)
    page.locator("#paint").click()
    see(page, re.compile(r"cat-sea: step [1-9]\d* of 4000"))
    page.locator("#painting img").wait_for()
    # Another browser that arrives sees it, too.
    see(open_page(390, "dark"), re.compile("cat-sea: step"))
    page.locator("#stop").click()
    see(page, "stopped, and saved")
    run = folder / "out" / "cat-sea"
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "interrupted" and 0 < facts["steps"] < 4000

    command = page.locator("#command textarea").input_value()
    # The preset's own number is left out.
    assert f"--iterations={facts['steps']}" in command or facts["steps"] == 500
    with page.expect_download() as download:
        page.locator("#download-png").click()
    assert download.value.suggested_filename == "cat-sea.png"
    painted = Path(download.value.path()).read_bytes()
    assert painted == (run / "result.png").read_bytes()
    for name in ("jpg", "tiff"):
        with page.expect_download() as download:
            page.locator(f"#download-{name}").click()
        with Image.open(download.value.path()) as picture:
            assert picture.size == (64, 48)
    again = narrow_process(folder, "run", *shlex.split(command)[1:], "--output_dir=again", "--quiet")
    assert again.wait(SECONDS) == 0
    assert (folder / "again" / "result.png").read_bytes() == painted

    page.locator("#further").click()
    see(page, re.compile(r"step [1-9]\d* of 4000"))
    page.locator("#stop").click()
    see(page, "stopped, and saved")
    assert json.loads((run / "run.json").read_text())["steps"] > facts["steps"]


def next_name(name):
    """Return the name of the next run of the same pictures: `cat-sea-2` after `cat-sea`."""
    stem, _, number = name.rpartition("-")
    return f"{stem}-{int(number) + 1}" if number.isdecimal() else f"{name}-2"


def test_masks_by_brush_and_settings_taken_over(open_page, folder):
    page = open_page()
    drop(page, 0, folder / "cat.png")
    drop(page, 1, folder / "sea.png")
    page.get_by_label("gatys").check()
    set_number(page, "number input for Strength", 0.8)
    set_number(page, "number input for Size", 64)
    open_part(page, "Advanced")
    set_number(page, "Iterations", 3)
    open_part(page, "Several styles and masks")
    open_part(page, "Where each style goes in the photo")
    canvas = page.locator(".canvas canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.52, box["y"] + box["height"] * 0.55, steps=5)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.locator("#paint").click()
    see(page, "finished")
    newest = max((folder / "out").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    job = json.loads(newest.read_text())["job"]
    [mask] = job["content_mask"]
    drawn = np.asarray(Image.open(mask)) > 0
    assert 0 < drawn.mean() < 0.5

    fresh = open_page()
    see(fresh, "finished")
    fresh.locator("#take-over").click()
    playwright.expect(fresh.locator("#mistake")).to_contain_text("Settings taken over")
    playwright.expect(fresh.get_by_label("number input for Strength")).to_have_value("0.8")
    fresh.locator(".picture").first.locator("img").wait_for()
    fresh.wait_for_timeout(1500)
    fresh.locator("#paint").click()
    again = newest.parent.with_name(next_name(newest.parent.name)) / "run.json"
    see(fresh, f"{again.parent.name}: finished")
    assert (again.parent / "result.png").read_bytes() == newest.with_name("result.png").read_bytes()


def test_a_picture_that_the_browser_does_not_know_is_dropped_pasted_and_shown(open_page, folder):
    page = open_page()
    place = page.locator(".picture").first
    with Image.open(folder / "cat.png") as picture:
        picture.convert("CMYK").save(folder / "cmyk.tif")
    # As Windows and Linux send a HEIC: without a type.
    sent = {"dataTransfer": hand_over(page, folder / "cmyk.tif", "IMG_1.HEIC")}
    place.locator("button").first.dispatch_event("drop", sent)
    assert shown_size(place) == [480, 360]
    place.locator("button:visible").last.click()
    place.locator("input[type=file]").wait_for(state="attached")
    place.hover()
    paste = "new ClipboardEvent('paste', {clipboardData: data, bubbles: true})"
    pasted = hand_over(page, folder / "sea.png", "image.png")
    page.evaluate(f"data => document.body.dispatchEvent({paste})", pasted)
    assert shown_size(place) == [60, 50]
    page.locator(".examples .thumbnail-item").first.click()
    playwright.expect(place.locator("img")).not_to_have_js_property("naturalWidth", 60)


def hand_over(page, path, name):
    """Return what a browser hands over when a file is dropped or pasted, of a type that it does not know."""
    script = """([data, name]) => {
      const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
      const files = new DataTransfer();
      files.items.add(new File([bytes], name, {type: ""}));
      return files;
    }"""
    return page.evaluate_handle(script, [base64.b64encode(path.read_bytes()).decode(), name])


def shown_size(place):
    """Return the size of the picture that a browser shows, once it is there."""
    place.locator("img").wait_for()
    return place.locator("img").evaluate(
        "img => img.decode().then(() => [img.naturalWidth, img.naturalHeight])"
    )


def test_mistakes_are_said_in_place(open_page, folder):
    page = open_page(390)
    page.locator("#paint").click()
    playwright.expect(page.locator("#mistake")).to_contain_text("There is no photo yet")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    page.locator(".picture").first.locator("input[type=file]").set_input_files(folder / "broken.png")
    playwright.expect(page.get_by_role("alert").first).to_contain_text("broken.png")
    assert str(folder) not in page.content()


def test_with_a_token_the_page_opens_by_its_address_and_paints(
    open_page, browser, serve, address, folder, tmp_path
):
    _, closed = serve(tmp_path, "fast", "token=a-token-of-twenty-signs")
    plain = closed.partition("?")[0]
    page = open_page(at=closed)
    assert page.url.partition("?")[0] == plain and "token" not in page.url
    drop(page, 0, folder / "cat.png")
    drop(page, 1, folder / "sea.png")
    page.locator("#paint").click()
    see(page, re.compile("cat-sea: (starting|step|finished)"))
    # As another browser, and as a page of another program on this machine.
    other = browser.new_context().new_page()
    assert other.goto(plain).status == 401
    page.goto(plain)
    other.goto(address)
    asked = "url => fetch(url, {credentials: 'include'}).then(answer => answer.status, () => 'refused')"
    assert page.evaluate(asked, f"{plain}api/runs/cat-sea") == 200
    assert other.evaluate(asked, f"{plain}api/runs/cat-sea") == "refused"
    other.context.close()

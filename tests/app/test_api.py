"""What other programs ask for: the HTTP API in this process, with a painter that needs no TensorFlow."""

import asyncio
import concurrent.futures
import shutil
import time

import numpy as np
import pytest
from command_line import WEIGHTS_DIR, write_picture
from painters import STEPS, fake_painter
from picture_files import encoded
from PIL import Image

pytest.importorskip("gradio", reason='needs Gradio: pip install ".[app]"')
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from neural_style_tf.app import api
from neural_style_tf.app.api import FIELDS, PICTURES, Api
from neural_style_tf.app.gallery import PAINT_FURTHER
from neural_style_tf.app.queue import RunQueue
from neural_style_tf.app.requests import claim_folder
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import SETTINGS, Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.error_messages import MEMORY_ADVICE
from neural_style_tf.jobs.task import Task
from neural_style_tf.runs.manifest import Manifest

FINISHED = Manifest({}, {}, {}, status="finished").to_json()


class Answers:
    """A client of an API whose painter takes `seconds` a step, and whose queue has room for `most`."""

    def __init__(self, folder, seconds=0.0, most=8):
        self.folder, self.out = folder, folder / "the out"
        self.queue = RunQueue(fake_painter(seconds), most=most)
        base = Job(output_dir=str(self.out), weights="bundled", weights_dir=str(WEIGHTS_DIR))
        self.api = Api(base, folder / "temporary", lambda: self.queue)
        self.http = TestClient(Starlette(routes=self.api.routes()))
        self.photo = write_picture(folder / "cat.png", (80, 96)).read_bytes()
        self.style = write_picture(folder / "sea.png", (90, 90), seed=1).read_bytes()

    def pictures(self):
        return [("content", ("cat.png", self.photo)), ("style", ("sea.png", self.style))]

    def paint(self, files=None, **settings):
        settings = {"image_size": "80"} | settings
        return self.http.post("/api/paint", files=files or self.pictures(), data=settings)

    def wait(self, name, *statuses):
        for _ in range(1500):
            found = self.http.get(f"/api/runs/{name}").json()
            if found["status"] in statuses:
                return found
            time.sleep(0.02)
        raise TimeoutError(found)


@pytest.fixture
def open_api(tmp_path):
    """Return a function that makes `Answers`, whose queue is closed at the end."""
    opened = []

    def make(**options):
        opened.append(Answers(tmp_path, **options))
        return opened[-1]

    yield make
    for answers in opened:
        answers.queue.close()


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """`Answers` for requests that are refused."""
    answers = Answers(tmp_path_factory.mktemp("api"))
    yield answers
    answers.queue.close()


def line_of(answer, code):
    """Return the line of an answer; it has nothing else, no folder of this machine, and no flag."""
    assert answer.status_code == code, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.endswith("\n") and len(answer.text.splitlines()) == 1
    assert "/tmp" not in answer.text and "--" not in answer.text
    return answer.text


def test_a_run_from_request_to_result(open_api):
    answers = open_api(seconds=0.1)
    mask = ("content_mask", ("cat.png", answers.photo))
    answer = answers.paint(
        [*answers.pictures(), mask], style_mask="", preset="gatys", dpi="300", clamp="true"
    )
    assert answer.status_code == 202 and answer.json()["name"] == "cat-sea" and not answer.json()["done"]
    assert "not done yet" in line_of(answers.http.get("/api/runs/cat-sea/result"), 409)
    status = answers.wait("cat-sea", "painting")
    assert status["steps"] == STEPS and 0 < status["step"] <= STEPS
    status = answers.wait("cat-sea", "finished")
    assert status["done"] and status["step"] == STEPS and status["line"] == ""
    result = answers.http.get("/api/runs/cat-sea/result")
    assert (
        result.headers["content-type"] == "image/png"
        and "cat-sea.png" in result.headers["content-disposition"]
    )
    assert result.content == (answers.out / "cat-sea" / "result.png").read_bytes()
    config, job = (task := answers.queue.find("cat-sea").task).config, task.job
    assert (config.preset, config.sizes.image_size, config.optimization.clamp) == ("gatys", 80, True)
    assert (job.dpi, job.style_mask, len(job.content_mask)) == (300.0, ("",), 1)
    shutil.rmtree(answers.out / "cat-sea")
    assert "there is no run 'cat-sea'" in line_of(answers.http.get("/api/runs/cat-sea"), 404)
    # Uploads are gone, and what the run needs is in the output folder.
    assert not list((answers.folder / "temporary").iterdir())
    assert all(path.startswith(str(answers.out / "pictures")) for path in job.pictures.values())


def test_without_a_preset_it_is_balanced(open_api):
    answers = open_api()
    answers.paint()
    config = answers.queue.find("cat-sea").task.config
    assert config.loss == PRESETS["balanced"].loss and config.saving != PRESETS["balanced"].saving


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"image_size": "nan"}, "image_size must be a whole number"),
        ({"image_size": "-1"}, "image_size must be at least 0"),
        ({"image_size": "0"}, "image_size must be from 1 to 4096 here"),
        ({"image_size": "4097"}, "image_size must be from 1 to 4096 here"),
        ({"strength": "nan"}, "strength must be a finite number"),
        ({"style_weight": "inf"}, "style_weight must be a finite number"),
        ({"strength": "2"}, "strength must be at most 1"),
        *(({"iterations": "1" * digits}, "iterations must be a whole number") for digits in (400, 5000)),
        ({"scale_iterations": f"{10**18},1"}, "each number of scale_iterations must be at most 10"),
        ({"preset": "best"}, "preset must be one of original, slides"),
        ({"style_blend": "1,2"}, "style_blend"),
        ({"colour": "style"}, "'colour' is no setting (did you mean 'colors'?)"),
        ({"a\nb\x1b[31m": "1"}, "is no setting"),
        # Files of the server, and code.
        ({"content": "/etc/passwd"}, "'content' must be a file"),
        ({"style_mask": "/etc/passwd"}, "'style_mask' must be a file"),
        ({"init": "/etc/passwd"}, "init must be one of noise, content, style, not"),
        ({"style_loss": "os:system"}, "style_loss must be one of"),
        ({"optimizer": "os:system"}, "optimizer must be one of"),
        *(
            ({name: "x"}, f"{name!r} is no setting")
            for name in ("output_dir", "output", "weights", "from_run")
        ),
        *(
            ({name: "1"}, f"{name!r} is no setting")
            for name in ("trust_weights", "threads", "save_every", "flow", "allow_truncated")
        ),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(refusing, settings, line):
    assert line in line_of(refusing.paint(**settings), 400)
    # Nothing but the pictures is kept.
    assert not [path for path in refusing.out.glob("*") if path.name != "pictures"]


def picture(name, content):
    return name, ("x.png", content)


TRUNCATED = encoded("png")[:-99]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([], "content is missing"),
        (["style"], "content is missing"),
        (["content"], "style is missing"),
        (["content", "content", "style"], "content is given 2 times: at most 1"),
        (["content", *["style"] * 4], "style is given 4 times: at most 3"),
        (["content", *["style"] * 20], "Too many files"),
        (["content", "style", "preset"], "'preset' is no picture"),
        (["content", "style", "../../x"], "'../../x' is no picture"),
        (["content", ("style", b"")], "x.png is empty"),
        ([("content", b"<svg/>"), "style"], "x.png is not a picture"),
        ([("content", b"\x89PNG\r\n\x1a\nx"), "style"], "x.png"),
        (
            ["content", ("style", TRUNCATED)],
            "cut short or damaged (image file is truncated); copy it again\n",
        ),
        (["content", "style", "content_mask", "content_mask"], "content_mask"),
    ],
)
def test_a_picture_that_cannot_be_is_one_line(refusing, files, line):
    files = [picture(*((file, refusing.photo) if isinstance(file, str) else file)) for file in files]
    # Without a file, a client would send another form.
    assert line in line_of(refusing.paint([*files, ("seed", (None, "1"))]), 400)


def test_the_form_of_a_request(refusing):
    http = refusing.http
    for options in ({}, {"json": {"content": "x"}}, {"data": {"content": "x"}}):
        assert "expected multipart/form-data" in line_of(http.post("/api/paint", **options), 415)
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        line_of(http.post("/api/paint", content=b"\0" * 99, headers={"content-type": kind}), 400)
    for method, path in (("PUT", "/api/paint"), ("GET", "/api/paint"), ("GET", "/api/runs/x/stop")):
        assert http.request(method, path).status_code == 405


def test_a_fault_of_the_server_is_one_line(refusing, monkeypatch, caplog):
    monkeypatch.setattr(api, "plan_files", lambda *given: 1 / 0)
    assert "the server made a mistake" in line_of(refusing.paint(), 500)
    assert "ZeroDivisionError" in caplog.text

    async def fail(*given, **named):
        raise ValueError("Expected boundary")

    monkeypatch.setattr(api.Request, "_get_form", fail)
    assert "the form cannot be read: Expected boundary" in line_of(refusing.paint(), 400)


def test_an_upload_that_breaks_off_is_no_fault(refusing, caplog):
    received = [{"type": "http.request", "body": b"--x\r\n", "more_body": True}, {"type": "http.disconnect"}]
    sent = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/paint",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
    }

    async def receive():
        return received.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(refusing.http.app(scope, receive, send))
    assert sent[0]["status"] == 400 and not caplog.text


def test_too_much_is_refused(refusing, monkeypatch):
    monkeypatch.setattr(api, "LARGEST_UPLOAD", len(refusing.photo) - 1)
    assert "cat.png is larger than" in line_of(refusing.paint(), 413)
    monkeypatch.setattr(api, "LARGEST_REQUEST", len(refusing.photo))
    assert "the request is larger than" in line_of(refusing.paint(), 413)


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "..",
        "%2e",
        "%2e%2e",
        "..%2fsecret",
        "%2fetc",
        "a%00b",
        "a" * 5000,
        "linked",
        "pictures",
        "%ff",
        "secret",
    ],
)
def test_names_lead_nowhere_else(refusing, name):
    secret = refusing.folder / "secret"
    if not secret.exists():
        secret.mkdir()
        (secret / "result.png").write_bytes(b"kept to itself")
        (secret / "run.json").write_text(
            '{"manifest": 1, "config": {}, "inputs": {}, "weights": {}, "status": "finished"}'
        )
        refusing.out.mkdir(exist_ok=True)
        (refusing.out / "linked").symlink_to(secret)
    for method, end in (("GET", ""), ("GET", "/result"), ("POST", "/stop")):
        answer = refusing.http.request(method, f"/api/runs/{name}{end}")
        assert answer.status_code == 404 and "kept" not in answer.text
    # As gradio_client sends them, in JSON.
    for elsewhere in ("../secret", str(secret), "x/../../secret", "..", ".", "", "a\0b", "linked"):
        assert refusing.api.find(elsewhere) is None
    for nonsense in (None, 3, ["x"], {"x": 1}):
        with pytest.raises(HTTPException, match="there is no run"):
            refusing.api.status(nonsense)


def test_a_result_that_leads_elsewhere_is_none(refusing):
    folder = refusing.out / "own"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(FINISHED)
    (folder / "result.png").symlink_to("/etc/passwd")
    assert "own has no result: finished" in line_of(refusing.http.get("/api/runs/own/result"), 409)


def test_stop_saves_and_is_harmless_afterwards(open_api):
    answers = open_api(seconds=0.1)
    for _ in range(2):
        answers.paint()
    answers.wait("cat-sea", "painting")
    assert answers.http.post("/api/runs/cat-sea-2/stop").json()["status"] == "interrupted"
    assert "stopped before its first step" in line_of(answers.http.get("/api/runs/cat-sea-2/result"), 409)
    assert answers.http.post("/api/runs/cat-sea/stop").json()["status"] in ("stopping", "interrupted")
    status = answers.wait("cat-sea", "interrupted")
    assert status["step"] > 0 and answers.http.post("/api/runs/cat-sea/stop").json() == status


def test_a_run_that_fails_says_why(open_api):
    answers = open_api()
    answers.queue.add(lambda: Task("bad", Config(), Job(output_dir=str(answers.out / "bad"))))
    assert answers.wait("bad", "failed")["line"] == "no more paint"
    assert "bad has no result: no more paint" in line_of(answers.http.get("/api/runs/bad/result"), 409)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            f"disk full: {{out}}/own/result.png; make room, then {PAINT_FURTHER}; {{weights}}/x.npz is kept",
            "disk full: result.png; make room, then send it again; x.npz is kept",
        ),
        # The folder itself, also where its name has a space; folders that the server does not know.
        (
            "cannot write in '{out}'; {temporary}, {temporary}2/a and /srv/x: full",
            "cannot write in 'the out'; temporary, a and x: full",
        ),
        ("/usr/lib/a b.so (/opt/x.py) failed='/etc/y': 3/4", "a b.so (x.py) failed='y': 3/4"),
        ("see https://example.org/a/b, or 1 / 2", "see https://example.org/a/b, or 1 / 2"),
        # Flags that a request may have, and advice about others.
        (MEMORY_ADVICE, MEMORY_ADVICE.replace("--", "")),
        (
            "a is 9 × 9 pixels; take a smaller --image_size, or raise --max_pixels",
            "a is 9 × 9 pixels; take a smaller image_size",
        ),
        (
            "another run is writing to '{out}/a': give another --output_dir; all is kept",
            "another run is writing to 'a'; all is kept",
        ),
        (
            "--resume: no checkpoint in {out}. Give another --output_dir, or --overwrite",
            "resume: no checkpoint in the out",
        ),
        # Names that a client has sent.
        ("cat--sea.png is empty", "cat--sea.png is empty"),
        ("'--seed' is no setting (did you mean 'seed'?)", "'--seed' is no setting (did you mean 'seed'?)"),
    ],
)
def test_what_clients_are_told_has_no_folder_no_flag_and_no_button(refusing, line, told):
    run = claim_folder(refusing.out / "told")
    places = {"out": refusing.out, "temporary": refusing.folder / "temporary", "weights": WEIGHTS_DIR}
    line = line.format(**places)
    (run / "run.json").write_text(Manifest({}, {}, {}, status=f"failed: {line}").to_json())
    assert refusing.http.get(f"/api/runs/{run.name}").json()["line"] == told
    assert refusing.http.get(f"/api/runs/{run.name}/result").text == f"{run.name} has no result: {told}\n"
    # The page shows all of it.
    assert refusing.api.find(run.name).line == line


def test_many_at_once_are_queued_or_told_and_leave_nothing(open_api):
    answers = open_api(seconds=0.5, most=2)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: answers.paint(), range(12)))
    names = [answer.json()["name"] for answer in told if answer.status_code == 202]
    assert 3 <= len(names) < 12
    assert all(
        "2 paintings are already waiting" in line_of(answer, 429)
        for answer in told
        if answer.status_code != 202
    )
    folders = [path.name for path in answers.out.iterdir() if path.name != "pictures"]
    assert sorted(folders) == sorted(set(names))


def test_the_settings_are_those_of_the_command_line():
    assert FIELDS.keys() <= SETTINGS.keys() and {"content", "style"} <= PICTURES
    for name in ("start_frame", "flow", "output_dir", "weights_dir", "trust_weights", "log_every", "cache"):
        assert name in SETTINGS and name not in FIELDS
    # No file of the server, and no code: a word is a choice, or no word at all.
    for field in FIELDS.values():
        assert field.metadata["is_own"] is None
        is_path = field.metadata["value"] in ("FILE", "FOLDER")
        assert not is_path or field.name in PICTURES or field.metadata["choices"]
    assert SETTINGS["init"].metadata["is_own"]


def test_a_file_of_the_server_is_no_upload(refusing):
    """What Gradio hands over of a client that names a file by itself."""
    own = refusing.folder / "temporary" / "a" / "cat.png"
    own.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(own)
    assert refusing.api._uploaded([{"path": str(own)}, None, ""]) == [str(own), "", ""]
    (own.parent / "link.png").symlink_to(refusing.folder / "cat.png")
    for path in (
        "/etc/passwd",
        str(own.parent / ".." / ".." / ".." / "cat.png"),
        str(own.parent / "link.png"),
        3,
        [],
        "cat.png",
        "a\0b",
    ):
        with pytest.raises(UserError, match="must be an uploaded file"):
            refusing.api._uploaded({"path": path})

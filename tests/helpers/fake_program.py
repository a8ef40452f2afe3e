"""What `neural-style-tf` looks like from outside: it prints, writes result.png, saves when interrupted, ends.

The photo decides what it paints. The environment variable FAKE decides how it behaves:

- `paint`: three steps, a picture after each;
- `slow`: steps until it is interrupted; `deaf`: it does not end then, either;
- `starts`: nothing until it is interrupted;
- `chatty`: more output than a pipe holds;
- `refuses`: a line for the user and exit code 2; `crashes`: a traceback; `dies`: killed by a signal;
- `says why and dies`: a line for the user, then killed by a signal;
- `writes nothing`: success without a result.
"""

import os
import signal
import sys
import time
from pathlib import Path

from PIL import Image

STEPS = 3


def say(line, stream=sys.stdout):
    stream.write(line + "\n")
    stream.flush()


def save(picture, share, path):
    """Replace the file at once, as the program does."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    level = int(255 * share)
    done = Image.merge(
        picture.mode, [band.point(lambda value: value * level // 255) for band in picture.split()]
    )
    done.save(partial, "PNG")
    partial.replace(path)


def main():
    behaviour = os.environ.get("FAKE", "paint")
    flags = [argument.removeprefix("--").partition("=") for argument in sys.argv[1:]]
    with Path(os.environ["FAKE_LOG"]).open("a", encoding="utf-8") as log:
        log.write(repr((os.getpid(), str(Path.cwd()), sys.argv[1:])) + "\n")
    values = {name: value for name, _, value in flags}
    result = Path(values["output_dir"], "result.png")
    received = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    say("content: photo.png, ein ü")
    if behaviour == "refuses":
        say("neural-style-tf: --image_size must be at least 1, not 0", sys.stderr)
        return 2
    if behaviour == "says why and dies":
        say("neural-style-tf: the disk is full", sys.stderr)
    if behaviour in ("dies", "says why and dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "crashes":
        raise KeyError("a bug")
    if behaviour == "chatty":
        for _ in range(5000):
            say("a line that nobody waits for " * 4, sys.stderr)
    with Image.open(values["content"]) as picture:
        picture.load()
    step = 0
    while not received and (step < STEPS or behaviour in ("slow", "deaf", "starts")):
        step += 1
        time.sleep(0.12)
        if behaviour not in ("starts", "writes nothing"):
            say(f"step {step}/{STEPS}  total 1  content 1  1:00 left")
            save(picture, min(step, STEPS) / STEPS, result)
    if received and behaviour == "deaf":
        time.sleep(60)
    if received:
        Path(os.environ["FAKE_LOG"]).with_suffix(".interrupted").touch()
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

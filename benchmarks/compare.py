"""Judge two settings blindly: paint pairs with both, and make a page that shows them in random order.

    python benchmarks/compare.py [--a "FLAGS"] [--b "FLAGS"] [--pairs PHOTO:STYLE …] [--size N] [--out FOLDER]
    python benchmarks/compare.py --a RESULTS --b RESULTS [--photos FILE …] [--styles FILE …] [--out FOLDER]
    python benchmarks/compare.py --tally ANSWERS.jsonl …

RESULTS is what `neural-style-tf-evaluate` takes: a folder of runs, a folder of pictures of any program, whose
names hold those of photo and style picture, or a CSV of pairs.

The page, FOLDER/index.html, needs no server. It keeps its answers in the browser and saves them as JSON
lines, which --tally counts, and which `neural-style-tf-evaluate --votes` ranks beside its measures. What is
painted already is not painted again.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from common import ROOT, read_options, run_command, sweep_of
from scipy.stats import binomtest

from neural_style_tf.errors import UserError
from neural_style_tf.evaluation.pairs import PairedPainting, Search

PAGE = Path(__file__).parent / "compare_page" / "page.html"
PHOTOS, STYLES = ("astronaut", "chelsea", "coffee", "rocket"), ("mosaic", "starry_night", "watercolour")


def wilson(wins: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), 0 to 1 each; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    found = binomtest(wins, trials).proportion_ci(method="wilson")
    return found.low, found.high


def tally(lines: Iterable[str]) -> str:
    """Return a Markdown table of answers, one JSON object a line: who was chosen how often, of each study."""
    answers = [json.loads(line) for line in lines if line.strip()]
    studies = {(answer["a"], answer["b"]) for answer in answers}
    rows = ["| a | b | a better | b better | no difference | a, 95 % interval |", "|---" * 6 + "|"]
    for a, b in sorted(studies):
        count = Counter(answer["choice"] for answer in answers if (answer["a"], answer["b"]) == (a, b))
        low, high = wilson(count["a"], count["a"] + count["b"])
        counts = f"{count['a']} | {count['b']} | {count['equal']}"
        rows.append(f"| {a} | {b} | {counts} | {low:.0%} to {high:.0%} |")
    return "\n".join(rows)


def publish(picture: Path, folder: Path) -> str:
    """Copy a picture under a name that says nothing; return the name, relative to the page."""
    data = picture.read_bytes()
    name = hashlib.sha256(data).hexdigest()[:16] + picture.suffix.lower()
    (folder / "pictures").mkdir(exist_ok=True)
    shutil.copyfile(picture, folder / "pictures" / name)
    return f"pictures/{name}"


def find(
    results: str, photos: list[str], styles: list[str]
) -> tuple[str, dict[tuple[str, str], PairedPainting]]:
    """Return the name of a system, and pair → painting; what has no pair is printed."""
    search = Search([Path(name) for name in photos if name], [Path(name) for name in styles if name])
    search.add(results)
    for line in search.problems:
        print(line, file=sys.stderr)
    names = sorted({painting.system.name for painting in search.paintings})
    if len(names) != 1:
        raise UserError(
            f"{results} holds {len(names)} systems, and the page shows one beside another: {names}"
        )
    return names[0], {painting.pair: painting for painting in search.paintings}


def show_results(a: str, b: str, photos: list[str], styles: list[str], out: Path) -> dict:
    """Return the study of two folders of paintings: the pairs that both have."""
    (name, ours), (other, theirs) = (find(results, photos, styles) for results in (a, b))
    trials = []
    for pair in sorted(ours.keys() & theirs.keys()):
        painting = ours[pair]
        pictures = {"content": painting.content, "style": painting.style}
        pictures |= {"a": painting.result, "b": theirs[pair].result}
        published = {role: publish(path, out) for role, path in pictures.items()}
        trials.append({"pair": ":".join(pair), **published})
    if not trials:
        raise UserError(f"{a} and {b} have no pair in common")
    return {"a": name, "b": other, "trials": trials}


def paint(flags: str, pairs: list[str], size: int, out: Path) -> Path:
    """Paint pairs as one sweep; return its folder, which changed flags do not share."""
    folder = out / "runs" / hashlib.sha256(f"{flags} {size} {pairs}".encode()).hexdigest()[:12]
    run_command(folder, *sweep_of(pairs), f"--image_size={size}", "--save_every=0", *shlex.split(flags))
    return folder


def main() -> None:
    """Paint and write the page, or count answers."""
    options = read_options(
        __doc__,
        a="--preset=balanced",
        b="--preset=gatys",
        pairs=[f"{photo}:{style}" for photo in PHOTOS for style in STYLES],
        photos=[""],
        styles=[""],
        size=384,
        out=ROOT / "build" / "compare",
        tally=[""],
    )
    if options.quick:
        print(tally(json.dumps({"a": "one", "b": "two", "choice": choice}) for choice in ("a", "a", "b")))
        return
    if options.tally != [""]:
        print(tally(line for path in options.tally for line in Path(path).read_text("utf-8").splitlines()))
        return
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    flags = {side: text for side, text in (("a", options.a), ("b", options.b)) if not Path(text).exists()}
    painted = {side: str(paint(text, options.pairs, options.size, out)) for side, text in flags.items()}
    results = painted.get("a", options.a), painted.get("b", options.b)
    try:
        study = show_results(*results, options.photos, options.styles, out)
    except UserError as error:
        sys.exit(f"compare.py: {error}")
    write_page(study | flags, out)


def write_page(study: dict, out: Path) -> None:
    """Write the page of a study."""
    study["id"] = hashlib.sha256(json.dumps(study).encode()).hexdigest()[:8]
    data = json.dumps(study).replace("<", "\\u003c")
    page = PAGE.read_text("utf-8").replace("/*STUDY*/null", data)
    (out / "index.html").write_text(page, encoding="utf-8")
    print(f"open {out / 'index.html'}")


if __name__ == "__main__":
    main()

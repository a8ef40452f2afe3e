"""Judge two settings blindly: paint pairs with both, and make a page that shows them in random order.

    python benchmarks/compare.py [--a "FLAGS"] [--b "FLAGS"] [--pairs PHOTO:STYLE …] [--size N] [--out FOLDER]
    python benchmarks/compare.py --tally ANSWERS.jsonl …

The page, FOLDER/index.html, needs no server. It keeps its answers in the browser and saves them as JSON
lines, which --tally counts. What is painted already is not painted again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from contact_sheet import SIZES

PAGE = Path(__file__).parent / "compare_page" / "page.html"
PAIRS = tuple(SIZES)
Z = 1.96
"""Of a normal distribution, 95 % lie within so many standard deviations."""


def wilson(wins: int, trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927), 0 to 1 each; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share, scale = wins / trials, 1 + Z * Z / trials
    middle = (share + Z * Z / (2 * trials)) / scale
    half = Z * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials**2)) / scale
    return max(middle - half, 0.0), min(middle + half, 1.0)


def tally(lines: Iterable[str]) -> str:
    """Return a Markdown table of answers, one JSON object a line: who was chosen how often, of each study."""
    answers = [json.loads(line) for line in lines if line.strip()]
    studies = {(one["a"], one["b"]) for one in answers}
    rows = ["| a | b | a better | b better | no difference | a, 95 % interval |", "|---" * 6 + "|"]
    for a, b in sorted(studies):
        count = Counter(one["choice"] for one in answers if (one["a"], one["b"]) == (a, b))
        low, high = wilson(count["a"], count["a"] + count["b"])
        counts = f"{count['a']} | {count['b']} | {count['equal']}"
        rows.append(f"| {a} | {b} | {counts} | {low:.0%} to {high:.0%} |")
    return "\n".join(rows)


def locate(name: str) -> Path:
    """Return the file that a word of a pair names: a path, or one of the examples."""
    return Path(name) if Path(name).exists() else ROOT / "examples" / f"{name}.jpg"


def paint(content: Path, style: Path, flags: str, size: int, folder: Path) -> Path:
    """Paint a pair by the command line, unless that is done already; return the result's file."""
    result = folder / "result.png"
    if not result.exists():
        command = [sys.executable, "run.py", f"--content={content}", f"--style={style}", "--weights=bundled"]
        command += [f"--image_size={size}", "--save_every=0", "--quiet", "--overwrite"]
        subprocess.run([*command, f"--output_dir={folder}", *shlex.split(flags)], cwd=ROOT, check=True)
    return result


def publish(picture: Path, folder: Path) -> str:
    """Copy a picture under a name that says nothing; return the name, relative to the page."""
    data = picture.read_bytes()
    name = hashlib.sha256(data).hexdigest()[:16] + picture.suffix.lower()
    (folder / "pictures").mkdir(exist_ok=True)
    shutil.copyfile(picture, folder / "pictures" / name)
    return f"pictures/{name}"


def main() -> None:
    """Paint and write the page, or count answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--a", default="--preset=balanced", help="flags of the first settings")
    parser.add_argument("--b", default="--preset=gatys", help="flags of the second")
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="PHOTO:STYLE")
    parser.add_argument("--size", type=int, default=384, help="longest side of the results")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "compare")
    parser.add_argument("--tally", nargs="+", type=Path, metavar="ANSWERS", help="count answers instead")
    parser.add_argument("--quick", action="store_true", help="count three answers, paint nothing")
    options = parser.parse_args()
    if options.quick:
        print(tally(json.dumps({"a": "one", "b": "two", "choice": choice}) for choice in ("a", "a", "b")))
        return
    if options.tally:
        print(tally(line for path in options.tally for line in path.read_text("utf-8").splitlines()))
        return
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    trials = []
    for pair in options.pairs:
        content, style = (locate(name).resolve() for name in pair.split(":"))
        results = []
        for flags in (options.a, options.b):
            # A folder for each settings and size: changed flags are painted anew.
            kind = hashlib.sha256(f"{flags} {options.size} {pair}".encode()).hexdigest()[:12]
            results.append(paint(content, style, flags, options.size, out / "runs" / kind))
        a, b = (publish(result, out) for result in results)
        pictures = {"content": publish(content, out), "style": publish(style, out), "a": a, "b": b}
        trials.append({"pair": f"{content.stem}:{style.stem}", **pictures})
        print(f"painted {pair}", flush=True)
    study = {"a": options.a, "b": options.b, "trials": trials}
    study["id"] = hashlib.sha256(json.dumps(study).encode()).hexdigest()[:8]
    data = json.dumps(study).replace("<", "\\u003c")
    page = PAGE.read_text("utf-8").replace("/*STUDY*/null", data)
    (out / "index.html").write_text(page, encoding="utf-8")
    print(f"open {out / 'index.html'}")


if __name__ == "__main__":
    main()

"""Suggest the valid word nearest to a mistyped one, and shorten names."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest of `valid`, or an empty string if none is near."""
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def printable(text: str, longest: int = 400) -> str:
    """Return `text` with blanks for control characters, cut to a length."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def shortened(name: str, most: int) -> str:
    """Return a file name of at most `most` bytes: a longer one is cut, and ends in a hash of the whole."""
    data = name.encode("utf-8", "surrogatepass")
    if len(data) <= most:
        return name
    mark = f"-{hashlib.sha256(data).hexdigest()[:8]}"
    return data[: most - len(mark)].decode("utf-8", "ignore") + mark

"""Write the API reference from the docstrings: `make docs`, or `python docs/build_api.py [FOLDER]`.

A warning is an error: a name in `__all__` that does not resolve, a module that cannot be imported, an
annotation that cannot be evaluated.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import sys
import typing
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import pdoc

import neural_style_tf as package
from neural_style_tf.utils.runtime import start_tensorflow


def show_everything() -> None:
    """Let pdoc see each public name and module; it looks only at what is imported and in `__all__`."""
    vars(package).update({name: getattr(package, name) for name in package.__all__})
    for _, name, _ in pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}."):
        parent, _, last = name.rpartition(".")
        for value in () if last.startswith("_") else vars(importlib.import_module(name)).values():
            if inspect.isclass(value) and issubclass(value, tuple) and value.__module__ == name:
                # pdoc looks for the annotations of a NamedTuple in a module that is not there.
                value.__new__.__annotations__ = typing.get_type_hints(value)
        public = getattr(importlib.import_module(parent), "__all__", None)
        if public is not None and not last.startswith("_") and last not in public:
            public.append(last)


def main() -> None:
    """Build the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "build" / "docs")
    folder = parser.parse_args().folder
    # Without TensorFlow's own lines on the terminal, a warning about a docstring is seen.
    start_tensorflow()
    show_everything()
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc(package.__name__, output_directory=folder)
    print(f"Look at {folder / 'index.html'}")


if __name__ == "__main__":
    main()

"""What the runs of a process share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cachetools

from neural_style_tf.config.schema import Job
from neural_style_tf.images import Picture, load_image
from neural_style_tf.utils.cache import CodeCache, machine_folder, open_code
from neural_style_tf.utils.console import Console, Download
from neural_style_tf.utils.files import is_file
from neural_style_tf.utils.runtime import cores
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import load_weights

if TYPE_CHECKING:
    from neural_style_tf.transfer.session import Session


class Machine:
    """What the runs of a process share: the console, TensorFlow, the cluster, pictures, compiled steps.

    Pictures and compiled steps are kept only if there will be `several` runs, or a clip sets `repeats`. Only
    then are the results of runs measured, to be compared. `memory` is what a run may take, in bytes, because
    other processes paint, too.
    """

    PICTURES, LARGE = 4, 64 * 2**20

    def __init__(
        self, console: Console | None = None, *, several: bool = False, memory: int | None = None
    ) -> None:
        self.console = console or Console(quiet=True)
        self.device, self.cluster, self.memory = "", None, memory
        self.repeats = False
        self.code: CodeCache | None = None
        self._kept: Path | None = None
        self.several, self._session = several, None
        self._weights: tuple[tuple[str, ...], Weights] | None = None
        self._pictures = cachetools.LRUCache(self.PICTURES)

    def open_cache(self, job: Job) -> Path | None:
        """Return the folder of what is kept; before TensorFlow starts, open the cache of `code` there."""
        if not job.cache:
            return None
        if self._kept is None:
            self._kept = machine_folder(job.threads or cores())
        if self._kept and not self.device and self.code is None:
            self.code = open_code(self._kept)
        return self._kept

    def load_image(self, path: str, **reading: Any) -> Picture:
        """Load a picture; the last few are kept if there are several runs."""
        # The key changes when the file is replaced.
        status = Path(path).stat() if is_file(path) else None
        stamp = status and (status.st_mtime_ns, status.st_size, status.st_ino)
        key = (path, stamp, *sorted(reading.items()))
        picture = self._pictures.get(key) or load_image(path, **reading)
        if self.several and picture.pixels.nbytes <= self.LARGE:
            self._pictures[key] = picture
        return picture

    def load_weights(self, job: Job, *, given: Weights | None = None) -> Weights:
        """Return the weights of a run, or `given` ones; print their source if the last run had others."""
        source = ("", given.sha256) if given else (job.weights, job.weights_dir, job.network)
        if self._weights is None or self._weights[0] != source:
            # Drop the former network first, so that two are never in memory.
            self._weights = self._session = None
            weights = given or load_weights(
                job.weights,
                folder=job.weights_dir,
                network=job.network,
                trust=job.trust_weights,
                progress=Download(self.console),
                log=self.console.say,
            )
            self.console.say(
                f"weights: {weights.source}{f' ({weights.generation})' if weights.generation else ''}"
            )
            self._weights = source, weights
        return self._weights[1]

    def session(self) -> Session:
        """Return the session of the runs with the weights that were loaded last."""
        from neural_style_tf.transfer.session import Session

        if self._session is None:
            keep = None if self.several or self.repeats else 0
            self._session = Session(self._weights[1], cluster=self.cluster, keep_bytes=keep)
        return self._session

"""`Machine`: what the runs of a process share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cachetools

from neural_style_tf.config.schema import Job
from neural_style_tf.images import Picture, load_image
from neural_style_tf.utils.console import Console, Download
from neural_style_tf.utils.files import is_file
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import load_weights

if TYPE_CHECKING:
    from neural_style_tf.transfer.session import Session


class Machine:
    """What the runs of a process share: the console, TensorFlow, the cluster, pictures, compiled steps.

    Args:
        console: Prints messages; default: a quiet console.
        several: Whether there will be several runs. Then pictures and compiled steps are kept for later runs,
            and the results are measured, so that they can be compared.
        memory: Bytes that a run may use if other processes paint too; None for no limit.

    Attributes:
        device: Description of the device; "" until TensorFlow is started.
        cluster: The replicas that share the work; None until TensorFlow is started.
        repeats: Whether compiled steps are kept even for a single run; a clip sets this.
    """

    PICTURES, LARGE = 4, 64 * 2**20

    def __init__(
        self, console: Console | None = None, *, several: bool = False, memory: int | None = None
    ) -> None:
        self.console = console or Console(quiet=True)
        self.device, self.cluster, self.memory = "", None, memory
        self.repeats = False
        self.several, self._session = several, None
        self._weights: tuple[tuple[str, ...], Weights] | None = None
        self._pictures = cachetools.LRUCache(self.PICTURES)

    def load_image(self, path: str, **reading: Any) -> Picture:
        """Load the picture `path` with the options `reading` of `images.load_image`.

        With several runs the last few pictures are kept in memory.
        """
        # With these facts in the key, a file that was replaced is read again.
        status = Path(path).stat() if is_file(path) else None
        stamp = status and (status.st_mtime_ns, status.st_size, status.st_ino)
        key = (path, stamp, *sorted(reading.items()))
        picture = self._pictures.get(key) or load_image(path, **reading)
        if self.several and picture.pixels.nbytes <= self.LARGE:
            self._pictures[key] = picture
        return picture

    def load_weights(self, job: Job, *, given: Weights | None = None) -> Weights:
        """Return `given`, or load the weights that `job` names; print their source if they have changed."""
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
        """Return the session of all runs that use the weights loaded last."""
        from neural_style_tf.transfer.session import Session

        if self._session is None:
            keep = None if self.several or self.repeats else 0
            self._session = Session(self._weights[1], cluster=self.cluster, keep_bytes=keep)
        return self._session

"""Keep XLA's machine code on this machine from one run to the next, in a folder private to the user.

TensorFlow executes the code that it reads there. If a file is cut short, or the disk is full, TensorFlow ends
the run. So each process gets a folder of its own, with links to those kept files that are undamaged. The code
that a process compiles itself is added by `CodeCache.keep`. The name of a kept file ends with its SHA-256.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from neural_style_tf.utils.files import PARTIAL, write_bytes
from neural_style_tf.utils.runtime import nvidia_devices

MOST_BYTES = 64 * 2**20
"""Limit of the total size of the kept files, in bytes, over all versions and processors. Beyond it, the
oldest files are removed."""
ROOM = 2 * MOST_BYTES
"""With fewer free bytes on the disk than this, the cache is not used."""
STALE = 7 * 24 * 3600.0
"""Age in seconds at which the folder that a killed process left is removed."""
_OWN = "process-"
"""Prefix of the name of each process's own folder."""
_CPUINFO = Path("/proc/cpuinfo")
_VARIABLE, _FLAG = "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory"


def private_folder() -> Path | None:
    """Return this program's folder in the user's cache; None if it is not private or not writable."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = platformdirs.user_cache_path("neural-style-tf", appauthor=False)
        if folder.is_absolute():
            folder.mkdir(0o700, parents=True, exist_ok=True)
            if _is_private(folder):
                return folder
    return None


def _is_private(folder: Path) -> bool:
    """Return whether only this user and root can read the folder, or replace it by another."""
    if not hasattr(os, "getuid"):
        # On Windows the folder is in the user's profile.
        return True
    status, parents = folder.lstat(), {*folder.parents, *folder.resolve().parents}
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        return False
    return all(_only_user_writes(parent.stat()) for parent in parents)


def _only_user_writes(status: os.stat_result) -> bool:
    if status.st_uid not in (0, os.getuid()):
        return False
    # In a sticky folder, such as /tmp, only the owner of an entry can replace it.
    sticky = status.st_mode & stat.S_ISVTX
    others = status.st_mode & stat.S_IWOTH
    group = status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
    return bool(sticky) or not (others or group)


def _is_own_group(group: int) -> bool:
    """Return whether this user is the group's only member; many systems make a group for each user."""
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        name, entry = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
        return entry.gr_name == name and set(entry.gr_mem) <= {name}
    return False


class CodeCache:
    """XLA's machine code of earlier processes, in a `machine_folder`.

    Raises:
        OSError: The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._store = folder
        _remove_old(folder.parent)
        self._own = Path(tempfile.mkdtemp(prefix=_OWN, dir=self._store))
        atexit.register(shutil.rmtree, self._own, ignore_errors=True)
        for path in self._store.glob("[!.]*.pb.*"):
            name, _, digest = path.name.rpartition(".")
            # Another process may remove the file at the same time.
            with contextlib.suppress(OSError):
                if _hash(path.read_bytes()) != digest:
                    path.unlink()
                elif not (self._own / name).exists():
                    _link(path, self._own / name)
        self._known = {path.name for path in self._own.iterdir()}

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Tell TensorFlow the folder of this process; it reads the variable at its first operation."""
        before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = f"{before or ''} {_FLAG}='{self._own}'".strip()
        try:
            yield
        finally:
            # Child processes have folders of their own.
            os.environ.pop(_VARIABLE)
            os.environ.update({} if before is None else {_VARIABLE: before})

    def keep(self) -> None:
        """Copy the code that this process has compiled since the last call to the kept files."""
        with contextlib.suppress(OSError):
            for path in self._own.glob("*.pb"):
                if path.name not in self._known:
                    data = path.read_bytes()
                    write_bytes(self._store / f"{path.name}.{_hash(data)}", data)
                    self._known.add(path.name)


def machine_folder(threads: int) -> Path | None:
    """Return the folder for this version of TensorFlow, this processor and this number of `threads`.

    The number matters because XLA divides loops among the threads. Return None if there can be no folder.
    """
    folder = private_folder()
    with contextlib.suppress(OSError, importlib.metadata.PackageNotFoundError):
        if folder is not None:
            (folder / (key := _key(threads))).mkdir(0o700, exist_ok=True)
            return folder / key
    return None


def open_code(folder: Path) -> CodeCache | None:
    """Return the cache in `folder`, which is from `machine_folder`; None if no cache can be used.

    That is so if the user has set another cache in TF_XLA_FLAGS, if the variable does not begin with a flag
    (TensorFlow takes it for the name of a file then), if the disk is nearly full, or if there is an NVIDIA
    GPU: code for GPUs is not kept, because the name of the folder does not tell them apart.
    """
    flags = os.environ.get(_VARIABLE, "").strip()
    if nvidia_devices() or _FLAG in flags or (flags and not flags.startswith("-")) or "'" in str(folder):
        return None
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folder).free > ROOM:
            return CodeCache(folder)
    return None


def _key(threads: int) -> str:
    """Return a name that differs whenever the machine code may differ."""
    version = importlib.metadata.version("tensorflow")
    flags = [os.environ.get(name, "") for name in (_VARIABLE, "XLA_FLAGS")]
    return f"{version}-{_hash(repr((_processor(), threads, flags)).encode())[:16]}"


def _processor() -> list[str]:
    """Return what the system says about the first processor: its model and its instruction sets."""
    with contextlib.suppress(OSError):
        first = _CPUINFO.read_text("utf-8", "replace").partition("\n\n")[0]
        # The first five are of x86, the last two of ARM.
        kept = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features")
        return [line for line in first.splitlines() if line.startswith(kept)]
    return [platform.machine(), platform.processor()]


def _remove_old(everything: Path) -> None:
    """Remove the folders that killed processes left, and the oldest kept files beyond `MOST_BYTES`."""
    for left in (*everything.glob(f"*/{_OWN}*"), *everything.glob(f"*/{PARTIAL}*")):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    room = MOST_BYTES
    files = [(path, path.stat()) for path in everything.glob("*/[!.]*.pb.*")]
    for path, status in sorted(files, key=lambda file: -file[1].st_mtime):
        room -= status.st_size
        if room < 0:
            path.unlink(missing_ok=True)


def _link(path: Path, name: Path) -> None:
    """Make `name` a hard link to `path`; on a file system without hard links, copy the file."""
    try:
        name.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, name)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""The undamaged files that the fuzzer starts from, and the case of each number."""

from __future__ import annotations

import functools
import io
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image, ImageCms

from fuzzing import archives, hdf5, matlab, pictures

ROOT = Path(__file__).parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests" / "helpers")) if path not in sys.path]

from weight_files import FULL, network, small_npz, write_h5, write_mat

from neural_style_tf.weights.keras_h5 import RECORD_ATTRIBUTE
from neural_style_tf.weights.matconvnet import RECORD_VARIABLE

WIDTHS = tuple(width // 64 for width in FULL)
"""Filters of the networks inside: VGG-19's layers, narrow, so that most of a file is structure."""

WEIGHTS = ("mat", "h5", "npz")
PICTURES = ("png", "jpg", "webp", "tif", "gif", "bmp")

Mutator = Callable[[random.Random], bytes]


def case(kind: str, seed: int, number: int) -> bytes:
    """Return one changed file, always the same for the same arguments."""
    rng = random.Random(f"{kind} {seed} {number}")
    return rng.choice(mutators(kind))(rng)


def undamaged(kind: str) -> list[bytes]:
    """Return the files that the cases of one kind are made from."""
    return _weights(kind) if kind in WEIGHTS else _pictures(kind)


@functools.cache
def mutators(kind: str) -> list[Mutator]:
    """Return one function for each original of a kind."""
    files = undamaged(kind)
    if kind in PICTURES:
        return [functools.partial(pictures.mutate, form=kind, data=data) for data in files]
    module = {"mat": matlab, "h5": hdf5, "npz": archives}[kind]
    return [_bound(module.mutate, module.take_apart(data)) for data in files]


def _bound(mutate: Callable[..., bytes], parts: object) -> Mutator:
    return lambda rng: mutate(rng, parts)


@functools.cache
def _weights(kind: str) -> list[bytes]:
    kernels, biases = network(WIDTHS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "original"
        if kind == "mat":
            record = {RECORD_VARIABLE: "{}"}
            made = [
                write_mat(path, kernels, biases, layout, compress=compress, extra=extra).read_bytes()
                for layout in ("old", "new", "filters")
                for compress in (False, True)
                for extra in (None, record)
            ]
        elif kind == "h5":
            made = [
                write_h5(path, kernels, biases, form).read_bytes()
                for form in ("notop", "kernel", "nested", "model", "keras3")
            ]
            made += [_modern(path, kernels, biases, libver) for libver in ("earliest", "latest")]
        else:
            made = [small_npz(path, kernels, biases).read_bytes()]
            with np.load(path) as archive:
                packed = io.BytesIO()
                np.savez_compressed(packed, **archive)
            made.append(packed.getvalue())
    return made


def _modern(path: Path, kernels: dict, biases: dict, libver: str) -> bytes:
    """Return a file with chunks, filters, attributes of any length, links and a record."""
    with h5py.File(path, "w", libver=libver) as file:
        for number, name in enumerate(kernels):
            group = file.create_group(f"block{name[4]}_conv{name[6]}")
            group.attrs["name"] = group.name[1:]
            options = {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True}
            if number % 3 == 1:
                options = {"chunks": True, "compression": "lzf"}
            elif number % 3 == 2:
                options = {}
            group.create_dataset("kernel:0", data=kernels[name], **options)
            group.create_dataset("bias:0", data=biases[name], maxshape=(None,))
        file["soft"], file["outside"] = h5py.SoftLink("/block1_conv1"), h5py.ExternalLink("x.h5", "/")
        file["hard"] = file["block2_conv1"]
        file.attrs[RECORD_ATTRIBUTE] = "{}"
        file.attrs["names"] = [name.encode() for name in kernels]
        file.create_dataset("words", data=np.array([b"one", b"two"], dtype=h5py.string_dtype()))
    return path.read_bytes()


@functools.cache
def _pictures(kind: str) -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words" * 4
    exif.get_ifd(0x8769).update({0x9286: b"comment", 0x829A: 0.5})
    exif.get_ifd(0x8825)[1] = "N"
    profiles = [ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "LAB")]
    extras = {"exif": exif.tobytes(), "icc_profile": profiles[0]}
    frames = [_picture("RGB", seed) for seed in range(3)]
    several = {"save_all": True, "append_images": frames[1:]}

    def encoded(form: str, image: str | Image.Image = "RGB", **options: object) -> bytes:
        file = io.BytesIO()
        (_picture(image) if isinstance(image, str) else image).save(file, form, **options)
        return file.getvalue()

    if kind == "png":
        made = [encoded("PNG", mode, **extras) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")]
        made += [encoded("PNG", frames[0], **several), encoded("PNG", "P", transparency=b"\0\x80\xff")]
        made.append(encoded("PNG", transparency=(1, 2, 3), icc_profile=profiles[1]))
    elif kind == "jpg":
        made = [encoded("JPEG", mode, **extras) for mode in ("RGB", "L", "CMYK")]
        made += [encoded("JPEG", progressive=True, **extras), encoded("JPEG", subsampling=0, quality=30)]
        made.append(encoded("MPO", frames[0], **several))
    elif kind == "webp":
        made = [encoded("WEBP", mode, **extras) for mode in ("RGB", "RGBA")]
        made += [encoded("WEBP", mode, lossless=True) for mode in ("RGB", "RGBA")]
        made += [encoded("WEBP", frames[0], **several), encoded("WEBP")]
    elif kind == "tif":
        made = [
            encoded("TIFF", mode, **extras) for mode in ("RGB", "RGBA", "L", "P", "CMYK", "LAB", "I;16", "F")
        ]
        made += [
            encoded("TIFF", compression=name)
            for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "tiff_deflate")
        ]
        made += [encoded("TIFF", "1", compression=name) for name in ("group3", "group4", "tiff_ccitt")]
        made += [encoded("TIFF", big_tiff=True), encoded("TIFF", frames[0], **several)]
        made.append(encoded("TIFF", compression="tiff_lzw", tiffinfo={317: 2, 278: 4}))
    elif kind == "gif":
        made = [encoded("GIF", mode) for mode in ("P", "L", "1")]
        made += [
            encoded("GIF", frames[0], **several, loop=0, disposal=2),
            encoded("GIF", "P", transparency=3),
        ]
    else:
        made = [encoded("BMP", mode) for mode in ("RGB", "RGBA", "L", "P", "1")] + [_run_lengths()]
    return made


def _picture(mode: str, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 4), np.uint8)
    # Half noise and half plain, for the coders of both.
    pixels[:, 16:] = 200
    image = Image.fromarray(pixels)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode == "LAB":
        to_lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image.convert("RGB"), *to_lab, outputMode="LAB")
    return image.convert("RGB").convert(mode) if mode in ("CMYK", "P", "1", "F") else image.convert(mode)


def _run_lengths() -> bytes:
    """Return a BMP of 8 bits a pixel in runs, which Pillow reads and does not write."""
    rows = b"".join(b"\x10\x05\x00\x10" + bytes(range(16)) + b"\0\0" for _ in range(24)) + b"\0\1"
    palette = bytes(range(256)) * 4
    header = np.array([40, 32, 24, 1 | 8 << 16, 1, len(rows), 2835, 2835, 256, 0], "<u4").tobytes()
    start = 14 + len(header) + len(palette)
    return b"BM" + np.array([start + len(rows), 0, start], "<u4").tobytes() + header + palette + rows

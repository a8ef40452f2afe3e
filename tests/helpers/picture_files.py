"""Write picture files that Pillow does not write: PNG of any depth, ICC profiles, headers that lie."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

FORMATS = {
    "png": "PNG",
    "jpg": "JPEG",
    "webp": "WEBP",
    "tif": "TIFF",
    "gif": "GIF",
    "bmp": "BMP",
    "ppm": "PPM",
}


def noise(mode="RGB", size=(32, 24), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(suffix, image=None, **options):
    file = io.BytesIO()
    (image or noise()).save(file, FORMATS[suffix], **options)
    return file.getvalue()


# EXIF 2.32, tag 0x0112: where the first stored row and the first stored column are seen.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def as_stored(upright, orientation):
    first_row, first_column = ORIENTATIONS[orientation]
    stored = upright.swapaxes(0, 1) if first_row in ("left", "right") else upright
    stored = stored[::-1] if first_row in ("right", "bottom") else stored
    return np.ascontiguousarray(stored[:, ::-1] if first_column in ("right", "bottom") else stored)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png(path, pixels, depth, color, *extra):
    """Write a PNG; `color` is its colour type, `extra` are (name, data) of chunks before the pixels."""
    height, width = pixels.shape[:2]
    if depth < 8:
        bits = (pixels[..., None] >> np.arange(depth)[::-1]) & 1
        rows = [np.packbits(row.ravel()).tobytes() for row in bits.astype(np.uint8)]
    else:
        rows = [row.tobytes() for row in pixels.astype(f">u{depth // 8}")]
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks))
    return path


def lying(suffix, width, height):
    """Return a small file whose header claims another size."""
    data = bytearray(encoded(suffix, noise("L" if suffix == "tif" else "RGB")))
    if suffix == "png":
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return bytes(data[:8]) + chunk(b"IHDR", header) + data[33:]
    if suffix == "jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif suffix == "gif":
        data[6:10] = struct.pack("<HH", width, height)
    elif suffix == "bmp":
        data[18:26] = struct.pack("<ii", width, height)
    elif suffix == "webp":
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", width, height)
    elif suffix == "ppm":
        data = bytearray(data.replace(b"32 24", b"%d %d" % (width, height)))
    else:
        directory = struct.unpack_from("<I", data, 4)[0] + 2
        (count,) = struct.unpack_from("<H", data, directory - 2)
        for at in range(directory, directory + 12 * count, 12):
            if struct.unpack_from("<H", data, at)[0] in (256, 257):
                struct.pack_into("<HII", data, at + 2, 4, 1, height if data[at] else width)
    return bytes(data)


def icc(space, tags):
    """Build an ICC profile of version 2 with D50 white."""
    white = struct.pack(">4sI3i", b"XYZ ", 0, 63190, 65536, 54061)
    description = b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = [(b"wtpt", white), (b"desc", description), *tags, (b"cprt", b"text" + bytes(4) + b"none\0")]
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


LINEAR_GREY = icc(b"GRAY", [(b"kTRC", b"curv" + bytes(8))])


def matrix_profile(matrix, curve):
    """Return the profile of an RGB space from its colours' XYZ (D50, columns) and its exponent or curve."""
    columns = np.round(np.asarray(matrix).T * 65536).astype(int)
    if isinstance(curve, float):
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(curve * 256))
    tags = [
        (b"%cXYZ" % letter, struct.pack(">4sI3i", b"XYZ ", 0, *xyz))
        for letter, xyz in zip(b"rgb", columns, strict=True)
    ]
    return icc(b"RGB ", [*tags, *((b"%cTRC" % letter, curve) for letter in b"rgb")])

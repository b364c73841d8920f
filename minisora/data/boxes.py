"""What kind of video file this is, and whether an mp4 claims more than it can hold, before a decoder believes it.

An mp4 is boxes: a length, a name, a content. Its tables of samples may give one size for all, and then a few bytes can
claim a billion samples, each of which costs a decoder memory.
"""

import re
from typing import BinaryIO

from minisora.core.errors import MinisoraError

BEGINNINGS = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"RIFF": "avi",
    b"OggS": "ogg",
    b"\x00\x00\x01\xba": "mpeg",
    b"G": "mpegts",
}
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"styp")
# Where a table of samples tells their common size (or None) and their number, in bytes after its name.
TABLES = {b"stsz": (4, 8), b"stz2": (None, 8), b"trun": (None, 4)}


def container_of(file: BinaryIO, name: str) -> str:
    """The name of the container by the file's first bytes. Lists of other files and addresses are no video."""
    head = file.read(12)
    file.seek(0)
    if head[4:8] in BOXES:
        check_samples(file, name)
        return "mp4"
    for beginning, container in BEGINNINGS.items():
        if head.startswith(beginning):
            return container
    known = ", ".join(["mp4", *BEGINNINGS.values()])
    raise MinisoraError(f"{name} cannot be read as a video: its first bytes are of no known kind ({known})")


def check_samples(file: BinaryIO, name: str) -> None:
    """Refuse an mp4 whose tables claim more samples than the file has bytes. The pictures themselves are skipped."""
    size, start = file.seek(0, 2), 0
    while start + 8 <= size:
        file.seek(start)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4]), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:])
        if length < 8:  # 0 is "up to the end", and anything else is no box, so that the rest is looked through
            length = size - start
        if kind != b"mdat":
            file.seek(start)
            _check_tables(file.read(min(length, size - start)), size, name)
        start += length
    file.seek(0)


def _check_tables(content: bytes, size: int, name: str) -> None:
    for found in re.finditer(b"|".join(TABLES), content):
        common, number = TABLES[found.group()]
        each = 1 if common is None else max(1, _number(content, found.end() + common))
        if _number(content, found.end() + number) * each > size:
            raise MinisoraError(f"{name} claims more pictures or sounds than its {size} bytes can hold: it is broken")


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4])

"""Image files in a folder or a tar archive: found, read one by one, decoded within bounds.

An image goes by its file's name without folders: so annotations name it.
"""

from __future__ import annotations

import io
import math
import os
import stat
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from raysq.config import UserError, digest
from raysq.data.archive import decompressed, is_archive, is_compressed, opened, sound
from raysq.disk import full_disk_told
from raysq.terminal import shown

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
"""Other files are no images."""
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")
"""What Pillow may take a file for: among all that it knows are some that start other programs."""
MAX_FILE_BYTES = 64 * 2**20
"""A larger file is not read [bytes]."""
MAX_PIXELS = 50_000_000
"""A larger image is not decoded: a small file may say that it is of any size [pixels]."""
MAX_ELONGATION = 50
"""An image whose longer side is more times its shorter one is not decoded: with its shorter side scaled up to
what a network sees, it would fill the memory."""
NO_UTF8 = "its name is no UTF-8: rename it"
"""Why an image is left out: annotations and manifests could not name it."""
ACCEPTED = "give a folder of images, a .tar or a .tar.gz"
"""What images may lie in, for messages."""


class BadImage(Exception):  # noqa: N818 - an image, which is passed over
    """An image that cannot be used; says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of an image lie."""

    path: Path
    offset: int
    size: int
    changed: int
    """When they were last written, by the folder or the archive [ns since 1970]."""


@dataclass(frozen=True)
class Pictures:
    """Image files by name. Picklable; reads the same on every machine that sees the paths."""

    places: Mapping[str, Place]
    """By name, in no order."""
    refused: Mapping[str, str]
    """Why other images are left out, by their path in the folder or archive; bytes of it that are no UTF-8
    are escaped."""

    @classmethod
    def find(cls, place: Path, scratch: Path) -> Pictures:
        """The images in a folder and the folders in it, or in an archive.

        Args:
            place: folder, or tar archive, plain or compressed. Links to files in a folder are followed; in an
                archive links, and paths that lead out of it, are refused.
            scratch: where a compressed archive is decompressed to, unless it was before: members in the
                middle of it cannot be reached otherwise.

        Raises:
            UserError: there is nothing, something else, a damaged archive or one out of bounds, no image, or
                two images of one name.
        """
        if place.is_dir():
            found, refused = _in_folder(place)
        elif place.is_file():
            if not is_archive(place):
                raise UserError(
                    f"{place} is no tar archive: {ACCEPTED} (unpack other archives; of a single image, its "
                    "folder)"
                )
            tar = _decompressed(place, scratch) if is_compressed(place) else place
            found, refused = _in_tar(tar, place)
        else:
            what = "is no file or folder" if place.exists() else "does not exist"
            raise UserError(f"{place} {what}: {ACCEPTED}")
        places: dict[str, Place] = {}
        for name, one in found:
            if name in places:
                raise UserError(
                    f"{place} holds two images {shown(name)}, in different folders or at one path of an "
                    "archive: features go by names without folders, rename or remove one"
                )
            places[name] = one
        if not places:
            raise UserError(f"{place} holds no image ({', '.join(sorted(SUFFIXES))}): check the path")
        return cls(places, refused)

    def read(self, name: str) -> bytes:
        """The bytes of an image's file. Raises KeyError where there is none and BadImage where it is bad."""
        place = self.places[name]
        if place.size > MAX_FILE_BYTES:
            raise BadImage(f"{place.size:,} bytes are more than {MAX_FILE_BYTES:,}")
        try:
            with place.path.open("rb") as file:
                file.seek(place.offset)
                data = file.read(place.size)
        except OSError as error:
            raise BadImage(f"cannot be read ({error.strerror})") from error
        if len(data) != place.size:
            raise BadImage(f"{len(data)} bytes instead of {place.size}")
        return data

    def image(self, name: str) -> Image.Image:
        """An image, as RGB. Raises KeyError where there is none and BadImage where it is bad."""
        return decoded(self.read(name))


def decoded(data: bytes) -> Image.Image:
    """The image in a file's bytes, whole and upright, as RGB. Raises BadImage."""
    try:
        # Pillow's warnings do not say of which file they are
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            image.load()
            return _rgb(_upright(image))
    except BadImage:
        raise
    except Exception as error:  # each format has exceptions of its own for damage
        said = str(error).partition(" <_io.")[0]  # an address follows
        raise BadImage(f"no image that can be decoded ({said or type(error).__name__})") from error


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise BadImage(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise BadImage(f"{width} x {height} pixels: one side is more than {MAX_ELONGATION} times the other")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera says that it was held."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # what the camera says is damaged, in one of many ways; the pixels are whole
        return image


def _rgb(image: Image.Image) -> Image.Image:
    """With 8 bits a channel: 16 bits are scaled to them, and what is transparent lies on white."""
    if image.mode in ("I", "F"):
        raise BadImage(f"mode {image.mode} does not say which numbers are black and white")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))  # 65535 = 255 x 257
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _sayable(path: str) -> str:
    """A path with bytes that are no UTF-8, which no JSON file can hold, escaped."""
    return path.encode("utf-8", "backslashreplace").decode()


def _in_folder(folder: Path) -> tuple[list[tuple[str, Place]], dict[str, str]]:
    """The images in a folder, and why others are refused."""
    found: list[tuple[str, Place]] = []
    refused: dict[str, str] = {}
    for parent, _, names in os.walk(folder):
        for name in filter(_is_image, names):
            path = Path(parent, name)
            if _sayable(name) != name:
                refused[_sayable(str(path.relative_to(folder)))] = NO_UTF8
                continue
            try:
                there = path.stat()
            except OSError as error:
                raise UserError(f"{path}: {error.strerror}: mend or remove it") from error
            if stat.S_ISREG(there.st_mode):
                found.append((name, Place(path.absolute(), 0, there.st_size, there.st_mtime_ns)))
            else:
                refused[str(path.relative_to(folder))] = "it is a pipe or another special file"
    return found, refused


def _in_tar(tar: Path, archive: Path) -> tuple[list[tuple[str, Place]], dict[str, str]]:
    """The images in a plain tar file, and why others are refused; ``archive`` is for messages."""
    found: list[tuple[str, Place]] = []
    refused: dict[str, str] = {}
    with opened(tar, archive) as members:
        for member in members:
            path = PurePosixPath(member.name)
            if member.isdir() or not _is_image(path.name):
                continue
            if path.is_absolute() or ".." in path.parts:
                refused[_sayable(member.name)] = "its path leads out of the archive"
            elif not member.isreg() or member.issparse():
                refused[_sayable(member.name)] = "it is a link or another special file"
            elif _sayable(path.name) != path.name:
                refused[_sayable(member.name)] = NO_UTF8
            else:
                changed = round(member.mtime * 1e9) if math.isfinite(member.mtime * 1e9) else 0
                found.append((path.name, Place(tar.absolute(), member.offset_data, member.size, changed)))
    return found, refused


def _decompressed(archive: Path, scratch: Path) -> Path:
    """The archive as a plain tar file in ``scratch``."""
    there = archive.stat()
    identity = digest({"path": str(archive.absolute()), "bytes": there.st_size, "time": there.st_mtime_ns})
    tar = scratch / f"{identity[:16]}.tar"
    if tar.exists():
        return tar
    aside = tar.with_suffix(".part")
    with (
        full_disk_told(scratch),
        _gone_after_failure(aside),
        sound(archive),
        decompressed(archive) as content,
        aside.open("wb") as file,
    ):
        while block := content.read():
            file.write(block)
    aside.replace(tar)
    return tar


@contextmanager
def _gone_after_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise

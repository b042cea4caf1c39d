"""Files opened without following links.

Whoever can write into a data folder could otherwise lead its readers and writers elsewhere by a
symbolic link. Each folder between the root and a file is opened by itself, as no link, relative to the
one before, so nothing can be exchanged in between. The root itself may be a link: whoever runs the
service chose it.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path

from engine.errors import FileNotPlainError

# Linux opens the very file behind a descriptor by this name, and finds files in a folder's. macOS and
# the BSDs open a file's descriptor again, but find nothing in a folder's: see `plain_folder.path_in`.
_DESCRIPTORS = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LINKED = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR)


def plain_descriptor(path: Path, root: Path | None, flags: int, mode: int = 0o600) -> int:
    """A descriptor of a regular file below `root`, or where None is given in its own folder.

    Raises:
        FileNotPlainError: the file or a folder on the way from the root is a link, or the file is a
            pipe, a device or a folder.
        OSError: as `os.open` does.
    """
    root = root or path.parent
    place = Path(root.name) / path.relative_to(root)
    # A pipe that nobody writes to must not hold the reader up.
    asked = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with opened_folder(path.parent, root) as folder, _links_refused(path.name, folder, place):
        descriptor = os.open(path.name, asked, mode, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_plain(place, "no regular file")
    return descriptor


def open_plain(path: Path, root: Path | None = None) -> BufferedReader:
    """The file, to be read. Raises FileNotPlainError, OSError."""
    return open(plain_descriptor(path, root, os.O_RDONLY), "rb")


def append_plain(path: Path, root: Path | None = None) -> BufferedWriter:
    """The file, made where it is not there, to be written to at its end. Raises as `open_plain`."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    return open(plain_descriptor(path, root, flags, 0o666), "ab")


def read_plain(path: Path, root: Path | None = None) -> bytes:
    """All that the file holds. Raises as `open_plain`."""
    with open_plain(path, root) as file:
        return file.read()


@contextmanager
def plain_path(path: Path, root: Path | None = None) -> Iterator[Path]:
    """A name of the opened file, for libraries that open and map files by their names; it holds inside
    the block, and what was mapped there stays. Raises as `open_plain`.
    """
    with open_plain(path, root) as file:
        yield _DESCRIPTORS / str(file.fileno())


def refuse_links(*paths: Path) -> None:
    """For files that only their library opens: looks before it does, so they could still be exchanged.

    Raises FileNotPlainError where one of them is a link; one that is not there passes.
    """
    for path in paths:
        if path.is_symlink():
            raise _not_plain(Path(path.parent.name) / path.name, "a link")


@contextmanager
def opened_folder(folder: Path, root: Path, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder at or below `root`; with `make` what is not there is made.

    Raises:
        FileNotPlainError: it or a folder on the way from the root is a link.
        OSError: as `os.open` and `os.mkdir` do.
    """
    if make:
        root.mkdir(parents=True, exist_ok=True)
    descriptor, place = os.open(root, _FOLDER), Path(root.name)
    try:
        for name in folder.relative_to(root).parts:
            place /= name
            below = _below(name, descriptor, place, make)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _below(name: str, parent: int, place: Path, make: bool) -> int:
    if name == "..":
        raise _not_plain(place, "outside its folder")
    try:
        with _links_refused(name, parent, place):
            return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another process made it, or it is a link to nowhere
        os.mkdir(name, dir_fd=parent)
    return _below(name, parent, place, make=False)


@contextmanager
def _links_refused(name: str, parent: int, place: Path) -> Iterator[None]:
    """Inside, an entry of an opened folder is opened; `place` names it from the root on."""
    try:
        yield
    except OSError as error:
        if error.errno not in _LINKED:
            raise
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            raise
        raise _not_plain(place, "a link") from error


def _not_plain(place: Path, wrong: str) -> FileNotPlainError:
    return FileNotPlainError(
        f"{place} is {wrong}, and files are opened without following links; put the file or folder "
        "itself there, or mount it there"
    )

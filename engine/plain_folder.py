"""Folders written to, walked and removed without following links; see `plain_file`."""

import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.fail_point import StagedThing, staging_point
from engine.plain_file import opened_folder, refuse_links

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

STAGING = ".staging"
"""How the name of a file ends that is not yet whole."""
REPLACED = "-replaced"
"""How the name of a folder ends that makes room for another."""


def path_in(descriptor: int, folder: Path) -> Path:
    """A name of an opened folder for libraries that write files by their names.

    Where the system finds nothing in a folder's descriptor it is the folder's own name: what was checked
    could be exchanged there until the write, which then meets a name that cannot be guessed.
    """
    return Path(f"/proc/self/fd/{descriptor}") if sys.platform == "linux" else folder


@contextmanager
def staged(
    path: Path,
    root: Path | None = None,
    forced: bool = True,
    point: StagedThing | None = None,
    within: Path | None = None,
) -> Iterator[Path]:
    """A new file to be written by the name that is given; it takes its place as a whole when the block
    ends, or is removed when the block fails. Its folder is made where it is not there. What is not
    `forced` to the disk may be lost in a power cut.

    Until then it lies in `within`, a folder whose owner removes what a kill leaves there, or beside its
    place where none is given or that lies on another disk. `point` names what passes the fail points
    `.written`, `.forced` and `.renamed`.

    Raises:
        FileNotPlainError: a folder on the way from the root is a link.
        OSError: what goes wrong with the disk; also where `within` is not there.
    """
    with (
        opened_folder(path.parent, root or path.parent, make=True) as folder,
        _staging_folder(within, path.parent, folder, root) as (source, place),
    ):
        name = f".{path.name}.{secrets.token_hex(8)}{STAGING}"
        os.close(os.open(name, _NEW, 0o666, dir_fd=source))
        try:
            yield path_in(source, place) / name
            staging_point(point, "written")
            if forced:
                force(name, source)
            staging_point(point, "forced")
            os.replace(name, path.name, src_dir_fd=source, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=source)
            raise
        staging_point(point, "renamed")
        if forced:
            os.fsync(folder)


@contextmanager
def _staging_folder(
    within: Path | None, beside: Path, opened: int, root: Path | None
) -> Iterator[tuple[int, Path]]:
    """The folder that a new file or folder lies in first, opened, and its name. `opened` is the one of
    its place: from another disk nothing can be renamed into it.
    """
    if within is None:
        yield opened, beside
        return
    with opened_folder(within, root or within) as other:
        if os.fstat(other).st_dev == os.fstat(opened).st_dev:
            yield other, within
        else:
            yield opened, beside


@contextmanager
def staged_folder(
    folder: Path,
    root: Path | None = None,
    point: StagedThing | None = None,
    within: Path | None = None,
) -> Iterator[Path]:
    """A new folder to be filled by the name that is given; when the block ends it takes its place with
    all its files forced to the disk, and what stood there is removed. When the block fails it is removed
    instead. The folders above are made where they are not there.

    `within` is as in `staged`; what stood there goes aside beside the place all the same. `point` names
    what passes the fail points `.forced`, `.moved_aside`, `.renamed` and `.stored`.

    Raises:
        FileNotPlainError: a folder on the way from the root is a link.
        OSError: what goes wrong with the disk; also where `within` is not there.
    """
    with (
        opened_folder(folder.parent, root or folder.parent, make=True) as parent,
        _staging_folder(within, folder.parent, parent, root) as (source, place),
    ):
        name = f".{folder.name}{STAGING}-{secrets.token_hex(8)}"
        os.mkdir(name, dir_fd=source)
        try:
            with _folder_in(source, name) as staging:
                yield path_in(staging, place / name)
                for each in os.listdir(staging):
                    force(each, staging)
                os.fsync(staging)
            staging_point(point, "forced")
            replaced = name + REPLACED
            if _moved_aside(folder.name, replaced, parent):
                staging_point(point, "moved_aside")
            os.rename(name, folder.name, src_dir_fd=source, dst_dir_fd=parent)
        except BaseException:
            shutil.rmtree(name, ignore_errors=True, dir_fd=source)
            raise
        staging_point(point, "renamed")
        os.fsync(parent)
        staging_point(point, "stored")
        with suppress(FileNotFoundError):  # nothing stood there
            _remove(replaced, parent)


@contextmanager
def _folder_in(parent: int, name: str) -> Iterator[int]:
    """A descriptor of a folder that lies in an opened one, if it is no link."""
    descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _moved_aside(place: str, replaced: str, parent: int) -> bool:
    """Whether something stood at a place, a link too; it bears the other name then."""
    try:
        os.rename(place, replaced, src_dir_fd=parent, dst_dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


def force(name: str, folder: int) -> None:
    """Makes the kernel write a file of an opened folder to the disk."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_file(path: Path, root: Path | None = None) -> None:
    """Removes a file, or a link but not what it names; nothing where it is not there.

    Raises FileNotPlainError where a folder on the way from the root is a link.
    """
    with suppress(FileNotFoundError), opened_folder(path.parent, root or path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def delete_tree(path: Path, root: Path | None = None) -> None:
    """Removes a folder with all that lies in it, or a link but not what it names; what cannot be removed
    stays. Raises FileNotPlainError where a folder on the way from the root is a link.
    """
    with suppress(FileNotFoundError), opened_folder(path.parent, root or path.parent) as folder:
        _remove(path.name, folder)


def _remove(name: str, folder: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def refuse_links_below(folder: Path, root: Path) -> None:
    """For a folder that only its library reads; see `refuse_links`.

    Raises FileNotPlainError where the folder, one on the way from the root, or anything in it is a link;
    OSError where it is not there.
    """
    with opened_folder(folder, root):
        for within, folders, names in os.walk(folder):
            refuse_links(*(Path(within) / name for name in (*folders, *names)))


def files_below(folder: Path, root: Path | None = None) -> Iterator[tuple[str, int]]:
    """The name of every file in a folder and in those below it, with the descriptor of its folder, which
    holds until the next. Goes into no link; nothing where the folder is not there.

    Raises FileNotPlainError where the folder or one on the way from the root is a link.
    """
    with suppress(FileNotFoundError), opened_folder(folder, root or folder) as top:
        for _, _, names, below in os.fwalk(".", dir_fd=top):
            for name in names:
                yield name, below

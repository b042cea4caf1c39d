"""Where a claimed job keeps what it needs to go on after a kill: `<job>.<token>` in the work folder."""

import os
import re
from pathlib import Path

from engine.fail_point import fail_point
from engine.plain_file import opened_folder
from service.errors import Code, ServiceError
from service.removal import remove_tree
from service.state.job import Job
from service.state.jobs import Jobs

_CLAIM = re.compile(r"\.?([0-9a-z-]+)\.([0-9]+)")


class WorkFolders:
    """The folders of all claims; workers on several machines may share them.

    No link is followed below `root`, or the folder where none is given. What meets one raises
    FileNotPlainError.
    """

    def __init__(self, folder: Path, jobs: Jobs, root: Path | None = None) -> None:
        self._folder, self._jobs, self._root = folder, jobs, root or folder

    def take(self, job: Job) -> Path:
        """The folder of a claim, with what earlier claims of the job left. A worker that has lost the
        job does not find its own any more, and so cannot write into this one.
        """
        mine = self._folder / f"{job.id}.{job.token}"
        earlier = [path for path in self._folder.glob(f"{job.id}.*") if token_of(path) < job.token]
        if earlier and not mine.exists():
            last = max(earlier, key=token_of)
            with opened_folder(self._folder, self._root) as folder:
                os.rename(last.name, mine.name, src_dir_fd=folder, dst_dir_fd=folder)
        with opened_folder(mine, self._root, make=True):
            fail_point("work.taken")
            return mine

    def clear(self, job_id: str) -> None:
        """Removes every folder of a job that has ended."""
        for path in self._folder.glob(f"{job_id}.*"):
            remove_tree(path, self._root)

    def sweep(self) -> None:
        """Removes the folders of jobs that ended without a worker, or are forgotten."""
        for path in self._folder.glob("*/"):
            if self._is_over(path.name.partition(".")[0]):
                remove_tree(path, self._root)

    def _is_over(self, job_id: str) -> bool:
        try:
            return self._jobs.get(job_id).state.is_final
        except ServiceError as error:
            if error.code is not Code.NOT_FOUND:
                raise
            return True


def token_of(path: Path) -> int:
    """The token in the name of a claim's folder, or of its staging folder; 0 where there is none."""
    found = _CLAIM.match(path.name)
    return int(found[2]) if found else 0

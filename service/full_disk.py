"""A full disk, by whichever library's words it is met, as an error with its mend."""

import errno

from service.errors import ServiceError, fail

_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_WORDS = f"(os error {errno.ENOSPC})"  # of safetensors, whose errors carry no number


def full_disk(error: BaseException) -> ServiceError | None:
    """DISK_FULL where that is what the error tells of, else None."""
    is_full = isinstance(error, OSError) and error.errno in _FULL
    if not is_full and _IN_WORDS not in str(error):
        return None
    return fail(
        "DISK_FULL",
        "the disk of the data folder is full; free some space there, then try again: what was stored "
        "before is whole",
    )

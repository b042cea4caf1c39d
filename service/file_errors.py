"""What libraries and the disk say of files, as errors with a reason."""

from engine.errors import FileNotPlainError
from service.errors import ServiceError, fail
from service.full_disk import full_disk


def file_error(error: BaseException) -> ServiceError | None:
    """DISK_FULL or FILE_NOT_PLAIN where that is what the error tells of, else None."""
    if isinstance(error, FileNotPlainError):
        return fail(error.reason, str(error))
    return full_disk(error)

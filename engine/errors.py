"""What can be wrong with a model or a prefix.

EngineError
├── ModelUnsupportedError   the model cannot carry a KV prefix
├── ModelMissingError       the model's files are not there
├── PrefixMismatchError     a prefix belongs to another model or another shape
└── FileNotPlainError       a file is a link, or lies behind one
"""


class EngineError(Exception):
    """Base of the engine's errors; the message says what is wrong and the mend."""


class ModelUnsupportedError(EngineError):
    """The model cannot carry a KV prefix."""


class ModelMissingError(EngineError):
    """The model's files are not there."""


class PrefixMismatchError(EngineError):
    """A prefix belongs to another model or another shape."""


class FileNotPlainError(EngineError):
    """A file is a link, or lies behind one, or is no regular file. `reason` is what callers are told."""

    reason = "FILE_NOT_PLAIN"

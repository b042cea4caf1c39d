"""What can be wrong with a model or a prefix.

EngineError
├── ModelUnsupportedError   the model cannot carry a KV prefix
├── ModelMissingError       the model's files are not there
└── PrefixMismatchError     a prefix belongs to another model or another shape
"""


class EngineError(Exception):
    """Base of the engine's errors; the message says what is wrong and the mend."""


class ModelUnsupportedError(EngineError):
    """The model cannot carry a KV prefix."""


class ModelMissingError(EngineError):
    """The model's files are not there."""


class PrefixMismatchError(EngineError):
    """A prefix belongs to another model or another shape."""

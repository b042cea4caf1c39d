import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import field_info_pb2 as _field_info_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Cartridge(_message.Message):
    __slots__ = ("name", "state", "prefix_tokens", "query_offset", "size_bytes", "model_fingerprint", "corpus_digest", "tensor_digest", "metrics", "create_time", "error", "changed_share")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Cartridge.State]
        STATE_TRAINING: _ClassVar[Cartridge.State]
        STATE_READY: _ClassVar[Cartridge.State]
        STATE_STALE: _ClassVar[Cartridge.State]
        STATE_FAILED: _ClassVar[Cartridge.State]
    STATE_UNSPECIFIED: Cartridge.State
    STATE_TRAINING: Cartridge.State
    STATE_READY: Cartridge.State
    STATE_STALE: Cartridge.State
    STATE_FAILED: Cartridge.State
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUERY_OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CORPUS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TENSOR_DIGEST_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CHANGED_SHARE_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Cartridge.State
    prefix_tokens: int
    query_offset: int
    size_bytes: int
    model_fingerprint: str
    corpus_digest: str
    tensor_digest: str
    metrics: _containers.ScalarMap[str, float]
    create_time: _timestamp_pb2.Timestamp
    error: _status_pb2.Status
    changed_share: float
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Cartridge.State, str]] = ..., prefix_tokens: _Optional[int] = ..., query_offset: _Optional[int] = ..., size_bytes: _Optional[int] = ..., model_fingerprint: _Optional[str] = ..., corpus_digest: _Optional[str] = ..., tensor_digest: _Optional[str] = ..., metrics: _Optional[_Mapping[str, float]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., changed_share: _Optional[float] = ...) -> None: ...

class ResidentCartridge(_message.Message):
    __slots__ = ("name", "part", "size_bytes", "hits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    part: int
    size_bytes: int
    hits: int
    def __init__(self, name: _Optional[str] = ..., part: _Optional[int] = ..., size_bytes: _Optional[int] = ..., hits: _Optional[int] = ...) -> None: ...

class TrainCartridgeRequest(_message.Message):
    __slots__ = ("parent", "cartridge_id", "prefix_tokens", "max_steps", "conversations", "time_budget", "request_id", "effort", "base", "part_tokens")
    class Effort(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EFFORT_UNSPECIFIED: _ClassVar[TrainCartridgeRequest.Effort]
        EFFORT_INSTANT: _ClassVar[TrainCartridgeRequest.Effort]
        EFFORT_FAST: _ClassVar[TrainCartridgeRequest.Effort]
        EFFORT_THOROUGH: _ClassVar[TrainCartridgeRequest.Effort]
    EFFORT_UNSPECIFIED: TrainCartridgeRequest.Effort
    EFFORT_INSTANT: TrainCartridgeRequest.Effort
    EFFORT_FAST: TrainCartridgeRequest.Effort
    EFFORT_THOROUGH: TrainCartridgeRequest.Effort
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CARTRIDGE_ID_FIELD_NUMBER: _ClassVar[int]
    PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    TIME_BUDGET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    PART_TOKENS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    cartridge_id: str
    prefix_tokens: int
    max_steps: int
    conversations: int
    time_budget: _duration_pb2.Duration
    request_id: str
    effort: TrainCartridgeRequest.Effort
    base: str
    part_tokens: int
    def __init__(self, parent: _Optional[str] = ..., cartridge_id: _Optional[str] = ..., prefix_tokens: _Optional[int] = ..., max_steps: _Optional[int] = ..., conversations: _Optional[int] = ..., time_budget: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., effort: _Optional[_Union[TrainCartridgeRequest.Effort, str]] = ..., base: _Optional[str] = ..., part_tokens: _Optional[int] = ...) -> None: ...

class WarmCartridgeRequest(_message.Message):
    __slots__ = ("name", "part")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    name: str
    part: int
    def __init__(self, name: _Optional[str] = ..., part: _Optional[int] = ...) -> None: ...

class EvictCartridgeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetResidencyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Residency(_message.Message):
    __slots__ = ("cartridges", "limit_bytes")
    CARTRIDGES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    cartridges: _containers.RepeatedCompositeFieldContainer[ResidentCartridge]
    limit_bytes: int
    def __init__(self, cartridges: _Optional[_Iterable[_Union[ResidentCartridge, _Mapping]]] = ..., limit_bytes: _Optional[int] = ...) -> None: ...

class GetCartridgeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListCartridgesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCartridgesResponse(_message.Message):
    __slots__ = ("cartridges", "next_page_token")
    CARTRIDGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    cartridges: _containers.RepeatedCompositeFieldContainer[Cartridge]
    next_page_token: str
    def __init__(self, cartridges: _Optional[_Iterable[_Union[Cartridge, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteCartridgeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

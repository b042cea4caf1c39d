import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import field_info_pb2 as _field_info_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Route(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTE_UNSPECIFIED: _ClassVar[Route]
    ROUTE_CARTRIDGE: _ClassVar[Route]
    ROUTE_INFINI_RETRI: _ClassVar[Route]
    ROUTE_CRAG: _ClassVar[Route]
    ROUTE_FULL_CONTEXT: _ClassVar[Route]
    ROUTE_NONE: _ClassVar[Route]
    ROUTE_DECLINE: _ClassVar[Route]

class Reader(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    READER_UNSPECIFIED: _ClassVar[Reader]
    READER_INDEXED: _ClassVar[Reader]
    READER_STREAMING: _ClassVar[Reader]
    READER_PUBLISHED: _ClassVar[Reader]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_CANCELLED: _ClassVar[FinishReason]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_GOOD: _ClassVar[Verdict]
    VERDICT_BAD: _ClassVar[Verdict]
ROUTE_UNSPECIFIED: Route
ROUTE_CARTRIDGE: Route
ROUTE_INFINI_RETRI: Route
ROUTE_CRAG: Route
ROUTE_FULL_CONTEXT: Route
ROUTE_NONE: Route
ROUTE_DECLINE: Route
READER_UNSPECIFIED: Reader
READER_INDEXED: Reader
READER_STREAMING: Reader
READER_PUBLISHED: Reader
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
FINISH_REASON_CANCELLED: FinishReason
VERDICT_UNSPECIFIED: Verdict
VERDICT_GOOD: Verdict
VERDICT_BAD: Verdict

class QueryRequest(_message.Message):
    __slots__ = ("corpus", "query", "route", "cartridge", "generation_config", "budget", "request_id", "reader")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    CARTRIDGE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    READER_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    query: str
    route: Route
    cartridge: str
    generation_config: GenerationConfig
    budget: Budget
    request_id: str
    reader: Reader
    def __init__(self, corpus: _Optional[str] = ..., query: _Optional[str] = ..., route: _Optional[_Union[Route, str]] = ..., cartridge: _Optional[str] = ..., generation_config: _Optional[_Union[GenerationConfig, _Mapping]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., request_id: _Optional[str] = ..., reader: _Optional[_Union[Reader, str]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("max_prompt_tokens",)
    MAX_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    max_prompt_tokens: int
    def __init__(self, max_prompt_tokens: _Optional[int] = ...) -> None: ...

class GenerationConfig(_message.Message):
    __slots__ = ("max_output_tokens", "temperature", "top_p", "stop_sequences", "seed")
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    STOP_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    max_output_tokens: int
    temperature: float
    top_p: float
    stop_sequences: _containers.RepeatedScalarFieldContainer[str]
    seed: int
    def __init__(self, max_output_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., stop_sequences: _Optional[_Iterable[str]] = ..., seed: _Optional[int] = ...) -> None: ...

class RouteDecision(_message.Message):
    __slots__ = ("route", "requested_route", "reason", "explanation", "signals", "cartridge", "fallbacks", "options", "decision_id", "runner_up", "margin")
    class SignalsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_ROUTE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    CARTRIDGE_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    route: Route
    requested_route: Route
    reason: str
    explanation: str
    signals: _containers.ScalarMap[str, float]
    cartridge: str
    fallbacks: _containers.RepeatedCompositeFieldContainer[RouteFallback]
    options: _containers.RepeatedCompositeFieldContainer[RouteOption]
    decision_id: str
    runner_up: Route
    margin: float
    def __init__(self, route: _Optional[_Union[Route, str]] = ..., requested_route: _Optional[_Union[Route, str]] = ..., reason: _Optional[str] = ..., explanation: _Optional[str] = ..., signals: _Optional[_Mapping[str, float]] = ..., cartridge: _Optional[str] = ..., fallbacks: _Optional[_Iterable[_Union[RouteFallback, _Mapping]]] = ..., options: _Optional[_Iterable[_Union[RouteOption, _Mapping]]] = ..., decision_id: _Optional[str] = ..., runner_up: _Optional[_Union[Route, str]] = ..., margin: _Optional[float] = ...) -> None: ...

class RouteOption(_message.Message):
    __slots__ = ("route", "quality", "expected_time", "slow_time", "prompt_tokens", "utility", "closed_reason", "closed_message")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_TIME_FIELD_NUMBER: _ClassVar[int]
    SLOW_TIME_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    UTILITY_FIELD_NUMBER: _ClassVar[int]
    CLOSED_REASON_FIELD_NUMBER: _ClassVar[int]
    CLOSED_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    route: Route
    quality: float
    expected_time: _duration_pb2.Duration
    slow_time: _duration_pb2.Duration
    prompt_tokens: int
    utility: float
    closed_reason: str
    closed_message: str
    def __init__(self, route: _Optional[_Union[Route, str]] = ..., quality: _Optional[float] = ..., expected_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., slow_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., prompt_tokens: _Optional[int] = ..., utility: _Optional[float] = ..., closed_reason: _Optional[str] = ..., closed_message: _Optional[str] = ...) -> None: ...

class RouteFallback(_message.Message):
    __slots__ = ("route", "reason", "message")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    route: Route
    reason: str
    message: str
    def __init__(self, route: _Optional[_Union[Route, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("document_id", "start_char", "end_char", "score", "text")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    START_CHAR_FIELD_NUMBER: _ClassVar[int]
    END_CHAR_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    start_char: int
    end_char: int
    score: float
    text: str
    def __init__(self, document_id: _Optional[str] = ..., start_char: _Optional[int] = ..., end_char: _Optional[int] = ..., score: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "prefix_tokens", "output_tokens", "queue_time", "first_token_time", "total_time", "prepare_time")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIME_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_TIME_FIELD_NUMBER: _ClassVar[int]
    TOTAL_TIME_FIELD_NUMBER: _ClassVar[int]
    PREPARE_TIME_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    prefix_tokens: int
    output_tokens: int
    queue_time: _duration_pb2.Duration
    first_token_time: _duration_pb2.Duration
    total_time: _duration_pb2.Duration
    prepare_time: _duration_pb2.Duration
    def __init__(self, prompt_tokens: _Optional[int] = ..., prefix_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., queue_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., first_token_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., prepare_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("answer", "route", "evidence", "finish_reason", "usage")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    answer: str
    route: RouteDecision
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    finish_reason: FinishReason
    usage: Usage
    def __init__(self, answer: _Optional[str] = ..., route: _Optional[_Union[RouteDecision, _Mapping]] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class StreamQueryRequest(_message.Message):
    __slots__ = ("query",)
    QUERY_FIELD_NUMBER: _ClassVar[int]
    query: QueryRequest
    def __init__(self, query: _Optional[_Union[QueryRequest, _Mapping]] = ...) -> None: ...

class StreamQueryResponse(_message.Message):
    __slots__ = ("route", "evidence", "delta", "summary")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    route: RouteDecision
    evidence: EvidenceList
    delta: TextDelta
    summary: QueryResponse
    def __init__(self, route: _Optional[_Union[RouteDecision, _Mapping]] = ..., evidence: _Optional[_Union[EvidenceList, _Mapping]] = ..., delta: _Optional[_Union[TextDelta, _Mapping]] = ..., summary: _Optional[_Union[QueryResponse, _Mapping]] = ...) -> None: ...

class EvidenceList(_message.Message):
    __slots__ = ("evidence",)
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    def __init__(self, evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ...) -> None: ...

class TextDelta(_message.Message):
    __slots__ = ("text", "token_ids")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    text: str
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, text: _Optional[str] = ..., token_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class ExplainRouteRequest(_message.Message):
    __slots__ = ("query",)
    QUERY_FIELD_NUMBER: _ClassVar[int]
    query: QueryRequest
    def __init__(self, query: _Optional[_Union[QueryRequest, _Mapping]] = ...) -> None: ...

class RetrieveRequest(_message.Message):
    __slots__ = ("query", "max_candidates")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    MAX_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    query: QueryRequest
    max_candidates: int
    def __init__(self, query: _Optional[_Union[QueryRequest, _Mapping]] = ..., max_candidates: _Optional[int] = ...) -> None: ...

class RetrieveResponse(_message.Message):
    __slots__ = ("route", "evidence", "candidates", "search_time")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SEARCH_TIME_FIELD_NUMBER: _ClassVar[int]
    route: RouteDecision
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    candidates: _containers.RepeatedCompositeFieldContainer[Evidence]
    search_time: _duration_pb2.Duration
    def __init__(self, route: _Optional[_Union[RouteDecision, _Mapping]] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., candidates: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., search_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class QueryTextRequest(_message.Message):
    __slots__ = ("question", "text")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    question: TextQuery
    text: str
    def __init__(self, question: _Optional[_Union[TextQuery, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class TextQuery(_message.Message):
    __slots__ = ("query", "generation_config", "budget", "reader")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    GENERATION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    READER_FIELD_NUMBER: _ClassVar[int]
    query: str
    generation_config: GenerationConfig
    budget: Budget
    reader: Reader
    def __init__(self, query: _Optional[str] = ..., generation_config: _Optional[_Union[GenerationConfig, _Mapping]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., reader: _Optional[_Union[Reader, str]] = ...) -> None: ...

class QueryTextResponse(_message.Message):
    __slots__ = ("progress", "evidence", "delta", "summary")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    progress: ReadingProgress
    evidence: EvidenceList
    delta: TextDelta
    summary: QueryResponse
    def __init__(self, progress: _Optional[_Union[ReadingProgress, _Mapping]] = ..., evidence: _Optional[_Union[EvidenceList, _Mapping]] = ..., delta: _Optional[_Union[TextDelta, _Mapping]] = ..., summary: _Optional[_Union[QueryResponse, _Mapping]] = ...) -> None: ...

class ReadingProgress(_message.Message):
    __slots__ = ("sentences", "tokens")
    SENTENCES_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    sentences: int
    tokens: int
    def __init__(self, sentences: _Optional[int] = ..., tokens: _Optional[int] = ...) -> None: ...

class RecordFeedbackRequest(_message.Message):
    __slots__ = ("corpus", "decision_id", "verdict")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    decision_id: str
    verdict: Verdict
    def __init__(self, corpus: _Optional[str] = ..., decision_id: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ...) -> None: ...

class RecordFeedbackResponse(_message.Message):
    __slots__ = ("good_count", "bad_count")
    GOOD_COUNT_FIELD_NUMBER: _ClassVar[int]
    BAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    good_count: int
    bad_count: int
    def __init__(self, good_count: _Optional[int] = ..., bad_count: _Optional[int] = ...) -> None: ...

class CountTokensRequest(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class CountTokensResponse(_message.Message):
    __slots__ = ("token_count",)
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    token_count: int
    def __init__(self, token_count: _Optional[int] = ...) -> None: ...

import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import field_info_pb2 as _field_info_pb2
from google.longrunning import operations_pb2 as _operations_pb2
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

class Corpus(_message.Message):
    __slots__ = ("name", "display_name", "state", "error", "document_count", "byte_count", "char_count", "sentence_count", "token_count", "content_digest", "indexed_digest", "etag", "create_time", "dense_search")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Corpus.State]
        STATE_OPEN: _ClassVar[Corpus.State]
        STATE_INDEXING: _ClassVar[Corpus.State]
        STATE_READY: _ClassVar[Corpus.State]
        STATE_FAILED: _ClassVar[Corpus.State]
    STATE_UNSPECIFIED: Corpus.State
    STATE_OPEN: Corpus.State
    STATE_INDEXING: Corpus.State
    STATE_READY: Corpus.State
    STATE_FAILED: Corpus.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHAR_COUNT_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    INDEXED_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DENSE_SEARCH_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    state: Corpus.State
    error: _status_pb2.Status
    document_count: int
    byte_count: int
    char_count: int
    sentence_count: int
    token_count: int
    content_digest: str
    indexed_digest: str
    etag: str
    create_time: _timestamp_pb2.Timestamp
    dense_search: DenseSearch
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., state: _Optional[_Union[Corpus.State, str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., document_count: _Optional[int] = ..., byte_count: _Optional[int] = ..., char_count: _Optional[int] = ..., sentence_count: _Optional[int] = ..., token_count: _Optional[int] = ..., content_digest: _Optional[str] = ..., indexed_digest: _Optional[str] = ..., etag: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dense_search: _Optional[_Union[DenseSearch, _Mapping]] = ...) -> None: ...

class DenseSearch(_message.Message):
    __slots__ = ("lists", "probes", "recall")
    LISTS_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    RECALL_FIELD_NUMBER: _ClassVar[int]
    lists: int
    probes: int
    recall: float
    def __init__(self, lists: _Optional[int] = ..., probes: _Optional[int] = ..., recall: _Optional[float] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("id", "sha256", "byte_count", "char_count", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHAR_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    sha256: str
    byte_count: int
    char_count: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., sha256: _Optional[str] = ..., byte_count: _Optional[int] = ..., char_count: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateCorpusRequest(_message.Message):
    __slots__ = ("corpus_id", "corpus", "request_id")
    CORPUS_ID_FIELD_NUMBER: _ClassVar[int]
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    corpus_id: str
    corpus: Corpus
    request_id: str
    def __init__(self, corpus_id: _Optional[str] = ..., corpus: _Optional[_Union[Corpus, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UploadDocumentsRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: DocumentChunk
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[_Union[DocumentChunk, _Mapping]] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("corpus", "request_id")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    request_id: str
    def __init__(self, corpus: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DocumentChunk(_message.Message):
    __slots__ = ("document_id", "offset", "data", "crc32c", "finish_document", "sha256")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    FINISH_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    offset: int
    data: bytes
    crc32c: int
    finish_document: bool
    sha256: str
    def __init__(self, document_id: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32c: _Optional[int] = ..., finish_document: _Optional[bool] = ..., sha256: _Optional[str] = ...) -> None: ...

class UploadDocumentsResponse(_message.Message):
    __slots__ = ("document_count", "byte_count")
    DOCUMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    document_count: int
    byte_count: int
    def __init__(self, document_count: _Optional[int] = ..., byte_count: _Optional[int] = ...) -> None: ...

class GetUploadRequest(_message.Message):
    __slots__ = ("corpus", "request_id")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    request_id: str
    def __init__(self, corpus: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class Upload(_message.Message):
    __slots__ = ("corpus", "request_id", "documents")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    request_id: str
    documents: _containers.RepeatedCompositeFieldContainer[UploadedDocument]
    def __init__(self, corpus: _Optional[str] = ..., request_id: _Optional[str] = ..., documents: _Optional[_Iterable[_Union[UploadedDocument, _Mapping]]] = ...) -> None: ...

class UploadedDocument(_message.Message):
    __slots__ = ("document_id", "committed_bytes", "finished")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    committed_bytes: int
    finished: bool
    def __init__(self, document_id: _Optional[str] = ..., committed_bytes: _Optional[int] = ..., finished: _Optional[bool] = ...) -> None: ...

class ListDocumentsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDocumentsResponse(_message.Message):
    __slots__ = ("documents", "next_page_token")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    next_page_token: str
    def __init__(self, documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteDocumentRequest(_message.Message):
    __slots__ = ("corpus", "document_id")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    document_id: str
    def __init__(self, corpus: _Optional[str] = ..., document_id: _Optional[str] = ...) -> None: ...

class IndexCorpusRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetCorpusRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListCorporaRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCorporaResponse(_message.Message):
    __slots__ = ("corpora", "next_page_token")
    CORPORA_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    corpora: _containers.RepeatedCompositeFieldContainer[Corpus]
    next_page_token: str
    def __init__(self, corpora: _Optional[_Iterable[_Union[Corpus, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteCorpusRequest(_message.Message):
    __slots__ = ("name", "etag", "force")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    force: bool
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

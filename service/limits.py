"""Every bound the service holds its callers to, in one place. Knows no request."""

from __future__ import annotations

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one caller may ask for; raises ValueError when they do not make sense."""

    # A 10-million-token corpus is about 40 MiB of text, so even one file of that size passes.
    max_document_bytes: int = 64 * MIB
    # Twenty times the largest corpus the routes are built for; beyond it indexing takes days.
    max_corpus_bytes: int = 1 * GIB
    # A large source tree has tens of thousands of files.
    max_documents: int = 100_000
    # A quarter of gRPC's default 4 MiB message, so that a chunk fits any client's settings.
    max_chunk_bytes: int = 1 * MIB
    # Twice the longest path found in practice; ids are shown with every piece of evidence.
    max_document_id_chars: int = 512
    # Fits one line of a listing.
    max_display_name_chars: int = 200
    # About 8,000 tokens, the whole context of the default model.
    max_question_chars: int = 32_768
    # Answers quote and combine; what is longer than this is a document.
    max_output_tokens: int = 1024
    # Some ten minutes of one CPU; the published reader cannot be interrupted.
    max_published_tokens: int = 200_000
    # Some hours of one CPU at minutes a part; a cartridge of more would be a night's work.
    max_cartridge_tokens: int = 131_072
    # A page of search results; what is ranked behind it no caller has used.
    max_candidates: int = 100
    # At seconds an answer, a longer queue only serves callers who have left.
    max_queue: int = 64
    # Sixteen whole windows of the default model: some minutes of one CPU.
    max_queue_tokens: int = 131_072
    # A quarter stays for the others' next questions; counts once a second tenant has asked something.
    max_tenant_percent: int = 75
    # A few minutes of work on one CPU; longer lists come in several calls, each with its deadline.
    max_batch_questions: int = 256
    # A phone that changes networks is back in seconds; who takes nothing for a minute has left.
    reader_seconds: int = 60
    # The same client on its way up; while it is waited for, its question keeps its place. The largest
    # HTTP body comes in this time at nine megabits a second.
    sender_seconds: int = 60
    # A prompt with a text of 10 million tokens passes; longer ones are registered.
    max_http_bytes: int = 64 * MIB
    # Four of the largest; each is held several times over while it is parsed.
    max_http_bytes_at_once: int = 256 * MIB
    # Four times the questions under way; the others are being read, or refused.
    max_http_requests: int = 256
    # Some seconds of one CPU.
    max_embedding_texts: int = 256
    # One screen of a listing, and the most rows that stay well under one message.
    default_page_size: int = 50
    max_page_size: int = 1000

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{entry.name} is {value!r}; give a whole number of at least 1")
        if self.max_tenant_percent > 100:
            raise ValueError(f"max_tenant_percent is {self.max_tenant_percent}; give 1 to 100")
        self._at_most("default_page_size", "max_page_size")
        self._at_most("max_document_bytes", "max_corpus_bytes")
        self._at_most("max_chunk_bytes", "max_document_bytes")
        self._at_most("max_http_bytes", "max_http_bytes_at_once")

    def _at_most(self, smaller: str, larger: str) -> None:
        if getattr(self, smaller) > getattr(self, larger):
            raise ValueError(
                f"{smaller} is {getattr(self, smaller)}, above {larger} ({getattr(self, larger)}); "
                f"lower {smaller} or raise {larger}"
            )

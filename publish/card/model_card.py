"""A whole model card."""

from __future__ import annotations

from skinaudit.publish.card import commands, engines, sections
from skinaudit.publish.card.metadata import metadata_block
from skinaudit.publish.run_record import RunRecord


def model_card(record: RunRecord, *, licence: str | None = None, dataset: str | None = None) -> str:
    """The card as Markdown with its metadata block; equal records give equal text.

    licence, dataset: identifiers on the Hugging Face Hub; see skinaudit.publish.card.metadata. Text from files is escaped.
    Raises InvalidInputError for a text that cannot be such an identifier.
    """
    parts = (
        sections.head, sections.use, sections.data, sections.training, sections.figures,
        engines.engines, commands.reproduce, engines.digests,
    )  # fmt: skip
    text = "\n\n".join("\n".join(part(record)) for part in parts)
    return f"{metadata_block(record, licence=licence, dataset=dataset)}\n\n{text}\n"

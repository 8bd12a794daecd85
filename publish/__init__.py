"""About runs rather than audits: run record, model card, tracking."""

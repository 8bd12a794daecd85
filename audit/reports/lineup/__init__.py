"""Several audits together: one format per file, as in skinaudit.audit.reports, with `render(lineup) -> str`."""

"""Several audits beside each other: one format a file, as in skinaudit.audit.reports, with `render(lineup) -> str`."""

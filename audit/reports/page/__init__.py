"""Parts of the HTML report: its texts, its charts, its gallery, its template and its style sheet."""

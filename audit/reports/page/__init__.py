"""Parts of the HTML report: its words, its charts, its gallery, its template and its style sheet."""

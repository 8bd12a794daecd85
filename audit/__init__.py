"""Judge an engine: replay the stored sets on it, compare it with its source model, return a verdict. Never uses torch."""

"""Open an engine file and run it: one runtime a file, no torch at import."""

"""A run becomes engine files: exported, converted, read back, compared with the source model, described by a manifest."""

"""Export a run to engine files. Each is converted, read back, compared with the source model and given a manifest."""

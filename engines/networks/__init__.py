"""Read what an engine computes from its file, as layers that can be compared with the layers of its run."""

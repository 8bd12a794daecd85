"""What an engine computes, read from its file as layers that can be compared with those of its run."""

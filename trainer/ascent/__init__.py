"""Shared parts of attacks that increase a loss: the losses, the evaluation of a batch of points, the worst points so far."""

"""Engines in processes of their own: limited in time and memory, without a network, writing to a scratch folder alone."""

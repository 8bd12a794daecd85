"""Run engines in separate processes: limited time and memory, no network, write access to a scratch folder only."""

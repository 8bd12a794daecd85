"""Runs and audits in experiment trackers: what to log, and one tracker a file."""

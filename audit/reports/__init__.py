"""What an audit found, for people and for machines: one format a file."""

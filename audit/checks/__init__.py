"""Signs that figures cannot be trusted, one check a file."""

"""One module per group of commands. Each parses, calls one function of the library, prints, and chooses the exit code."""

"""One module a group of commands: each parses, calls one function of the library, prints, and chooses the exit code."""

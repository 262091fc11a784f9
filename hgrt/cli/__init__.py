"""The command line: one module a command. Each parses, calls and prints; the work is done elsewhere."""

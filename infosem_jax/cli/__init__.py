"""The command line, ``infosem``: one module a command; each parses, calls and prints."""

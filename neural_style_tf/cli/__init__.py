"""The command line: flags, the main function, signals, error messages."""

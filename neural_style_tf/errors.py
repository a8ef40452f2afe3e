"""The two ways a run can end early that are not bugs."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a combination.

    The message is one line (or a few short ones) that says what was expected, what came, and what to
    do. The command line prints it without a traceback and exits with code 2.
    """


class RunError(RuntimeError):
    """A run that could not go on although its input was valid; whatever was good is saved.

    The command line prints the message and exits with code 1.
    """

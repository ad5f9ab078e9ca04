"""The one kind of error that ends a start with a line instead of a trace."""


class StartupError(Exception):
    """The service cannot start. The message says why and what to do, in one line."""

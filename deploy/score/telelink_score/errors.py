"""Why nothing can be scored, where neither the file nor a model is at fault."""


class UsageError(Exception):
    """What was asked for cannot be done. The message is one line."""


class GatewayError(Exception):
    """The gateway cannot or will not. The message is what it says, in one line."""

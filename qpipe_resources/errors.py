"""What all errors of the outside world have in common."""


class ServiceError(RuntimeError):
    """A service cannot be used; the message names it, the reason and the remedy, and holds no secret."""

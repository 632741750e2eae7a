"""What can go wrong with a service; every message names the remedy."""


class ServiceError(RuntimeError):
    """A service cannot be installed, started or stopped."""

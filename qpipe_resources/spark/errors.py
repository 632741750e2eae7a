"""What can go wrong with Spark before it computes."""

from qpipe_resources.errors import ServiceError


class SparkUnavailableError(ServiceError):
    """Spark cannot be started or reached here; the message names the remedy."""


class SparkRefusedError(ServiceError):
    """What was asked of Spark is not done; the message says what to do instead."""

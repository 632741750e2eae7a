"""The `qpipe` command."""

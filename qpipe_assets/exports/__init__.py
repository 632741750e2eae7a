"""Exports: a consistent snapshot of tables, readable where it lies by programs that know nothing of qpipe."""

"""Tests of the tables: decoding, flattening, the ingest protocol, retention, and the object store under them."""

import pytest

pytest.register_assert_rewrite("tests.tables.protocol", "tests.crash_worker")

"""Measured claims, one file each; never run as tests."""

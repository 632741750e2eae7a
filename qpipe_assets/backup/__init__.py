"""Backup and restore of what cannot be computed again, and of what takes long to compute."""

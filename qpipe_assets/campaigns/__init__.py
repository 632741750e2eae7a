"""Campaigns as files, the four tiers among them, and which one a run is asked for."""

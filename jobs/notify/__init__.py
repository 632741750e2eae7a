"""Telling people how runs ended: what is told, and the sensors that tell it."""

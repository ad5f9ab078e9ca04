"""Talking to a model service."""

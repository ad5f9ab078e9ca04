"""Trains, compares, exports and describes the models. Never present at run time."""

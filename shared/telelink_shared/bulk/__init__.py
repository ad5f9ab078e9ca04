"""Whole files of customers: read, checked, decided on and written, a chunk at a time."""

"""Scores whole files of customers: the command line `telelink`."""

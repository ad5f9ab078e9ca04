"""The public HTTP interface, one file for each noun."""

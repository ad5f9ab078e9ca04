"""`make bench`: our system, the endpoint that does nothing, and the one people write by hand, in one run."""

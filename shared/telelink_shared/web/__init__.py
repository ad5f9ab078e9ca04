"""Furniture of any HTTP service: the gateway and the model-service toolkit both start from it."""

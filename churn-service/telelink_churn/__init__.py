"""Will a customer leave? A model service."""

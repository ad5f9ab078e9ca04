"""What is a customer worth? A model service."""

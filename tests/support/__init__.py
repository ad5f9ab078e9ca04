"""What the tests of all levels share."""

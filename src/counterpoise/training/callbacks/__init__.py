"""Progress display and loggers."""

"""Statistics, rankings and conclusions from run records."""

"""Arrays that are divided among devices."""

"""A tenant changes its place while it works."""

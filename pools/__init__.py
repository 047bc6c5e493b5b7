"""Server connections, lent to one tenant at a time for one transaction."""

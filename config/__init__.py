"""What the operator wrote: read, checked, and compared. Knows of no other package's work."""

"""What operators do, and the JSON API on the admin port through which they do it."""

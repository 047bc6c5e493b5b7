"""Rules that need a real Postgres."""

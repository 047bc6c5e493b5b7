"""The steps by which the registry's tables came to be, oldest first; Alembic runs them."""

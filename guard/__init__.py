"""What a statement may say: the first of two lines, in the gateway, by Postgres's own grammar."""

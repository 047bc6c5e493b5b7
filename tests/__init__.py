"""The suite: `unit` needs nothing, `integration` Postgres, `acceptance` the process, `adversity` faults."""

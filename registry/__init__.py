"""Who lives where, who may call, and who changed what: the registry and its caches."""

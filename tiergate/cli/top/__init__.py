"""`tiergate top`: who is hurting now, why, and what to do; over the admin API, and nothing else."""

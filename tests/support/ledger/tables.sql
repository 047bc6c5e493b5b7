-- What the clients of `tests/support/ledgers.py` write. An entry that were written twice would stand here
-- twice: its own key is made by the database, and what its client calls it is no key at all.

CREATE TABLE accounts (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(),
    client integer NOT NULL,
    count bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, client)
);

CREATE TABLE entries (
    tenant_id text NOT NULL DEFAULT tiergate.tenant(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    serial bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    client integer NOT NULL,
    number bigint NOT NULL,
    body text NOT NULL,
    written_in text NOT NULL DEFAULT current_database(),
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, serial),
    FOREIGN KEY (tenant_id, client) REFERENCES accounts (tenant_id, client)
);

CREATE INDEX entries_by_client ON entries (tenant_id, client, number);

-- Whose database this is: one row, written before anything else, checked before anything is changed.
--
-- Also in the database where a government cluster is entered, which holds no tenant.

CREATE SCHEMA IF NOT EXISTS tiergate AUTHORIZATION tiergate_context;
REVOKE ALL ON SCHEMA tiergate FROM PUBLIC;
CREATE TABLE IF NOT EXISTS tiergate.identity (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    cluster text NOT NULL,
    registry text NOT NULL
);
ALTER TABLE tiergate.identity OWNER TO tiergate_context;
REVOKE ALL ON tiergate.identity FROM PUBLIC;

-- Three roles for enrichment: psql -f doc/roles.sql, as the tables' owner who
-- may create roles.  Functions run with the caller's rights, so it is the
-- tables that are granted.  Give the roles to people and agents:
-- GRANT sidecar_writer TO an_agent;
SELECT format('CREATE ROLE %I NOLOGIN', name)
FROM unnest(ARRAY['sidecar_reader', 'sidecar_writer', 'sidecar_operator']) name
WHERE to_regrole(name) IS NULL \gexec

GRANT USAGE ON SCHEMA marketing TO sidecar_reader, sidecar_writer, sidecar_operator;

-- reads the reports, and of parked records no more than how many there are
GRANT SELECT ON marketing.company_master, marketing.people_master, marketing.company_sidecar, marketing.people_sidecar TO sidecar_reader;
GRANT SELECT (entity) ON marketing.sidecar_rejects TO sidecar_reader;

-- stores enrichment, by function, batch and inbox; deletes nothing, and does
-- not read what others had parked.  Of the masters it needs the keys.
GRANT SELECT (company_unique_id) ON marketing.company_master TO sidecar_writer;
GRANT SELECT (unique_id) ON marketing.people_master TO sidecar_writer;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar, marketing.people_sidecar TO sidecar_writer;
GRANT INSERT (record_no, entity, unique_id, record, on_conflict, options, origin, error, sqlstate) ON marketing.sidecar_rejects TO sidecar_writer;
SELECT format('GRANT SELECT, INSERT ON %s TO sidecar_writer, sidecar_operator', objid::regclass)
FROM pg_depend JOIN pg_extension e ON e.oid = refobjid
JOIN pg_class c ON c.oid = objid AND c.relkind = 'f'
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND extname = 'sidecar' \gexec

-- does both, reads what is parked, tries it again, and clears it away
GRANT sidecar_reader, sidecar_writer TO sidecar_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON marketing.sidecar_rejects TO sidecar_operator;

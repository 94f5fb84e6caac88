-- Inboxes: foreign tables that take INSERT and COPY, and what each promises.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
-- nobody doubts that what is taken over has times of UTC
ALTER DATABASE :"DBNAME" SET timezone = 'UTC';
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 9) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 3) i;
SET client_min_messages = notice;
CREATE VIEW c AS SELECT company_unique_id AS id, ein_number AS ein, clay_tags AS tags, enrichment_payload #>> '{}' AS payload,
    last_enriched_at, enrichment_source AS source, confidence_score AS score
FROM marketing.company_sidecar ORDER BY company_unique_id;
CREATE VIEW rejects AS SELECT entity, unique_id, record, on_conflict, options, origin->>'line' AS line, sqlstate, error
FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;

-- text goes in, and what typed clients send
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, last_enriched_at) VALUES ('c1', 'inbox', '2026-03-01 00:00+01'), ('c2', 'inbox', '2026-03-01');
SELECT id, ein, last_enriched_at FROM c;
INSERT INTO sidecar_company_inbox (company_unique_id, clay_tags) SELECT company_unique_id, ARRAY['selected'] FROM marketing.company_master WHERE company_unique_id < 'c4'
RETURNING company_unique_id, clay_tags;
INSERT INTO sidecar_people_inbox (person_unique_id, social_profiles) VALUES ('p2', '{"twitter": "@p2"}') RETURNING person_unique_id, social_profiles;
COPY sidecar_company_inbox (company_unique_id, clay_tags, enrichment_payload, confidence_score) FROM stdin CSV HEADER;
company_unique_id,clay_tags,enrichment_payload,confidence_score
c1,"{copied,tags}","{""a"": 1}",88.8
c3,,,1
c1,,,2
\.
SELECT id, tags, payload, score FROM c WHERE id IN ('c1', 'c3');
PREPARE typed (text[], jsonb, timestamptz, numeric) AS
INSERT INTO sidecar_company_inbox (company_unique_id, clay_tags, enrichment_payload, last_enriched_at, confidence_score) VALUES ('c4', $1, $2, $3, $4);
SET datestyle = 'SQL, DMY';
SET timezone = 'Asia/Kolkata';
EXECUTE typed (ARRAY['a b', 'c,"d'], '{"t": 1}', '2026-05-06 12:00Z', 70.126);
RESET datestyle;
SET timezone = 'UTC';
SELECT id, tags, payload, score FROM c WHERE id = 'c4';
-- times are what they were whatever their style, in the hour that comes twice, too
BEGIN;
ALTER TABLE marketing.people_sidecar ALTER last_enriched_at TYPE timestamptz;
CREATE FUNCTION comes_back(zone text, style text, at timestamptz) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('timezone', zone, true), set_config('datestyle', style, true);
    INSERT INTO sidecar_people_inbox (person_unique_id, last_enriched_at) VALUES ('p1', at);
    RETURN (SELECT last_enriched_at FROM marketing.people_sidecar WHERE person_unique_id = 'p1');
END $$;
SELECT count(*), count(*) FILTER (WHERE comes_back(zone, style, at) <> at) AS differ
FROM unnest('{Asia/Kolkata,America/New_York,Asia/Shanghai,Europe/London,America/St_Johns}'::text[]) zone, unnest('{"SQL, DMY","SQL, MDY",German,Postgres,ISO}'::text[]) style,
    unnest('{2025-11-02 05:30Z,2025-11-02 06:30Z,2026-05-06 12:00:00.25Z,2026-10-25 00:30Z,2026-10-25 01:30Z}'::timestamptz[]) at;
ROLLBACK;

-- a bad row costs the others nothing: it is parked, with the line of a file
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, confidence_score) VALUES ('c5', 'stays', 5), ('nobody', 'x', 5), (NULL, 'y', 5),
    ('c5', repeat('x', 21), 5), ('c6', 'z', 101), ('c6', 'stays', NULL);
COPY sidecar_company_inbox (company_unique_id, ein_number, confidence_score) FROM stdin CSV HEADER;
company_unique_id,ein_number,confidence_score
c6,a,1
"no
body",b,2
c5,c,high
c6,,3
\.
SELECT id, ein, score FROM c WHERE id IN ('c5', 'c6');
SELECT * FROM rejects;
DELETE FROM marketing.sidecar_rejects;
-- what was parked comes back as a batch's does
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('late', '1');
INSERT INTO marketing.company_master VALUES ('late', 'Late');
SELECT entity, unique_id, outcome FROM sidecar_retry_rejects();
-- or it fails the statement, at the first, which is named
SET sidecar.inbox_rejects = error;
\set SHOW_CONTEXT errors
INSERT INTO sidecar_company_inbox (company_unique_id, confidence_score) VALUES ('c1', 1), ('c2', 101), ('c3', 102);
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c1', 'lost'), ('nobody', 'x');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_company_inbox (company_unique_id, on_conflict) VALUES ('c1', 'newer') RETURNING outcome;
\echo :LAST_ERROR_SQLSTATE
COPY sidecar_company_inbox (company_unique_id, confidence_score) FROM stdin CSV HEADER;
company_unique_id,confidence_score
c1,1
c2,high
\.
COPY sidecar_company_inbox (company_unique_id, confidence_score) FROM stdin CSV HEADER;
company_unique_id,confidence_score
c1,1
nobody,2
\.
\set SHOW_CONTEXT never
SELECT count(*) FROM c WHERE ein = 'lost' OR score = 1;
TABLE rejects;
SET sidecar.inbox_rejects = ignore;
RESET sidecar.inbox_rejects;

-- each row has its rule; blank is none
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, last_enriched_at, on_conflict) VALUES
    ('c1', 'newer', now() + interval '1 hour', NULL), ('c1', 'older', '2026-01-01', 'newest'), ('c2', 'blank', NULL, ' '),
    ('c3', 'filled', NULL, 'fill'), ('c3', 'not filled', NULL, 'fill'), ('c4', 'x', NULL, 'Newest');
SELECT id, ein FROM c WHERE id <= 'c4';
SELECT * FROM rejects;
DELETE FROM marketing.sidecar_rejects;

-- the outcome is told to whoever asks for it, who has rows stored one by one
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, last_enriched_at, on_conflict)
VALUES ('c7', '1', '2026-01-01', 'newest'), ('c7', '1', '2026-01-01', 'newest'), ('c7', '2', '2025-01-01', 'newest'), ('c7', '3', '2026-01-02', 'newest'), ('nobody', '1', NULL, NULL)
RETURNING company_unique_id, outcome;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, outcome) VALUES ('c7', '3', 'mine') RETURNING sidecar_company_inbox;
WITH stored AS (INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c7', '4'), ('c8', '4') RETURNING *)
SELECT json_agg(json_build_object('id', company_unique_id, 'outcome', outcome)) FROM stored;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c8', '5') RETURNING (SELECT upper(outcome));
DELETE FROM marketing.sidecar_rejects;

-- ON CONFLICT DO NOTHING keeps what is stored; of new rows of a key the first
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c8', 'replaced'), ('c9', 'first'), ('c9', 'second'), ('nobody', 'x') ON CONFLICT DO NOTHING;
SELECT id, ein FROM c WHERE id IN ('c8', 'c9');
SELECT unique_id, on_conflict FROM rejects;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c8', 'replaced') ON CONFLICT DO NOTHING RETURNING company_unique_id, outcome;
DELETE FROM marketing.company_sidecar WHERE company_unique_id = 'c9';
-- the first of a key that can be stored
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT not_first CHECK (ein_number <> 'first');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c9', 'first'), ('c9', 'second'), ('c9', 'third') ON CONFLICT DO NOTHING;
SELECT id, ein FROM c WHERE id = 'c9';
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT not_first;
DELETE FROM marketing.sidecar_rejects;
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c1') ON CONFLICT (company_unique_id) DO NOTHING;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c1') ON CONFLICT (company_unique_id) DO UPDATE SET ein_number = 'x';
\echo :LAST_ERROR_SQLSTATE

-- in a replica role no foreign key looks for masters: we do
SET session_replication_role = replica;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c9', 'replica'), ('nobody', 'x');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) SELECT CASE WHEN i = 2000 THEN 'nobody' ELSE 'c' || 1 + i % 9 END, 'replica' FROM generate_series(1, 2500) i;
COPY sidecar_company_inbox (company_unique_id, ein_number) FROM stdin;
c9	copied
nobody	x
\.
RESET session_replication_role;
SELECT id, ein FROM c WHERE id > 'c7';
SELECT unique_id, line, error FROM rejects;
DELETE FROM marketing.sidecar_rejects;
-- set in the middle of a statement
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number)
SELECT k, set_config('session_replication_role', 'replica', true) FROM (VALUES ('c9'), ('nobody')) v (k);
SELECT id, ein FROM c WHERE id > 'c8';
DELETE FROM marketing.sidecar_rejects;

-- what cannot be had is refused; there is never a row
SELECT * FROM sidecar_company_inbox;
SELECT count(*) FROM sidecar_people_inbox p JOIN marketing.people_sidecar USING (person_unique_id);
UPDATE sidecar_company_inbox SET ein_number = 'x';
\echo :LAST_ERROR_SQLSTATE
DELETE FROM sidecar_company_inbox;
\echo :LAST_ERROR_SQLSTATE
TRUNCATE sidecar_company_inbox;
\echo :LAST_ERROR_SQLSTATE
COPY sidecar_company_inbox TO stdout;
\echo :LAST_ERROR_SQLSTATE
-- EXPLAIN alone looks at nothing
EXPLAIN (COSTS off) INSERT INTO sidecar_company_inbox (company_unique_id) VALUES ('c1') ON CONFLICT DO NOTHING;
EXPLAIN (COSTS off) SELECT * FROM sidecar_company_inbox WHERE company_unique_id = 'c1';
DO $$ BEGIN EXECUTE $q$ EXPLAIN ANALYZE INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c1', 'analyzed') $q$; END $$;
SELECT id, ein FROM c WHERE id = 'c1';
-- what is missing is said before a row is kept; a column when it is given
BEGIN;
ALTER TABLE marketing.company_sidecar RENAME enrichment_source TO source;
INSERT INTO sidecar_company_inbox (company_unique_id) SELECT 'c1' WHERE false;
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
ALTER TABLE marketing.company_sidecar RENAME clay_tags TO tags;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, clay_tags) VALUES ('c1', 'without', ' ');
SELECT company_unique_id, ein_number FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
INSERT INTO sidecar_company_inbox (company_unique_id, clay_tags) VALUES ('c1', NULL), ('c2', '{a}');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
BEGIN;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT fk_company_sidecar_company;
COPY sidecar_company_inbox (company_unique_id) FROM stdin;
c1
\.
ROLLBACK;

-- rows of one key become one record, of the last value given for each column
DELETE FROM marketing.company_sidecar;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, clay_tags, enrichment_source, last_enriched_at)
VALUES ('c3', 'first', '{a}', 'clay', '2026-02-01'), ('c1', 'only', NULL, 'clay', '2026-02-01'),
       ('c3', 'second', NULL, 'apify', '2026-02-02'), ('c3', NULL, NULL, NULL, '2026-02-01');
SELECT id, ein, tags, source, last_enriched_at FROM c;
-- one write for a thousand of them; a bad one costs those of its key nothing
CREATE TABLE writes (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO writes VALUES (TG_OP); RETURN NEW; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON marketing.company_sidecar FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) SELECT 'c1', i FROM generate_series(1, 900) i;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, on_conflict) SELECT 'c1', 'n' || i, 'newest' FROM generate_series(1, 900) i;
SELECT what, count(*) FROM writes GROUP BY what;
SELECT id, ein FROM c WHERE id = 'c1';
ALTER TABLE marketing.company_sidecar ADD CONSTRAINT not_7 CHECK (ein_number <> '7');
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) SELECT 'c2', i FROM generate_series(1, 9) i;
SELECT id, ein FROM c WHERE id = 'c2';
SELECT unique_id, record, sqlstate FROM rejects;
ALTER TABLE marketing.company_sidecar DROP CONSTRAINT not_7;
DELETE FROM marketing.sidecar_rejects;
DROP TABLE writes;
DROP FUNCTION note CASCADE;
-- one by one it would be the same, whatever the rules
CREATE TEMP TABLE sent AS SELECT i, 'c' || 1 + (i * 7) % 9 AS id, CASE WHEN i % 3 > 0 THEN i END::text AS ein, CASE WHEN i % 4 = 0 THEN 's' || i END AS source,
    CASE WHEN i % 5 > 0 THEN timestamptz '2026-01-01' + i % 11 * interval '1 day' END AS at, (i * 13) % 100 AS score,
    CASE WHEN 1 + (i * 7) % 9 > 3 THEN (ARRAY['overwrite', 'newest', 'most_confident', 'fill'])[CASE WHEN 1 + (i * 7) % 9 > 6 THEN 2 ELSE 1 + i % 4 END] END AS rule FROM generate_series(1, 800) i;
DELETE FROM marketing.company_sidecar;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, enrichment_source, last_enriched_at, confidence_score, on_conflict) SELECT id, ein, source, at, score, rule FROM sent ORDER BY i;
CREATE TEMP TABLE merged AS TABLE c;
DELETE FROM marketing.company_sidecar;
DO $$
DECLARE
    s record;
BEGIN
    FOR s IN TABLE sent ORDER BY i LOOP
        INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, enrichment_source, last_enriched_at, confidence_score, on_conflict) VALUES (s.id, s.ein, s.source, s.at, s.score, s.rule);
    END LOOP;
END $$;
SELECT count(*), count(*) FILTER (WHERE (m.ein, m.source, m.score, m.last_enriched_at < '2026-06-01') IS DISTINCT FROM (c.ein, c.source, c.score, c.last_enriched_at < '2026-06-01')) AS differ FROM merged m JOIN c USING (id);

-- many rows, and many of a key, across the writes of a statement, and on disk
INSERT INTO marketing.company_master SELECT 'm' || i, 'Many ' || i FROM generate_series(1, 2500) i;
SET work_mem = '64kB';
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, dun_and_bradstreet_number)
SELECT 'm' || 1 + i % 2500, CASE WHEN i % 3 = 0 THEN i END, i FROM generate_series(1, 12345) i;
SELECT count(*), count(*) FILTER (WHERE ein_number = e AND dun_and_bradstreet_number = d) AS as_told
FROM marketing.company_sidecar
JOIN (SELECT 'm' || 1 + i % 2500, max(i) FILTER (WHERE i % 3 = 0)::text, max(i)::text
      FROM generate_series(1, 12345) i GROUP BY 1) told (company_unique_id, e, d) USING (company_unique_id);
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) SELECT 'none' || i, i FROM generate_series(3000, 1, -1) i;
SELECT count(*), count(DISTINCT unique_id), bool_and(number = 3001 - n) AS in_their_order FROM (SELECT unique_id, (record->>'ein_number')::int, row_number() OVER (ORDER BY rejected_at, record_no) FROM marketing.sidecar_rejects) r (unique_id, number, n);
RESET work_mem;
DELETE FROM marketing.sidecar_rejects;
DELETE FROM marketing.company_master WHERE company_unique_id LIKE 'm%';

-- a statement that calls a function that inserts too, one whose sub-transaction
-- is rolled back, and one by another role: each stores what is its own
DELETE FROM marketing.company_sidecar;
CREATE FUNCTION nested(key text, fail boolean) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES (key, 'nested');
    IF fail THEN
        RAISE 'taken back';
    END IF;
    RETURN 'caller';
EXCEPTION WHEN raise_exception THEN
    RETURN 'survived';
END $$;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number)
SELECT key, nested(nested, fail) FROM (VALUES ('c1', 'c2', false), ('c3', 'c4', true)) v (key, nested, fail);
SELECT id, ein FROM c;
BEGIN;
SAVEPOINT a;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c4', 'taken back');
ROLLBACK TO a;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c4', 'bad'), ('c4', (1 / (SELECT 0))::text);
ROLLBACK TO a;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c4', 'stays');
COMMIT;
SELECT id, ein FROM c;
DROP FUNCTION nested;
-- whoever may not write learns it before a row is kept
CREATE ROLE regress_sidecar_reader;
GRANT INSERT ON sidecar_company_inbox TO regress_sidecar_reader;
CREATE FUNCTION as_owner() RETURNS text SECURITY DEFINER LANGUAGE sql AS $$
    INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c1', 'allowed') RETURNING 'not allowed' $$;
SET ROLE regress_sidecar_reader;
INSERT INTO sidecar_company_inbox (company_unique_id) SELECT 'c2' WHERE false;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('p1');
\echo :LAST_ERROR_SQLSTATE
SELECT as_owner();
RESET ROLE;
-- and rows of one role are not stored by another
BEGIN;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c2', 'not allowed'), ('c3', set_config('role', 'regress_sidecar_reader', true));
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT id, ein FROM c;
-- where nobody looks for masters, who stores must be able to
GRANT USAGE ON SCHEMA marketing TO regress_sidecar_reader;
GRANT SELECT, INSERT, UPDATE ON marketing.company_sidecar TO regress_sidecar_reader;
SET session_replication_role = replica;
SET ROLE regress_sidecar_reader;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('nobody', 'x');
\echo :LAST_ERROR_SQLSTATE
-- a bad row cannot be parked by who may not
RESET ROLE;
RESET session_replication_role;
SET ROLE regress_sidecar_reader;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c4', 'x'), ('nobody', 'x');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT id, ein FROM c WHERE id = 'c4';

-- wherever a statement may run
DELETE FROM marketing.company_sidecar;
CREATE FUNCTION in_sql(text) RETURNS SETOF text LANGUAGE sql AS $$ INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ($1, 'in SQL') RETURNING outcome $$;
CREATE FUNCTION in_cursor() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    stored record;
BEGIN
    FOR stored IN INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c2', 'in a loop'), ('c3', 'in a loop') RETURNING company_unique_id LOOP
        RETURN stored.company_unique_id;
    END LOOP;
END $$;
SELECT in_sql('c1'), in_cursor();
WITH new AS (INSERT INTO marketing.company_master VALUES ('with', 'With') RETURNING company_unique_id)
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) SELECT company_unique_id, 'with its master' FROM new;
CREATE PROCEDURE in_turn() LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c4', 'committed');
    COMMIT;
    INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c4', 'rolled back');
    ROLLBACK;
END $$;
CALL in_turn();
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c5', 'serializable');
COMMIT;
CREATE VIEW on_top AS SELECT company_unique_id AS id, ein_number AS ein FROM sidecar_company_inbox;
INSERT INTO on_top VALUES ('c6', 'by a view') RETURNING id;
SELECT id, ein FROM c;
DROP VIEW on_top;
DROP FUNCTION in_sql, in_cursor;
DROP PROCEDURE in_turn;
-- the table cannot be altered under it
CREATE FUNCTION alters() RETURNS text LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE marketing.company_sidecar ADD COLUMN more text; RETURN 'x'; END $$;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c1', alters());
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION alters;

-- columns of the user's come with sidecar_install(): not what the table sets, nor
-- what has a name of ours
ALTER TABLE marketing.company_sidecar ADD COLUMN "Head ""count""" integer, ADD COLUMN founded date, ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN twice integer GENERATED ALWAYS AS ("Head ""count""" * 2) STORED, ADD COLUMN outcome text, ADD COLUMN on_conflict text;
SELECT kind, object, state, command FROM sidecar_objects() WHERE state <> 'present';
SELECT to_do FROM sidecar_status() WHERE entity = 'company';
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
INSERT INTO sidecar_company_inbox (company_unique_id, "Head ""count""", founded) VALUES ('c1', '12', '1999-12-31'), ('c2', 'a dozen', NULL);
SELECT company_unique_id, "Head ""count""", founded, twice FROM marketing.company_sidecar WHERE twice > 0;
SELECT record, error FROM rejects;
DELETE FROM marketing.sidecar_rejects;
-- dropped, they do no harm as long as nobody gives them
ALTER TABLE marketing.company_sidecar DROP COLUMN founded, DROP COLUMN twice, DROP COLUMN outcome, DROP COLUMN on_conflict, DROP COLUMN id;
INSERT INTO sidecar_company_inbox (company_unique_id, "Head ""count""") VALUES ('c1', '13');
COPY sidecar_company_inbox (company_unique_id, founded) FROM stdin CSV;
c2,
c2,1999-12-31
\.
SELECT company_unique_id, "Head ""count""" FROM marketing.company_sidecar WHERE "Head ""count""" > 0;
-- nor does the inbox have to have all of ours
ALTER FOREIGN TABLE sidecar_company_inbox DROP COLUMN clay_tags, DROP COLUMN founded;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number) VALUES ('c2', 'less') RETURNING outcome;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
-- nor must sidecar_install() fail over an inbox that cannot take a column
BEGIN;
ALTER TABLE marketing.company_sidecar ADD COLUMN one text;
SAVEPOINT s;
DO $$ BEGIN EXECUTE 'ALTER FOREIGN TABLE sidecar_company_inbox ' || (SELECT string_agg('ADD COLUMN x' || i || ' text', ', ') FROM generate_series(1, 1600 - (SELECT max(attnum) FROM pg_attribute WHERE attrelid = 'sidecar_company_inbox'::regclass)) i); END $$;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
ROLLBACK TO s;
CREATE TABLE parted (LIKE sidecar_company_inbox) PARTITION BY LIST (company_unique_id);
ALTER TABLE parted ATTACH PARTITION sidecar_company_inbox DEFAULT;
SELECT * FROM sidecar_install() WHERE outcome <> 'present';
ROLLBACK;
-- whoever does not own the inbox learns who must do it
CREATE ROLE regress_sidecar_owner;
GRANT ALL ON SCHEMA marketing TO regress_sidecar_owner;
GRANT EXECUTE ON FUNCTION update_company_sidecar_updated_at() TO regress_sidecar_owner;
ALTER TABLE marketing.company_sidecar OWNER TO regress_sidecar_owner;
SET ROLE regress_sidecar_owner;
ALTER TABLE marketing.company_sidecar DROP COLUMN "Head ""count""", ADD COLUMN more text;
SELECT * FROM sidecar_install() WHERE outcome <> 'present' AND object ~ 'inbox';
RESET ROLE;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
INSERT INTO sidecar_company_inbox (company_unique_id, more) VALUES ('c3', 'more');
SELECT company_unique_id, more FROM marketing.company_sidecar WHERE more > '';
ALTER TABLE marketing.company_sidecar OWNER TO CURRENT_USER;
DROP OWNED BY regress_sidecar_owner;
DROP ROLE regress_sidecar_owner;
-- a new extension brings them, wherever it is
CREATE SCHEMA other;
SET client_min_messages = warning;
DROP EXTENSION sidecar CASCADE;
CREATE EXTENSION sidecar SCHEMA other;
SET client_min_messages = notice;
SELECT attname FROM pg_attribute WHERE attrelid = 'other.sidecar_company_inbox'::regclass AND attnum > 11;
SET client_min_messages = warning;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA other;
CREATE EXTENSION sidecar;
SET client_min_messages = notice;

-- an inbox of one's own: with the columns that one has, and some have not
ALTER TABLE marketing.company_sidecar ADD COLUMN employees integer;
CREATE FOREIGN TABLE mine (employees text, dropped text, company_unique_id text DEFAULT 'c1', on_conflict text, outcome text) SERVER sidecar OPTIONS (entity 'company');
ALTER FOREIGN TABLE mine DROP COLUMN dropped;
INSERT INTO mine (employees) VALUES (12), ('a dozen') RETURNING *;
INSERT INTO mine (employees) VALUES (13);
SELECT company_unique_id, employees FROM marketing.company_sidecar WHERE employees > 0;
SELECT record, error FROM rejects;
DELETE FROM marketing.sidecar_rejects;
-- as a partition, which knows what was asked of the whole
CREATE TABLE parted (company_unique_id text, outcome text, ein_number text) PARTITION BY LIST (ein_number);
CREATE TABLE elsewhere PARTITION OF parted FOR VALUES IN ('elsewhere');
CREATE FOREIGN TABLE here (ein_number text, company_unique_id text, outcome text) SERVER sidecar OPTIONS (entity 'company');
ALTER TABLE parted ATTACH PARTITION here DEFAULT;
INSERT INTO parted (company_unique_id, ein_number) VALUES ('c1', 'elsewhere'), ('c1', 'by partition'), ('c9', 'by partition') ON CONFLICT DO NOTHING RETURNING *;
COPY parted (company_unique_id, ein_number) FROM stdin;
c1	elsewhere
c1	copied
nobody	x
\.
SELECT id, ein FROM c WHERE id IN ('c1', 'c9');
SELECT count(*) FROM parted;
SELECT line, error FROM rejects;
DELETE FROM marketing.sidecar_rejects;
DROP TABLE parted;
-- and what is none
CREATE FOREIGN TABLE no_inbox (company_unique_id text) SERVER sidecar;
\echo :LAST_ERROR_SQLSTATE
CREATE FOREIGN TABLE no_inbox (company_unique_id text) SERVER sidecar OPTIONS (entity 'thing');
\echo :LAST_ERROR_SQLSTATE
CREATE FOREIGN TABLE no_inbox (company_unique_id text) SERVER sidecar OPTIONS (entity 'company', key 'company_unique_id');
\echo :LAST_ERROR_SQLSTATE
ALTER SERVER sidecar OPTIONS (ADD host 'here');
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE mine OPTIONS (DROP entity);
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE mine ADD COLUMN nonsense text;
INSERT INTO mine (employees, nonsense) VALUES (14, 'x');
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE mine DROP COLUMN nonsense, ALTER employees TYPE integer;
INSERT INTO mine (employees) VALUES (1);
\echo :LAST_ERROR_SQLSTATE
ALTER FOREIGN TABLE mine DROP COLUMN company_unique_id, ALTER employees TYPE text;
INSERT INTO mine (employees) VALUES (1);
\echo :LAST_ERROR_SQLSTATE
SET ROLE regress_sidecar_reader;
CREATE FOREIGN TABLE pg_temp.his (company_unique_id text) SERVER sidecar OPTIONS (entity 'company');
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;

-- what an inbox gives cannot be given; a COPY further up is not ours
INSERT INTO sidecar_company_inbox (company_unique_id, outcome) VALUES ('c1', 'won'), ('c1', ' ') RETURNING outcome;
CREATE TABLE staging (id text);
CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO sidecar_company_inbox (company_unique_id) VALUES (NEW.id); RETURN NEW; END';
CREATE TRIGGER forward AFTER INSERT ON staging FOR EACH ROW EXECUTE FUNCTION forward();
COPY staging FROM stdin;
nobody
\.
SELECT unique_id, line, error FROM rejects;
DELETE FROM marketing.sidecar_rejects;
DROP TABLE staging;
DROP FUNCTION forward;

DROP FOREIGN TABLE mine;
DROP VIEW c, rejects;
DROP FUNCTION as_owner;
DROP OWNED BY regress_sidecar_reader;
DROP ROLE regress_sidecar_reader;
SET client_min_messages = warning;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;

-- CSV files of vendors and spreadsheets, and what clients and ORMs write, into the
-- inboxes: one bad row costs the others nothing, and is parked with its line.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET client_min_messages = warning;
CREATE EXTENSION sidecar;
SELECT count(*) > 0 AS made FROM sidecar_create_masters();
INSERT INTO marketing.company_master SELECT 'c' || i, 'Company ' || i FROM generate_series(1, 20) i;
INSERT INTO marketing.people_master SELECT 'p' || i, 'Person ' || i FROM generate_series(1, 20) i;
CREATE VIEW parked AS SELECT entity, unique_id, origin->>'line' AS line, on_conflict AS rule, sqlstate, error FROM marketing.sidecar_rejects ORDER BY rejected_at, record_no;
CREATE VIEW p AS SELECT person_unique_id AS id, clay_insight_summary AS insight, clay_segments AS segments, social_profiles AS profiles, enrichment_payload AS payload, last_enriched_at AS at, enrichment_source AS source, confidence_score AS score FROM marketing.people_sidecar ORDER BY 1;
CREATE VIEW c AS SELECT company_unique_id AS id, ein_number AS ein, clay_tags AS tags, clay_segments AS segments, enrichment_payload AS payload, last_enriched_at AS at, enrichment_source AS source, confidence_score AS score FROM marketing.company_sidecar ORDER BY 1;
SELECT sidecar_upsert_person('p1', 'good', '{good}', '{"good": 1}', '{"good": 1}', '2025-01-01', 'clay', 50);
SET client_min_messages = notice;

-- every cell quoted, blanks too; a header of another's words; cells with line ends, commas and quotes, so that lines are those of the file
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary, clay_segments, social_profiles, enrichment_payload, last_enriched_at, enrichment_source, confidence_score) FROM stdin (FORMAT csv, HEADER);
"ID","What we know","Segments","Profiles","Rest","When","Who","How sure"
"p1","","","","","","",""
"p2","says ""hi"",
in two lines","vp, ""b2b""","{""github"": ""p2""}","{}","2025-11-02T08:11:52Z","clay","95%"
"p3"," ","[]","""{\""a\"": 1}""","[]","1762071112","clay"," 88 "
"nobody","x","x","{}","{}","","clay","1"
"","x","","","","","",""
"p4","","{a,b}","{""a"": ","","","",""
"p5","","[""a"", ""b, c""]","null","[1, 2]","1762071112123","",""
"p6","","","","","11/2/2025","","101%"
"p7","","","","","2225-11-02","",""
"p8","last","one","","","Sun, 02 Nov 2025 08:11:52 +0100","",""
\.
SELECT id, insight, segments, profiles, payload, CASE WHEN at < now() - interval '1 day' THEN at END AS at, source, score FROM p;
TABLE parked;
-- mended there, they come back: with the time of their parking, without the line that was wrong
UPDATE marketing.sidecar_rejects SET record = record || '{"confidence_score": "10%"}' WHERE unique_id = 'p6';
UPDATE marketing.sidecar_rejects SET record = record || '{"social_profiles": "{\"a\": 1}"}' WHERE unique_id = 'p4';
UPDATE marketing.sidecar_rejects SET record = record || '{"last_enriched_at": "1762071113"}' WHERE unique_id = 'p7';
UPDATE marketing.sidecar_rejects SET record = record || '{"person_unique_id": "p9"}' WHERE unique_id IS NULL;
SELECT unique_id, outcome FROM sidecar_retry_rejects() ORDER BY 1;
SELECT id, segments, profiles, CASE WHEN at < now() - interval '1 day' THEN at END AS at, score FROM p WHERE id IN ('p4', 'p6', 'p7', 'p9');
DELETE FROM marketing.sidecar_rejects;
DELETE FROM marketing.people_sidecar;

-- the other shapes of files: tabs, semicolons, another word for NULL, a quote of its own, Windows' line ends, a column that is ours in another order
COPY sidecar_people_inbox (person_unique_id, clay_segments, confidence_score) FROM stdin;
p1	{"a b",c}	95
p2	\N	\N
p3		
p4	a\\, b	95%
nobody	x	x
\.
COPY sidecar_people_inbox (confidence_score, person_unique_id, clay_segments) FROM stdin (FORMAT csv, DELIMITER ';', QUOTE '''', NULL 'n/a', HEADER);
score;id;segments
50;'p5';'a, ''b'', c'
n/a;p6;n/a
;p7;'n/a'
95,5;p8;x
\.
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary, confidence_score) FROM stdin (FORMAT csv, FORCE_NULL (clay_insight_summary, confidence_score), DELIMITER '|');
"p9"|""|""
"p10"|"NULL"|"7"
\.
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary) FROM stdin (FORMAT csv, FORCE_NOT_NULL (clay_insight_summary), ESCAPE '\');
p11,"a \"quoted\" word"
p12,
\.
SELECT id, insight, segments, score FROM p;
TABLE parked;
DELETE FROM marketing.sidecar_rejects;
DELETE FROM marketing.people_sidecar;
-- what no row can be made of is the file's trouble: it is told with its line, and nothing is stored
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary) FROM stdin (FORMAT csv);
p1,a
p2,b,c
\.
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary) FROM stdin (FORMAT csv);
p1,"a
\.
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary) FROM stdin (FORMAT csv, HEADER match);
person_unique_id,enrichment_source
p1,a
\.
SELECT count(*) FROM p;
-- a byte order mark and Windows' line ends, as Excel saves it
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary, confidence_score) FROM PROGRAM 'printf "\357\273\277person_unique_id,clay_insight_summary,confidence_score\r\np1,excel,95%%\r\nnobody,x,\r\np2,\"two\r\nlines\", 7 \r\n"' (FORMAT csv, HEADER);
SELECT id, to_json(insight) AS insight, score FROM p;
SELECT unique_id, line FROM parked;
DELETE FROM marketing.sidecar_rejects;
DELETE FROM marketing.people_sidecar;
-- rules by row, in any mixture; a rule that is none is its row's trouble
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary, last_enriched_at, confidence_score, on_conflict) FROM stdin (FORMAT csv);
p1,first,2026-01-01,50,
p1,older,2025-01-01,60,newest
p1,weaker,2026-01-02,40,most_confident
p1,filled,2026-01-03,99,fill
p1,newest rule,2026-01-04,50,Newest
p1,last,2026-01-05,,overwrite
p2,fill,2026-01-01,,fill
p2,not,2026-01-02,1,fill
\.
SELECT id, insight, at, score FROM p;
SELECT unique_id, line, rule, sqlstate FROM parked;
DELETE FROM marketing.sidecar_rejects;
-- a retry reads a cell as the inbox did: 95 is JSON, 1762071112 a time, "a, b" a list
COPY sidecar_people_inbox (person_unique_id, enrichment_payload, last_enriched_at, clay_segments) FROM stdin (FORMAT csv);
late,95,1762071112,"a, b"
late2,"""{\""a\"": 1}""",20251231,"[""c, d""]"
late3,"""text""",,
late4,{},1762071112123,{}
late5,text,2025-11-02,e
\.
SELECT unique_id, line, sqlstate FROM parked;
SET client_min_messages = warning;
INSERT INTO marketing.people_master SELECT 'late' || n, 'Late' FROM unnest('{"",2,3,4,5}'::text[]) n;
SET client_min_messages = notice;
SELECT unique_id, outcome, error FROM sidecar_retry_rejects() ORDER BY 1;
SELECT id, payload, CASE WHEN id <> 'late3' THEN at END AS at, segments FROM p WHERE id LIKE 'late%';
DELETE FROM marketing.sidecar_rejects;
DELETE FROM marketing.people_sidecar WHERE person_unique_id LIKE 'late%';
-- or the statement fails at the first that is bad, with the line that ends it and without a word of what we have made of it
SET sidecar.inbox_rejects = error;
\set SHOW_CONTEXT errors
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary, confidence_score) FROM stdin (FORMAT csv, HEADER);
id,insight,score
p1,"three
lines
of it",1
p2,x,95%
p3,x,951
p4,x,high
\.
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary) FROM stdin (FORMAT csv, HEADER);
id,insight
p1,"two
lines"
p2,x
nobody,x
\.
INSERT INTO sidecar_people_inbox (person_unique_id, enrichment_payload) VALUES ('p1', '{}'), ('p2', '{"a"');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p1', 'x'), (' ', 'x') ON CONFLICT DO NOTHING;
\echo :LAST_ERROR_SQLSTATE
\set SHOW_CONTEXT never
RESET sidecar.inbox_rejects;
SELECT count(*) FROM p WHERE insight <> 'last' AND id = 'p1';
TABLE parked;
-- the default is the session's
SET sidecar.on_conflict = 'fill';
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary, enrichment_source, last_enriched_at) VALUES ('p1', 'not', 'filled', '2026-01-05');
RESET sidecar.on_conflict;
SELECT insight, source FROM p WHERE id = 'p1';

-- as clients and ORMs write: typed parameters, many rows, from a query, with and without RETURNING
PREPARE one (varchar, text[], jsonb, timestamp, float8) AS INSERT INTO sidecar_people_inbox (person_unique_id, clay_segments, social_profiles, last_enriched_at, confidence_score) VALUES ($1, $2, $3, $4, $5) RETURNING person_unique_id, outcome;
EXECUTE one('p3', '{"a,b",NULL,""}', '{"x": [1, null]}', '2026-01-01 12:00', 70.126);
EXECUTE one('p3', '{"a,b"}', '{"x": [1, null]}', '2026-01-01 12:00', 70.13);
EXECUTE one('p4', '{}', '{}', NULL, NULL);
EXECUTE one('nobody', NULL, NULL, NULL, 'NaN');
EXECUTE one('p4', NULL, NULL, 'infinity', 0.1::float8 + 0.2::float8);
PREPARE many (text, int, text, bigint) AS INSERT INTO sidecar_people_inbox (person_unique_id, confidence_score, clay_insight_summary) VALUES ($1, $2, 'many'), ($3, $4, 'many');
EXECUTE many('p5', 5, 'p6', 6);
EXECUTE many('p5', 500, 'p6', NULL);
INSERT INTO sidecar_people_inbox (person_unique_id, clay_segments, last_enriched_at, confidence_score) SELECT 'p' || i, ARRAY['n' || i], date '2026-01-01' + i, i::real FROM generate_series(7, 9) i;
INSERT INTO sidecar_people_inbox (person_unique_id, enrichment_payload) SELECT 'p' || i, json_build_object('i', i) FROM generate_series(7, 9) i RETURNING person_unique_id, enrichment_payload, outcome;
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p10', DEFAULT);
INSERT INTO sidecar_people_inbox DEFAULT VALUES;
SELECT id, segments, profiles, payload, CASE WHEN at < now() - interval '1 day' THEN at END AS at, score FROM p WHERE id NOT IN ('p1', 'p2');
SELECT unique_id, sqlstate, error FROM parked;
DELETE FROM marketing.sidecar_rejects;
DEALLOCATE ALL;

-- ON CONFLICT DO NOTHING keeps what is stored, by rows, queries and prepared statements; whatever else it is given is refused
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary, on_conflict) VALUES ('p1', 'taken', 'overwrite'), ('p11', 'new', 'overwrite'), ('p11', 'second', 'newest'), ('nobody', 'x', NULL) ON CONFLICT DO NOTHING;
PREPARE keep (text, text) AS INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING outcome;
EXECUTE keep('p1', 'taken');
EXECUTE keep('p12', 'new');
EXECUTE keep('p12', 'second');
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) SELECT unique_id, 'queried' FROM marketing.people_master WHERE unique_id IN ('p1', 'p12', 'p13') ON CONFLICT DO NOTHING;
SELECT id, insight FROM p WHERE insight IN ('taken', 'new', 'second', 'queried', 'last');
-- an empty column of a stored row is kept empty, too
INSERT INTO sidecar_people_inbox (person_unique_id, enrichment_source) VALUES ('p13', 'late') ON CONFLICT DO NOTHING;
SELECT source FROM p WHERE id = 'p13';
SELECT unique_id, rule FROM parked;
DELETE FROM marketing.sidecar_rejects;
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('p1') ON CONFLICT ON CONSTRAINT people_sidecar_pkey DO NOTHING;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('p1') ON CONFLICT (person_unique_id) DO UPDATE SET clay_insight_summary = EXCLUDED.clay_insight_summary;
\echo :LAST_ERROR_SQLSTATE
INSERT INTO sidecar_people_inbox (person_unique_id) VALUES ('p1') ON CONFLICT DO UPDATE SET clay_insight_summary = 'x';
\echo :LAST_ERROR_SQLSTATE
DEALLOCATE keep;

-- in a replica role rows are stored all the same, by COPY, with RETURNING and under DO NOTHING; masters are looked for
SET session_replication_role = replica;
COPY sidecar_people_inbox (person_unique_id, clay_insight_summary, on_conflict) FROM stdin (FORMAT csv);
p14,replica,
p14,fill,fill
nobody,x,
,x,
\.
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p14', 'again'), ('p15', 'replica'), ('nobody', 'y') ON CONFLICT DO NOTHING RETURNING person_unique_id, outcome;
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) SELECT 'p16', 'replica' RETURNING outcome;
SELECT unique_id, outcome FROM sidecar_upsert_people('[{"person_unique_id": "p17", "clay_insight_summary": "replica"}, {"person_unique_id": "nobody", "clay_insight_summary": "z"}]');
RESET session_replication_role;
SET session_replication_role = local;
INSERT INTO sidecar_people_inbox (person_unique_id, clay_insight_summary) VALUES ('p18', 'local'), ('nobody', 'v');
RESET session_replication_role;
SELECT id, insight FROM p WHERE insight IN ('replica', 'again', 'local', 'fill');
SELECT unique_id, line, sqlstate FROM parked;
DELETE FROM marketing.sidecar_rejects;

-- columns of one's own, as cells
CREATE TYPE stage AS ENUM ('seed', 'series a');
CREATE DOMAIN lower_text AS text CHECK (value = lower(value));
ALTER TABLE marketing.company_sidecar ADD COLUMN employees integer, ADD COLUMN founded date, ADD COLUMN listed boolean, ADD COLUMN revenue numeric(12,2), ADD COLUMN stage stage, ADD COLUMN site lower_text, ADD COLUMN seen timestamptz, ADD COLUMN langs text[], ADD COLUMN facts jsonb,
    ADD COLUMN "Tech Stack" text, ADD COLUMN id bigint GENERATED BY DEFAULT AS IDENTITY, ADD COLUMN twice integer GENERATED ALWAYS AS (employees * 2) STORED;
SELECT object, outcome FROM sidecar_install() WHERE outcome <> 'present';
COPY sidecar_company_inbox (company_unique_id, employees, founded, listed, revenue, stage, site, seen, langs, facts, "Tech Stack") FROM stdin (FORMAT csv);
c1,"12","1999-12-31","yes","1e6","series a","acme.com","1762071112","en, de","{""a"": 1}","HubSpot, C++"
c2,"","","","","","","","","",""
c3,[],{},[],{},[],{},[],[],[],[]
c4,1.5,,,,,,,,,
c5,,99-99-99,,,,,,,,
c6,,,maybe,,,,,,,
c7,,,,,series b,,,,,
c8,,,,"1,000",,,,,,
c9,,,,,,,,"{a",,
c10,,,,,,,,,{a},
c12,,,,,,ACME.com,,,,
c11, 13 , 2000-01-01 , t , 1.005 ,,,,a,,
\.
SELECT company_unique_id, employees, twice, founded, listed, revenue, stage, site, seen, langs, facts, "Tech Stack" FROM marketing.company_sidecar ORDER BY substr(company_unique_id, 2)::int;
SELECT unique_id, line, sqlstate, CASE WHEN sqlstate <> '23514' THEN left(error, 30) END AS error FROM parked;
DELETE FROM marketing.sidecar_rejects;
INSERT INTO sidecar_company_inbox (company_unique_id, listed, employees, founded, facts) VALUES ('c1', false, 13, '2000-01-01'::date, to_jsonb(5)) RETURNING listed, outcome;
SELECT listed, employees, founded, facts FROM marketing.company_sidecar WHERE company_unique_id = 'c1';
ALTER TABLE marketing.company_sidecar DROP COLUMN twice, DROP COLUMN id;

-- exported rows fed back: as columns they are none, created_at and updated_at are left out of the list, or come in an inbox of one's own
UPDATE marketing.company_sidecar SET last_enriched_at = '2026-01-01 00:00:00.5', clay_tags = '{"a b","c,d","e\"f"}', enrichment_payload = '{"a": "x,y\"z"}', ein_number = 'é', enrichment_source = E'two\nlines', confidence_score = 9.5;
CREATE TABLE exported AS SELECT *, ctid AS at FROM marketing.company_sidecar;
INSERT INTO sidecar_company_inbox (company_unique_id, ein_number, dun_and_bradstreet_number, clay_tags, clay_segments, enrichment_payload, last_enriched_at, enrichment_source, confidence_score, employees, founded, listed, revenue, stage, site, seen, langs, facts, "Tech Stack")
SELECT company_unique_id, ein_number, dun_and_bradstreet_number, clay_tags, clay_segments, enrichment_payload, last_enriched_at, enrichment_source, confidence_score, employees, founded, listed, revenue, stage, site, seen, langs, facts, "Tech Stack" FROM marketing.company_sidecar;
SELECT count(*) AS rewritten FROM exported e JOIN marketing.company_sidecar s USING (company_unique_id) WHERE e.at <> s.ctid;
INSERT INTO sidecar_company_inbox (company_unique_id, created_at) VALUES ('c1', NULL);
\echo :LAST_ERROR_SQLSTATE
CREATE FOREIGN TABLE whole (company_unique_id text, ein_number text, clay_tags text, enrichment_payload text, last_enriched_at text, enrichment_source text, confidence_score text, created_at text, updated_at text) SERVER sidecar OPTIONS (entity 'company');
COPY whole FROM stdin (FORMAT csv, HEADER);
company_unique_id,ein_number,clay_tags,enrichment_payload,last_enriched_at,enrichment_source,confidence_score,created_at,updated_at
c1,é,"{""a b"",""c,d"",""e\""f""}","{""a"": ""x,y\""z""}",2026-01-01 00:00:00.5,"two
lines",9.50,2020-01-01 00:00:00,2020-01-01 00:00:00
c2,é,"{""a b"",""c,d"",""e\""f""}","{""a"": ""x,y\""z""}",2026-01-01 00:00:00.5,"two
lines",9.50,,
c12,new,{},[],2026-01-01 00:00:00.5,,9.50,2020-01-01,infinity
\.
SELECT count(*) AS rewritten FROM exported e JOIN marketing.company_sidecar s USING (company_unique_id) WHERE (e.at, e.created_at) IS DISTINCT FROM (s.ctid, s.created_at);
SELECT ein_number, clay_tags, created_at > '2026-01-02' AS of_now, updated_at > '2026-01-02' AS updated FROM marketing.company_sidecar WHERE company_unique_id = 'c12';
TABLE parked;

DROP VIEW parked, p, c;
DROP TABLE exported;
DROP FOREIGN TABLE whole;
SET client_min_messages = warning;
DROP EXTENSION sidecar CASCADE;
DROP SCHEMA marketing CASCADE;
DROP TYPE stage;
DROP DOMAIN lower_text;

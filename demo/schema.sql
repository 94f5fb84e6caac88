-- The masters, which hold only what was validated, and the intake before them.
CREATE SCHEMA marketing;
CREATE TABLE marketing.company_master (
    company_unique_id varchar(50) PRIMARY KEY,
    company_name text NOT NULL,
    website text NOT NULL,
    sector text);
CREATE TABLE marketing.people_master (
    unique_id varchar(50) PRIMARY KEY,
    full_name text NOT NULL,
    title text,
    email text,
    company_unique_id varchar(50) REFERENCES marketing.company_master);

-- "enrichment" is what the sender knew beside the record: a JSON object of the
-- sidecar's columns, or nothing
CREATE SCHEMA intake;
CREATE TABLE intake.company_raw_intake (
    intake_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    company_unique_id text, company_name text, website text, sector text, enrichment jsonb,
    received_at timestamptz NOT NULL DEFAULT now(), reasons text[]);
CREATE TABLE intake.people_raw_intake (
    intake_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unique_id text, full_name text, title text, company_unique_id text, enrichment jsonb,
    received_at timestamptz NOT NULL DEFAULT now(), reasons text[]);

CREATE EXTENSION sidecar;

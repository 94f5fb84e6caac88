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

CREATE SCHEMA intake;
CREATE TABLE intake.company_raw_intake (
    company_unique_id text, company_name text, website text, sector text, ein_number text,
    received_at timestamptz DEFAULT now() - interval '120 days', reasons text[]);
CREATE TABLE intake.people_raw_intake (
    unique_id text, full_name text, title text, company_unique_id text, twitter text,
    received_at timestamptz DEFAULT now() - interval '120 days', reasons text[]);

CREATE EXTENSION sidecar;

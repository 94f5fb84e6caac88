-- The plain SQL migration as it stood before there was an extension: the masters
-- that it found, and what it made.
CREATE SCHEMA marketing;
CREATE TABLE marketing.company_master (company_unique_id VARCHAR(50) PRIMARY KEY, company_name TEXT NOT NULL);
CREATE TABLE marketing.people_master (unique_id VARCHAR(50) PRIMARY KEY, full_name TEXT NOT NULL, title TEXT, email TEXT);

CREATE TABLE marketing.company_sidecar (
    company_unique_id VARCHAR(50) PRIMARY KEY,
    ein_number VARCHAR(20),
    dun_and_bradstreet_number VARCHAR(20),
    clay_tags TEXT[],
    clay_segments TEXT[],
    enrichment_payload JSONB,
    last_enriched_at TIMESTAMP,
    enrichment_source TEXT,
    confidence_score NUMERIC(5,2),
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW(),
    CONSTRAINT fk_company_sidecar_company FOREIGN KEY (company_unique_id)
        REFERENCES marketing.company_master(company_unique_id) ON DELETE CASCADE
);
CREATE INDEX idx_company_sidecar_ein ON marketing.company_sidecar(ein_number);
CREATE INDEX idx_company_sidecar_duns ON marketing.company_sidecar(dun_and_bradstreet_number);
CREATE INDEX idx_company_sidecar_enriched ON marketing.company_sidecar(last_enriched_at DESC);
CREATE INDEX idx_company_sidecar_source ON marketing.company_sidecar(enrichment_source);
CREATE INDEX idx_company_sidecar_confidence ON marketing.company_sidecar(confidence_score DESC);
CREATE INDEX idx_company_sidecar_payload ON marketing.company_sidecar USING GIN (enrichment_payload);

CREATE OR REPLACE FUNCTION update_company_sidecar_updated_at()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER company_sidecar_updated_at
    BEFORE UPDATE ON marketing.company_sidecar
    FOR EACH ROW
    EXECUTE FUNCTION update_company_sidecar_updated_at();
COMMENT ON TABLE marketing.company_sidecar IS 'Optional enrichment data for companies';

CREATE TABLE marketing.people_sidecar (
    person_unique_id VARCHAR(50) PRIMARY KEY,
    clay_insight_summary TEXT,
    clay_segments TEXT[],
    social_profiles JSONB,
    enrichment_payload JSONB,
    last_enriched_at TIMESTAMP,
    enrichment_source TEXT,
    confidence_score NUMERIC(5,2),
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW(),
    CONSTRAINT fk_people_sidecar_person FOREIGN KEY (person_unique_id)
        REFERENCES marketing.people_master(unique_id) ON DELETE CASCADE
);
CREATE INDEX idx_people_sidecar_enriched ON marketing.people_sidecar(last_enriched_at DESC);
CREATE INDEX idx_people_sidecar_source ON marketing.people_sidecar(enrichment_source);
CREATE INDEX idx_people_sidecar_confidence ON marketing.people_sidecar(confidence_score DESC);
CREATE INDEX idx_people_sidecar_social ON marketing.people_sidecar USING GIN (social_profiles);
CREATE INDEX idx_people_sidecar_payload ON marketing.people_sidecar USING GIN (enrichment_payload);

CREATE OR REPLACE FUNCTION update_people_sidecar_updated_at()
RETURNS TRIGGER AS $$
BEGIN
    NEW.updated_at = NOW();
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
CREATE TRIGGER people_sidecar_updated_at
    BEFORE UPDATE ON marketing.people_sidecar
    FOR EACH ROW
    EXECUTE FUNCTION update_people_sidecar_updated_at();
COMMENT ON TABLE marketing.people_sidecar IS 'Optional enrichment data for people';

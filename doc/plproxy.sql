-- Functions of a PL/Proxy database in front of shards that have the extension.
-- psql -v shard_0="host=... dbname=..." -v shard_1="..." -f doc/plproxy.sql
CREATE EXTENSION plproxy;
CREATE SERVER shards FOREIGN DATA WRAPPER plproxy OPTIONS (p0 :'shard_0', p1 :'shard_1');
CREATE USER MAPPING FOR CURRENT_USER SERVER shards;

-- a record goes to the shard of its key
CREATE FUNCTION sidecar_upsert_company(
    company_unique_id text, ein_number text DEFAULT NULL, dun_and_bradstreet_number text DEFAULT NULL,
    clay_tags text[] DEFAULT NULL, clay_segments text[] DEFAULT NULL, enrichment_payload jsonb DEFAULT NULL,
    last_enriched_at timestamptz DEFAULT NULL, enrichment_source text DEFAULT NULL, confidence_score double precision DEFAULT NULL,
    on_conflict text DEFAULT NULL, clear text[] DEFAULT NULL)
RETURNS text LANGUAGE plproxy AS $$
    CLUSTER 'shards';
    RUN ON hashtext(company_unique_id);
$$;

-- a batch is split by its keys; shard_upsert_companies() is on the shards, see
-- plproxy_shard.sql
CREATE FUNCTION shard_upsert_companies(keys text[], records jsonb[], on_conflict text,
    OUT unique_id text, OUT outcome text, OUT error text)
RETURNS SETOF record LANGUAGE plproxy AS $$
    CLUSTER 'shards';
    SPLIT keys, records;
    RUN ON hashtext(keys);
$$;
CREATE FUNCTION sidecar_upsert_companies(records jsonb, on_conflict text DEFAULT NULL,
    OUT unique_id text, OUT outcome text, OUT error text)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT u.*
    FROM (SELECT array_agg(COALESCE(r ->> 'company_unique_id', '')) AS keys, array_agg(r) AS records
          FROM jsonb_array_elements(records) r) b,
         shard_upsert_companies(b.keys, b.records, on_conflict) u
$$;

-- a report is the sum over all shards
CREATE FUNCTION shard_coverage(OUT entity text, OUT total bigint, OUT enriched bigint, OUT enrichment_coverage_pct numeric)
RETURNS SETOF record LANGUAGE plproxy AS $$
    CLUSTER 'shards';
    RUN ON ALL;
    TARGET sidecar_coverage;
$$;
CREATE FUNCTION sidecar_coverage(OUT entity text, OUT total bigint, OUT enriched bigint, OUT enrichment_coverage_pct numeric)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT entity, sum(total)::bigint, sum(enriched)::bigint, round(100 * sum(enriched) / NULLIF(sum(total), 0), 2)
    FROM shard_coverage() GROUP BY entity ORDER BY entity
$$;

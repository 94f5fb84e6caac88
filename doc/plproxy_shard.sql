-- On each shard, beside the extension: what a PL/Proxy batch calls.
CREATE FUNCTION shard_upsert_companies(keys text[], records jsonb[], on_conflict text,
    OUT unique_id text, OUT outcome text, OUT error text)
RETURNS SETOF record LANGUAGE sql AS $$
    SELECT u.unique_id, u.outcome, u.error FROM sidecar_upsert_companies(to_jsonb(records), on_conflict) u
$$;

-- What becomes of one record by every way in: ways() sends it by each, undoes
-- that again, and groups the ways by outcome and stored row.  A way that fails
-- has its SQLSTATE for an outcome.  What an inbox did that is not asked is told
-- by the row; where that is as it was, by what the batch said.
CREATE FUNCTION ways(of_entity text, key text, fields jsonb DEFAULT '{}', rule text DEFAULT 'overwrite') RETURNS TABLE (ways text, outcome text, stored jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    is_company boolean := of_entity = 'company';
    sidecar regclass;
    key_column text;
    rejects regclass := (SELECT b.sidecar FROM sidecar_entity_bindings() b WHERE b.entity IS NULL);
    plural text := CASE WHEN is_company THEN 'companies' ELSE 'people' END;
    record jsonb;
    way text;
    statement text;
    answer text;
    batch_answer text;
    before tid;
    after tid;
    parked bigint;
    found jsonb;
    results jsonb := '[]';
BEGIN
    SELECT b.sidecar, b.key_column INTO sidecar, key_column FROM sidecar_entity_bindings() b WHERE b.entity = of_entity;
    record := jsonb_build_object(key_column, key) || fields;
    FOREACH way IN ARRAY '{single,batch,import,inbox,returning,retry}'::text[] LOOP
        -- a column of the user's is no argument of the single function
        CONTINUE WHEN way = 'single' AND EXISTS (
            SELECT FROM jsonb_object_keys(fields) f
            WHERE f <> ALL ('{ein_number,dun_and_bradstreet_number,clay_tags,clay_segments,clay_insight_summary,social_profiles,enrichment_payload,last_enriched_at,enrichment_source,confidence_score}'::text[]));
        answer := NULL;
        found := NULL;
        BEGIN
            EXECUTE format('SELECT ctid FROM %s WHERE %I = $1', sidecar, key_column) INTO before USING key;
            CASE way
                WHEN 'single' THEN
                    EXECUTE format('SELECT sidecar_upsert_%s($1, on_conflict => $2 %s)', CASE WHEN is_company THEN 'company' ELSE 'person' END,
                                   (SELECT string_agg(format(', %I => %L', k, v), '') FROM jsonb_each_text(fields) f (k, v)))
                    INTO answer USING key, rule;
                WHEN 'batch' THEN
                    EXECUTE format('SELECT string_agg(outcome, '' '') FROM sidecar_upsert_%s($1, $2)', plural) INTO answer USING record, rule;
                WHEN 'import' THEN
                    EXECUTE format('SELECT string_agg(outcome, '' '') FROM sidecar_import_%s($1, $2)', plural) INTO answer USING record::text, rule;
                WHEN 'inbox', 'returning' THEN
                    EXECUTE format('SELECT count(*) FROM %s', rejects) INTO parked;
                    statement := format('INSERT INTO sidecar_%s_inbox (on_conflict, %s) VALUES (%L, %s)', of_entity,
                                   (SELECT string_agg(format('%I', k), ', ' ORDER BY k) FROM jsonb_each_text(record) f (k, v)), rule,
                                   (SELECT string_agg(format('%L', v), ', ' ORDER BY k) FROM jsonb_each_text(record) f (k, v)));
                    IF way = 'returning' THEN
                        EXECUTE statement || ' RETURNING outcome' INTO answer;
                    ELSE
                        EXECUTE statement;
                    END IF;
                    EXECUTE format('SELECT CASE WHEN count(*) > $1 THEN ''rejected'' ELSE $2 END FROM %s', rejects) INTO answer USING parked, answer;
                WHEN 'retry' THEN
                    EXECUTE format('DELETE FROM %s', rejects);
                    EXECUTE format('INSERT INTO %s (entity, unique_id, record, on_conflict, error, sqlstate) VALUES ($1, $2, $3, $4, '''', '''')', rejects)
                    USING of_entity, key, record, rule;
                    answer := (SELECT string_agg(r.outcome, ' ') FROM sidecar_retry_rejects() r);
            END CASE;
            EXECUTE format('SELECT ctid, jsonb_strip_nulls(to_jsonb(s) - ARRAY[$2, ''created_at'', ''updated_at'', ''last_enriched_at''] ||
                    jsonb_build_object(''at'', CASE WHEN s.last_enriched_at BETWEEN (now() AT TIME ZONE ''UTC'') AND (now() AT TIME ZONE ''UTC'') + interval ''1 minute''
                                                    THEN ''now'' ELSE s.last_enriched_at::text END))
                FROM %s s WHERE %I = $1', sidecar, key_column) INTO after, found USING key, key_column;
            IF answer IS NULL AND way = 'inbox' THEN
                answer := CASE WHEN before IS NULL AND after IS NOT NULL THEN 'inserted' WHEN before <> after THEN 'updated' ELSE COALESCE(substring(batch_answer FROM 'skipped|unchanged'), 'kept') END;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'UNDO0';
        EXCEPTION
            WHEN SQLSTATE 'UNDO0' THEN NULL;
            WHEN OTHERS THEN answer := SQLSTATE;
        END;
        IF way = 'batch' THEN
            batch_answer := answer;
        END IF;
        results := results || jsonb_build_object('way', way, 'outcome', answer, 'stored', found);
    END LOOP;
    RETURN QUERY SELECT string_agg(r->>'way', ' ' ORDER BY n), r->>'outcome', r->'stored'
                 FROM jsonb_array_elements(results) WITH ORDINALITY e (r, n) GROUP BY 2, 3 ORDER BY min(n);
END $$;

/*-------------------------------------------------------------------------
 *
 * retry.c
 *		Parked records, tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "batch.h"

static void require_unique_ids(Relation rejects);
static void fill_gaps(Record *records, int nrecords);
static void keep_vetoed(Record *record);
static Record *read_rejects(Relation rejects, bool all, Datum max_rows, int *nrecords);
static void read_reject(Record *record, HeapTuple tuple, TupleDesc desc);
static void read_words(Record *record, char *entity, char *rule);
static void read_options(Record *record, Jsonb *options);
static Datum unusable_entities(void);
static int	compare_entities(const void *a, const void *b);
static int	compare_positions(const void *a, const void *b);
static void put_record(ReturnSetInfo *rsinfo, const Record *record);
static void remove_stored(Relation rejects, Record *records, int nrecords);
static void note_attempts(Relation rejects, Record *records, int nrecords);
static void note_turns(Relation rejects, Datum *ids, int nids);
static uint64 execute(const char *sql, int nargs, Oid *types, Datum *values, int expected);
static void run(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls, int expected);

PG_FUNCTION_INFO_V1(sidecar_retry_rejects);

/*
 * sidecar_retry_rejects(max_rows)
 *		RETURNS TABLE (reject_id, entity, unique_id, outcome, error)
 *
 * Tries parked records again, at most max_rows (NULL: all): those that were not
 * tried for longest, in the order in which they were parked.  Those that are
 * stored leave the table; attempts, last_tried_at and the error of the others
 * are brought up.  A record that was sent under "overwrite" changes a stored row
 * only if it is newer, else it is tried under "fill"; and one without
 * last_enriched_at takes the time when it was parked: so it never overwrites
 * what came after it, and what nobody else gave is not lost.
 *
 * Several sessions may run at once: each takes other records, and leaves one
 * alone as long as an older one of the same key is with somebody else.
 * Records of an entity that cannot be stored now are left alone; one whose entity
 * or rule is none is rejected, until somebody mends the word.  Errors: those of
 * sidecar_upsert_companies(), and a policy that hides from DELETE what was
 * stored (42501); a record that a policy refuses is rejected.
 */
Datum
sidecar_retry_rejects(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT8OID};
	static const Oid columns[] = {UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	ReturnSetInfo *rsinfo = sidecar_begin_rows(fcinfo, lengthof(types), types, lengthof(columns), columns);
	Relation	rejects = sidecar_open_rejects(RowExclusiveLock);
	int			nrecords;
	Record	   *records;
	int			start = 0;

	require_unique_ids(rejects);
	records = read_rejects(rejects, PG_ARGISNULL(0), PG_GETARG_DATUM(0), &nrecords);

	/* what was no JSON may have been mended */
	sidecar_parse_texts(records, nrecords, true);

	/* a batch is of one entity; the answer is in the order of the table */
	qsort(records, nrecords, sizeof(Record), compare_entities);
	for (int i = 1; i <= nrecords; i++)
	{
		if (i < nrecords && records[i].entity == records[start].entity)
			continue;
		if (records[start].entity != NULL)
		{
			sidecar_store_records(records[start].entity, records + start, i - start, true);
			fill_gaps(records + start, i - start);
		}
		start = i;
	}
	/* as they were read */
	qsort(records, nrecords, sizeof(Record), compare_positions);
	/* before it is decided which leave the table */
	for (int i = 0; i < nrecords; i++)
		keep_vetoed(&records[i]);
	remove_stored(rejects, records, nrecords);
	note_attempts(rejects, records, nrecords);
	table_close(rejects, NoLock);
	for (int i = 0; i < nrecords; i++)
		put_record(rsinfo, &records[i]);
	return (Datum) 0;
}

/*
 * Raises 55000 if a record's id could be another one's too: then one that is
 * not stored would leave with one that is.
 */
static void
require_unique_ids(Relation rejects)
{
	AttrNumber	column = get_attnum(RelationGetRelid(rejects), "reject_id");
	List	   *indexes = RelationGetIndexList(rejects);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (form->indisunique && form->indisvalid && form->indimmediate && form->indnkeyatts == 1 &&
			form->indkey.values[0] == column && RelationGetIndexPredicate(index) == NIL)
			found = true;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s has no unique index on \"reject_id\"",
						sidecar_relation_sql(RelationGetRelid(rejects))),
				 errhint(SIDECAR_HINT_INSTALL)));
}

/*
 * Tries those that were sent under "overwrite" and have been overtaken under
 * "fill", the last one first: of what they give it was to stand.
 */
static void
fill_gaps(Record *records, int nrecords)
{
	Record	  **overtaken = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Record *) * nrecords);
	Record	   *again;
	int			n = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].may_fill && records[i].outcome == SIDECAR_SKIPPED && !records[i].row.absent)
			overtaken[n++] = &records[i];
	}
	if (n == 0)
		return;
	again = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Record) * n,
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < n; i++)
	{
		const Record *record = overtaken[i];

		again[i].position = n - i;
		again[i].entity = record->entity;
		again[i].json = record->json;
		again[i].from_text = record->from_text;
		again[i].session_zone = record->session_zone;
		again[i].rule = SIDECAR_FILL;
		again[i].unknown_keys = record->unknown_keys;
		again[i].time = record->time;
	}
	sidecar_store_records(again[0].entity, again, n, true);
	for (int i = 0; i < n; i++)
	{
		overtaken[i]->outcome = again[i].outcome;
		overtaken[i]->error = again[i].error;
		overtaken[i]->sqlstate = again[i].sqlstate;
		overtaken[i]->row.absent = again[i].row.absent;
	}
}

/*
 * A record that a trigger has kept away, so that its key has no row, stays
 * parked: nothing that was sent is lost.
 */
static void
keep_vetoed(Record *record)
{
	/* a rule that kept the stored row is no loss: what is stored is better */
	if (!record->row.absent)
		return;
	record->outcome = SIDECAR_REJECTED;
	record->sqlstate = ERRCODE_TRIGGERED_ACTION_EXCEPTION;
	record->error = pstrdup("a trigger of the table has kept the record away");
}

/*
 * Locks parked records, those that were not tried for longest, and reads them,
 * oldest first.
 *
 * The older ones of their keys are locked, too, though they are not tried: what
 * another session does with them meanwhile would come after what is newer.
 */
static Record *
read_rejects(Relation rejects, bool all, Datum max_rows, int *nrecords)
{
	MemoryContext caller = CurrentMemoryContext;
	const char *relation = sidecar_relation_sql(RelationGetRelid(rejects));
	Oid			types[] = {INT8OID, TEXTARRAYOID};
	Datum		values[] = {max_rows, unusable_entities()};
	Oid			mine_types[] = {UUIDARRAYOID, TEXTARRAYOID};
	Datum		mine[lengthof(mine_types)];
	char		mine_nulls[lengthof(mine_types) + 1] = "  ";
	Record	   *records;
	Datum	   *waiting;
	int			nwaiting = 0;
	int			nread;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/*----------
	 * What others are at is passed over, and a row that is not as we have
	 * written it: it may not stop the others.
	 *
	 * SELECT array_agg(m.reject_id),
	 *     array_agg(DISTINCT m.unique_id) FILTER (WHERE m.unique_id IS NOT NULL)
	 * FROM (SELECT r.reject_id, r.unique_id
	 *     FROM marketing.sidecar_rejects r
	 *     WHERE r.entity IS NOT NULL AND NOT (r.entity = ANY ($2))
	 *         AND r.reject_id IS NOT NULL AND r.record IS NOT NULL
	 *         AND r.on_conflict IS NOT NULL AND r.rejected_at IS NOT NULL
	 *     ORDER BY r.last_tried_at NULLS FIRST, r.rejected_at, r.record_no, r.reject_id
	 *     LIMIT $1
	 *     FOR UPDATE SKIP LOCKED) m
	 *----------
	 */
	run(psprintf("SELECT pg_catalog.array_agg(m.reject_id), "
				 "pg_catalog.array_agg(DISTINCT CAST(m.unique_id AS pg_catalog.text)) "
				 "FILTER (WHERE m.unique_id IS NOT NULL) "
				 "FROM (SELECT r.reject_id, r.unique_id "
				 "FROM %s r "
				 "WHERE r.entity IS NOT NULL AND NOT (r.entity OPERATOR(pg_catalog.=) ANY ($2)) "
				 "AND r.reject_id IS NOT NULL AND r.record IS NOT NULL "
				 "AND r.on_conflict IS NOT NULL AND r.rejected_at IS NOT NULL "
				 "ORDER BY r.last_tried_at NULLS FIRST, r.rejected_at, r.record_no, r.reject_id "
				 "LIMIT $1 "
				 "FOR UPDATE SKIP LOCKED) m",
				 relation),
		lengthof(types), types, values, all ? "n " : "  ", SPI_OK_SELECT);
	for (int c = 0; c < lengthof(mine); c++)
	{
		bool		isnull;

		mine[c] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, c + 1, &isnull);
		mine_nulls[c] = isnull ? 'n' : ' ';
	}

	/*----------
	 * Of these those wait that have an older one of their key which is
	 * somebody else's: that cannot be locked.  One pass over the keys in
	 * order, and nothing is joined: the planner would compare everything with
	 * everything where a table has just been filled.  As constants the arrays
	 * are hashed.
	 *
	 * SELECT t.reject_id, t.entity, t.record, t.on_conflict, t.rejected_at, t.options, t.waits
	 * FROM (SELECT a.reject_id, a.entity, ..., a.is_mine,
	 *         bool_or(a.is_older AND NOT a.is_mine AND NOT EXISTS (
	 *             SELECT FROM marketing.sidecar_rejects l
	 *             WHERE l.reject_id = a.reject_id
	 *             FOR UPDATE SKIP LOCKED))
	 *         OVER (PARTITION BY a.entity, a.unique_id
	 *             ORDER BY a.rejected_at, a.record_no, a.reject_id) AS waits
	 *     FROM (SELECT k.reject_id, k.entity, ..., k.is_mine,
	 *             bool_or(k.is_mine)
	 *             OVER (PARTITION BY k.entity, k.unique_id
	 *                 ORDER BY k.rejected_at DESC, k.record_no DESC, k.reject_id DESC) AS is_older
	 *         FROM (SELECT r.reject_id, r.entity, ..., r.reject_id = ANY ($1) AS is_mine
	 *             FROM marketing.sidecar_rejects r
	 *             WHERE r.reject_id = ANY ($1) OR r.unique_id = ANY ($2)) k) a) t
	 * WHERE t.is_mine
	 * ORDER BY t.rejected_at, t.record_no, t.reject_id
	 *----------
	 */
#define COLUMNS(t) \
	t ".reject_id, " t ".entity, " t ".unique_id, " t ".record, " t ".on_conflict, " \
	t ".rejected_at, " t ".record_no, " t ".options, "
	run(psprintf("SELECT t.reject_id, CAST(t.entity AS pg_catalog.text), t.record, "
				 "CAST(t.on_conflict AS pg_catalog.text), "
				 "CAST(t.rejected_at AS pg_catalog.timestamptz), t.options, t.waits "
				 "FROM (SELECT " COLUMNS("a") "a.is_mine, "
				 "pg_catalog.bool_or(a.is_older AND NOT a.is_mine AND NOT EXISTS ("
				 "SELECT FROM %s l "
				 "WHERE l.reject_id OPERATOR(pg_catalog.=) a.reject_id "
				 "FOR UPDATE SKIP LOCKED)) "
				 "OVER (PARTITION BY a.entity, a.unique_id "
				 "ORDER BY a.rejected_at, a.record_no, a.reject_id) AS waits "
				 "FROM (SELECT " COLUMNS("k") "k.is_mine, "
				 "pg_catalog.bool_or(k.is_mine) "
				 "OVER (PARTITION BY k.entity, k.unique_id "
				 "ORDER BY k.rejected_at DESC, k.record_no DESC, k.reject_id DESC) AS is_older "
				 "FROM (SELECT " COLUMNS("r")
				 "r.reject_id OPERATOR(pg_catalog.=) ANY ($1) AS is_mine "
				 "FROM %s r "
				 "WHERE r.reject_id OPERATOR(pg_catalog.=) ANY ($1) "
				 "OR r.unique_id OPERATOR(pg_catalog.=) ANY ($2)) k) a) t "
				 "WHERE t.is_mine "
				 "ORDER BY t.rejected_at, t.record_no, t.reject_id",
				 relation, relation),
		lengthof(mine), mine_types, mine, mine_nulls, SPI_OK_SELECT);
#undef COLUMNS

	/* the records outlive the connection to SPI */
	nread = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	records = MemoryContextAllocExtended(caller, sizeof(Record) * Max(nread, 1),
										 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	waiting = MemoryContextAllocHuge(caller, sizeof(Datum) * Max(nread, 1));
	*nrecords = 0;
	for (int i = 0; i < nread; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		if (DatumGetBool(SPI_getbinval(tuple, desc, 7, &isnull)))
		{
			waiting[nwaiting++] = SPI_getbinval(tuple, desc, 1, &isnull);
			continue;
		}
		/* of several of a key the older is stored first */
		records[*nrecords].position = *nrecords;
		read_reject(&records[*nrecords], tuple, desc);
		(*nrecords)++;
	}
	/* or the next calls would choose the same ones, and try none */
	if (!all)
		note_turns(rejects, waiting, nwaiting);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return records;
}

/*
 * The record of a row, of whose columns only the options may be NULL.
 */
static void
read_reject(Record *record, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		options;

	record->reject_id = *DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &isnull));
	/* a copy: the row goes with the connection to SPI */
	JsonbToJsonbValue(DatumGetJsonbPCopy(SPI_getbinval(tuple, desc, 3, &isnull)), &record->json);
	/* one that is no JSON is a string, and a scalar is wrapped in an array */
	if (JsonContainerIsScalar(record->json.val.binary.data))
		(void) JsonbExtractScalar(record->json.val.binary.data, &record->json);
	read_words(record, SPI_getvalue(tuple, desc, 2), SPI_getvalue(tuple, desc, 4));
	record->time = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &isnull));

	options = SPI_getbinval(tuple, desc, 6, &isnull);
	if (!isnull)
		read_options(record, DatumGetJsonbP(options));
	/* that goes without saying; whoever tries it again may be anywhere */
	if (record->from_text && record->session_zone == NULL && record->entity != NULL)
		record->session_zone = sidecar_lookup(record->entity)->zone;

	/* nobody could store anything newer after that */
	if (TIMESTAMP_NOT_FINITE(record->time))
		record->time = GetCurrentTransactionStartTimestamp();

	/* it was overtaken meanwhile, perhaps */
	record->may_fill = record->rule == SIDECAR_OVERWRITE;
	if (record->may_fill)
		record->rule = SIDECAR_NEWER;
}

/*
 * The record's entity and rule, by their words; it is rejected for one that names
 * none, which somebody has misspelt.
 */
static void
read_words(Record *record, char *entity, char *rule)
{
	int			number = sidecar_find_word(&sidecar_on_conflict, rule);

	if (number >= 0)
		record->rule = number;
	else
	{
		record->wrong_rule = rule;
		sidecar_refuse(record, psprintf("unknown on_conflict \"%s\"", rule));
	}
	for (int e = 0; e < SIDECAR_ENTITIES; e++)
	{
		if (strcmp(sidecar_entities[e].label, entity) == 0)
			record->entity = &sidecar_entities[e];
	}
	if (record->entity == NULL)
	{
		record->wrong_entity = entity;
		sidecar_refuse(record, psprintf("there is no entity \"%s\"", entity));
	}
}

/*
 * What the record was sent with; what is not as we have written it says nothing.
 */
static void
read_options(Record *record, Jsonb *options)
{
	JsonbValue	value;
	int			unknown_keys = -1;

	if (!JB_ROOT_IS_OBJECT(options))
		return;
	if (getKeyJsonValueFromContainer(&options->root, SIDECAR_OPTION_UNKNOWN_KEYS,
									 strlen(SIDECAR_OPTION_UNKNOWN_KEYS), &value) != NULL &&
		value.type == jbvString)
		unknown_keys = sidecar_find_word(&sidecar_unknown_keys,
										 pnstrdup(value.val.string.val, value.val.string.len));
	if (unknown_keys >= 0)
		record->unknown_keys = unknown_keys;
	if (getKeyJsonValueFromContainer(&options->root, SIDECAR_OPTION_TEXT,
									 strlen(SIDECAR_OPTION_TEXT), &value) != NULL)
		record->from_text = value.type == jbvBool && value.val.boolean;
	if (getKeyJsonValueFromContainer(&options->root, SIDECAR_OPTION_TIME_ZONE,
									 strlen(SIDECAR_OPTION_TIME_ZONE), &value) != NULL &&
		value.type == jbvString)
		record->session_zone = sidecar_find_zone(pnstrdup(value.val.string.val, value.val.string.len));
}

/*
 * The labels of the entities of which nothing can be stored now: text[].
 */
static Datum
unusable_entities(void)
{
	Datum		labels[SIDECAR_ENTITIES];
	int			n = 0;

	for (int e = 0; e < SIDECAR_ENTITIES; e++)
	{
		/* one entity's trouble is not the other's */
		if (!sidecar_can_store(sidecar_lookup(&sidecar_entities[e])))
			labels[n++] = CStringGetTextDatum(sidecar_entities[e].label);
	}
	return sidecar_make_array(labels, NULL, n, TEXTOID);
}

static int
compare_entities(const void *a, const void *b)
{
	const Record *left = a;
	const Record *right = b;

	if (left->entity != right->entity)
		return left->entity < right->entity ? -1 : 1;
	return compare_positions(a, b);
}

static int
compare_positions(const void *a, const void *b)
{
	const Record *left = a;
	const Record *right = b;

	return (left->position > right->position) - (left->position < right->position);
}

static void
put_record(ReturnSetInfo *rsinfo, const Record *record)
{
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = UUIDPGetDatum(&record->reject_id);
	values[1] = CStringGetTextDatum(record->entity ? record->entity->label : record->wrong_entity);
	nulls[2] = record->key == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(record->key);
	values[3] = CStringGetTextDatum(sidecar_outcome_name(record->outcome));
	nulls[4] = record->outcome != SIDECAR_REJECTED;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(record->error);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Takes the records that were stored out of the parked ones.
 */
static void
remove_stored(Relation rejects, Record *records, int nrecords)
{
	Oid			relid = RelationGetRelid(rejects);
	Datum	   *ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(nrecords, 1));
	Oid			types[] = {UUIDARRAYOID};
	Datum		values[lengthof(types)];
	uint64		n = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].outcome != SIDECAR_REJECTED)
			ids[n++] = UUIDPGetDatum(&records[i].reject_id);
	}
	values[0] = sidecar_make_array(ids, NULL, (int) n, UUIDOID);
	if (execute(psprintf("DELETE FROM %s r "
						 "WHERE r.reject_id OPERATOR(pg_catalog.=) ANY ($1)",
						 sidecar_relation_sql(relid)),
				lengthof(types), types, values, SPI_OK_DELETE) < n &&
		check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		/* they would be stored again each time */
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("records that were stored cannot be deleted from %s", sidecar_relation_sql(relid)),
				 errdetail("Its policies let the current role read and update them, but not delete them.")));
}

/*
 * Notes what is wrong with the others now.
 */
static void
note_attempts(Relation rejects, Record *records, int nrecords)
{
	Datum	   *columns[3];
	Oid			types[] = {UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		values[lengthof(types)];
	int			n = 0;

	for (int c = 0; c < lengthof(columns); c++)
		columns[c] = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(nrecords, 1));
	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].outcome != SIDECAR_REJECTED)
			continue;
		columns[0][n] = UUIDPGetDatum(&records[i].reject_id);
		columns[1][n] = CStringGetTextDatum(records[i].error);
		columns[2][n++] = CStringGetTextDatum(unpack_sql_state(records[i].sqlstate));
	}
	for (int c = 0; c < lengthof(columns); c++)
		values[c] = sidecar_make_array(columns[c], NULL, n, c == 0 ? UUIDOID : TEXTOID);

	/*----------
	 * UPDATE marketing.sidecar_rejects r
	 * SET attempts = CASE WHEN r.attempts < 2147483647 THEN r.attempts + 1 ELSE r.attempts END,
	 *     last_tried_at = now(), error = u.error, sqlstate = u.sqlstate
	 * FROM ROWS FROM (unnest($1), unnest($2), unnest($3)) u (reject_id, error, sqlstate)
	 * WHERE r.reject_id = u.reject_id
	 *----------
	 */
	(void) execute(psprintf("UPDATE %s r "
							"SET attempts = CASE WHEN r.attempts OPERATOR(pg_catalog.<) 2147483647 "
							"THEN r.attempts OPERATOR(pg_catalog.+) 1 ELSE r.attempts END, "
							"last_tried_at = pg_catalog.now(), error = u.error, sqlstate = u.sqlstate "
							"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), "
							"pg_catalog.unnest($3)) u (reject_id, error, sqlstate) "
							"WHERE r.reject_id OPERATOR(pg_catalog.=) u.reject_id",
							sidecar_relation_sql(RelationGetRelid(rejects))),
				   lengthof(types), types, values, SPI_OK_UPDATE);
}

/*
 * Notes that these had their turn, although they have to wait.
 */
static void
note_turns(Relation rejects, Datum *ids, int nids)
{
	Oid			types[] = {UUIDARRAYOID};
	Datum		values[] = {sidecar_make_array(ids, NULL, nids, UUIDOID)};

	if (nids == 0)
		return;
	(void) execute(psprintf("UPDATE %s r "
							"SET last_tried_at = pg_catalog.now() "
							"WHERE r.reject_id OPERATOR(pg_catalog.=) ANY ($1)",
							sidecar_relation_sql(RelationGetRelid(rejects))),
				   lengthof(types), types, values, SPI_OK_UPDATE);
}

/*
 * Runs a statement by itself; returns how many rows it is about.
 */
static uint64
execute(const char *sql, int nargs, Oid *types, Datum *values, int expected)
{
	uint64		processed;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	run(sql, nargs, types, values, NULL, expected);
	processed = SPI_processed;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return processed;
}

static void
run(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls, int expected)
{
	int			ret = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);

	if (ret != expected)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(ret));
}

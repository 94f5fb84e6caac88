/*-------------------------------------------------------------------------
 *
 * reject.c
 *		Records that could not be stored: kept, and tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "batch.h"

static int	read_rejects(Datum max_rows, bool all, int **entities, Record **records, int *nrecords);
static Relation open_rejects(void);
static void settle(Record *records, int nrecords);
static void execute(const char *sql, int nargs, Oid *types, Datum *values, int expected);
static Datum make_array(Datum *values, bool *nulls, int n, Oid type);

PG_FUNCTION_INFO_V1(sidecar_retry_rejects);

/*
 * sidecar_retry_rejects(max_rows)
 *		RETURNS TABLE (reject_id, entity, unique_id, outcome, error)
 *
 * Tries parked records again, oldest first, at most max_rows (NULL: all).
 * Those that are stored leave the table; attempts, last_tried_at and the error
 * of the others are brought up.  A record that was sent under "overwrite" is
 * tried under "newest", and one without last_enriched_at takes the time when
 * it was parked, so that it never overwrites something newer.
 *
 * Several sessions may run at once: each takes other records, and leaves one
 * alone as long as an older one of the same key is with somebody else.
 */
Datum
sidecar_retry_rejects(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT8OID};
	static const Oid columns[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	ReturnSetInfo *rsinfo = sidecar_begin_rows(fcinfo, lengthof(types), types, lengthof(columns), columns);
	Relation	rejects = open_rejects();
	Record	   *records[SIDECAR_ENTITIES];
	int			nrecords[SIDECAR_ENTITIES] = {0};
	int		   *entities;
	int			total;

	total = read_rejects(PG_GETARG_DATUM(0), PG_ARGISNULL(0), &entities, records, nrecords);
	for (int e = 0; e < SIDECAR_ENTITIES; e++)
	{
		if (nrecords[e] > 0)
		{
			sidecar_store_records(e, records[e], nrecords[e]);
			settle(records[e], nrecords[e]);
		}
		nrecords[e] = 0;
	}
	table_close(rejects, NoLock);
	for (int i = 0; i < total; i++)
	{
		Record	   *record = &records[entities[i]][nrecords[entities[i]]++];
		Datum		values[5];
		bool		nulls[5] = {false};

		values[0] = Int64GetDatum(record->reject_id);
		values[1] = CStringGetTextDatum(sidecar_entities[entities[i]].label);
		nulls[2] = record->key == NULL;
		values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(record->key);
		values[3] = CStringGetTextDatum(record->outcome);
		nulls[4] = record->error == NULL;
		values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(record->error);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Locks and reads parked records, oldest first; returns how many.  They are
 * left by entity; entities tells of each in turn which it has.
 */
static int
read_rejects(Datum max_rows, bool all, int **entities, Record **records, int *nrecords)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			type = INT8OID;
	int			total;
	int			ret;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ret = SPI_execute_with_args(
								"WITH mine AS MATERIALIZED (SELECT * FROM " SIDECAR_SCHEMA "." SIDECAR_REJECTS " r "
								"WHERE r.reject_id IS NOT NULL AND r.entity IS NOT NULL AND r.record IS NOT NULL "
								"AND r.on_conflict IS NOT NULL AND r.rejected_at IS NOT NULL "
								"ORDER BY r.reject_id LIMIT $1 FOR UPDATE SKIP LOCKED) "
								"SELECT m.reject_id, m.entity, m.unique_id, m.record, m.on_conflict, m.rejected_at FROM mine m "
								"WHERE NOT EXISTS (SELECT FROM " SIDECAR_SCHEMA "." SIDECAR_REJECTS " o "
								"WHERE o.entity OPERATOR(pg_catalog.=) m.entity AND o.unique_id OPERATOR(pg_catalog.=) m.unique_id "
								"AND o.reject_id OPERATOR(pg_catalog.<) m.reject_id "
								"AND NOT EXISTS (SELECT FROM mine x WHERE x.reject_id OPERATOR(pg_catalog.=) o.reject_id)) "
								"ORDER BY m.reject_id",
								1, &type, &max_rows, all ? "n" : " ", false, 0);
	if (ret != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(ret));

	total = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	*entities = palloc(sizeof(int) * Max(total, 1));
	for (int e = 0; e < SIDECAR_ENTITIES; e++)
		records[e] = MemoryContextAllocHuge(caller, sizeof(Record) * Max(total, 1));
	for (int i = 0; i < total; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		int			e = sidecar_entity_index(SPI_getvalue(tuple, desc, 2));
		Record	   *record = &records[e][nrecords[e]++];
		bool		isnull;

		(*entities)[i] = e;
		memset(record, 0, sizeof(Record));
		record->position = i;
		record->reject_id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		JsonbToJsonbValue(DatumGetJsonbPCopy(SPI_getbinval(tuple, desc, 4, &isnull)), &record->json);
		record->rule = sidecar_rule(DatumGetTextPP(SPI_getbinval(tuple, desc, 5, &isnull)));
		if (record->rule == SIDECAR_OVERWRITE)
			record->rule = SIDECAR_NEWEST;
		record->time = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 6, &isnull));
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return total;
}

/*
 * Parks the records that were rejected, in input order.
 */
void
sidecar_park(int entity, Record *records, int nrecords)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "sidecar park",
												  ALLOCSET_DEFAULT_SIZES);
	int			i = 0;

	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Datum	   *columns[5];
		bool	   *nulls = palloc0(sizeof(bool) * SIDECAR_CHUNK);
		Oid			types[6] = {TEXTOID, TEXTARRAYOID, JSONBARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
		Datum		values[6];
		int			n = 0;

		for (int c = 0; c < 5; c++)
			columns[c] = palloc(sizeof(Datum) * SIDECAR_CHUNK);
		for (; i < nrecords && n < SIDECAR_CHUNK; i++)
		{
			Record	   *record = &records[i];

			if (record->error == NULL)
				continue;
			nulls[n] = record->key == NULL;
			columns[0][n] = nulls[n] ? (Datum) 0 : CStringGetTextDatum(record->key);
			columns[1][n] = JsonbPGetDatum(JsonbValueToJsonb(&record->json));
			columns[2][n] = CStringGetTextDatum(sidecar_rule_name(record->rule));
			columns[3][n] = CStringGetTextDatum(record->error);
			columns[4][n] = CStringGetTextDatum(unpack_sql_state(record->sqlstate));
			n++;
		}
		if (n > 0)
		{
			Relation	rejects = open_rejects();

			values[0] = CStringGetTextDatum(sidecar_entities[entity].label);
			for (int c = 0; c < 5; c++)
				values[c + 1] = make_array(columns[c], c == 0 ? nulls : NULL, n, c == 1 ? JSONBOID : TEXTOID);
			execute("INSERT INTO " SIDECAR_SCHEMA "." SIDECAR_REJECTS " (entity, unique_id, record, on_conflict, error, sqlstate) "
					"SELECT $1, u.unique_id, u.record, u.on_conflict, u.error, u.sqlstate "
					"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) u (unique_id, record, on_conflict, error, sqlstate)",
					6, types, values, SPI_OK_INSERT);
			table_close(rejects, NoLock);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		if (i == nrecords)
			break;
	}
	MemoryContextDelete(context);
}

/*
 * Finds the table of parked records, or tells by *error why there is none that
 * can be used.
 *
 * A name is no right: its owner must be one who may own sidecar tables.  Its
 * columns are looked at, because we read them by their types.
 */
Oid
sidecar_find_rejects(SidecarError **error)
{
	static const struct
	{
		const char *name;
		Oid			type;
	}			columns[] = {
		{"reject_id", INT8OID}, {"entity", TEXTOID}, {"unique_id", TEXTOID}, {"record", JSONBOID},
		{"on_conflict", TEXTOID}, {"error", TEXTOID}, {"sqlstate", TEXTOID}, {"attempts", INT4OID},
		{"rejected_at", TIMESTAMPTZOID}, {"last_tried_at", TIMESTAMPTZOID}
	};
	Oid			schema = get_namespace_oid(SIDECAR_SCHEMA, true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(SIDECAR_REJECTS, schema) : InvalidOid;
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	bool		trusted = false;

	*error = NULL;
	if (rel == NULL)
	{
		*error = sidecar_error(ERRCODE_UNDEFINED_TABLE,
							   psprintf("table %s.%s does not exist", SIDECAR_SCHEMA, SIDECAR_REJECTS),
							   NULL, SIDECAR_HINT_INSTALL);
		(*error)->is_absence = true;
		return InvalidOid;
	}
	for (int e = 0; e < SIDECAR_ENTITIES; e++)
		trusted = trusted || sidecar_is_trusted(&sidecar_entities[e], rel->rd_rel->relowner);
	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		*error = sidecar_error(ERRCODE_WRONG_OBJECT_TYPE,
							   psprintf("%s.%s is not a table", SIDECAR_SCHEMA, SIDECAR_REJECTS),
							   NULL, NULL);
	else if (!trusted)
		*error = sidecar_error(ERRCODE_INSUFFICIENT_PRIVILEGE,
							   psprintf("table %s.%s cannot take parked records", SIDECAR_SCHEMA, SIDECAR_REJECTS),
							   psprintf("Its owner may not execute %s(), as owners of sidecar tables may.",
										sidecar_entities[0].trigger_function),
							   "GRANT EXECUTE on that function to the owner, or give the table to another one.");
	for (int c = 0; c < lengthof(columns) && *error == NULL; c++)
	{
		AttrNumber	attnum = get_attnum(relid, columns[c].name);

		if (attnum == InvalidAttrNumber)
			*error = sidecar_error(ERRCODE_UNDEFINED_COLUMN,
								   psprintf("table %s.%s has no column \"%s\"", SIDECAR_SCHEMA, SIDECAR_REJECTS, columns[c].name),
								   NULL, SIDECAR_HINT_INSTALL);
		else
			*error = sidecar_wrong_type(relid, TupleDescAttr(RelationGetDescr(rel), attnum - 1), columns[c].type);
	}
	relation_close(rel, AccessShareLock);
	return *error == NULL ? relid : InvalidOid;
}

/*
 * Opens the table of parked records.  Errors: those of sidecar_find_rejects().
 */
static Relation
open_rejects(void)
{
	SidecarError *error;
	Oid			relid;
	Relation	rel = NULL;

	/* what was locked must be what is found then, as in sidecar_open() */
	for (;;)
	{
		relid = sidecar_find_rejects(&error);
		if (rel != NULL)
		{
			if (RelationGetRelid(rel) == relid)
				return rel;
			table_close(rel, RowExclusiveLock);
		}
		if (error != NULL)
			sidecar_raise(error);
		rel = try_table_open(relid, RowExclusiveLock);
	}
}

/*
 * Takes the stored records out of the parked ones, and brings up the others.
 */
static void
settle(Record *records, int nrecords)
{
	Datum	   *ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * nrecords);
	Datum	   *errors = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * nrecords);
	Datum	   *states = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * nrecords);
	Oid			types[3] = {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		values[3];
	int			n = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].error == NULL)
			ids[n++] = Int64GetDatum(records[i].reject_id);
	}
	values[0] = make_array(ids, NULL, n, INT8OID);
	execute("DELETE FROM " SIDECAR_SCHEMA "." SIDECAR_REJECTS " r WHERE r.reject_id OPERATOR(pg_catalog.=) ANY ($1)",
			1, types, values, SPI_OK_DELETE);

	n = 0;
	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].error == NULL)
			continue;
		ids[n] = Int64GetDatum(records[i].reject_id);
		errors[n] = CStringGetTextDatum(records[i].error);
		states[n++] = CStringGetTextDatum(unpack_sql_state(records[i].sqlstate));
	}
	values[0] = make_array(ids, NULL, n, INT8OID);
	values[1] = make_array(errors, NULL, n, TEXTOID);
	values[2] = make_array(states, NULL, n, TEXTOID);
	execute("UPDATE " SIDECAR_SCHEMA "." SIDECAR_REJECTS " r SET attempts = r.attempts OPERATOR(pg_catalog.+) 1, "
			"last_tried_at = pg_catalog.now(), error = u.error, sqlstate = u.sqlstate "
			"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) u (reject_id, error, sqlstate) "
			"WHERE r.reject_id OPERATOR(pg_catalog.=) u.reject_id",
			3, types, values, SPI_OK_UPDATE);
}

static void
execute(const char *sql, int nargs, Oid *types, Datum *values, int expected)
{
	int			ret;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ret = SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0);
	if (ret != expected)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(ret));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

static Datum
make_array(Datum *values, bool *nulls, int n, Oid type)
{
	int			dims[1];
	int			lbs[1] = {1};
	int16		length;
	bool		byval;
	char		align;

	dims[0] = n;
	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_md_array(values, nulls, n > 0 ? 1 : 0, dims, lbs, type, length, byval, align));
}

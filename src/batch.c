/*-------------------------------------------------------------------------
 *
 * batch.c
 *		Many records: JSON in, a row per record out, bad ones parked.
 *
 * Records are put into key order, so that two batches never wait for each
 * other in a circle, and worked on in chunks.  A chunk is
 *
 *	1. converted to the types of the table's columns, record by record
 *	   (convert.c);
 *	2. looked up by one query, which finds the records that have no master and
 *	   those that the stored row says already; or only if 3 fails, as long as
 *	   that has found nothing;
 *	3. written by one statement in a sub-transaction; if that fails, its halves
 *	   are, until the bad records stand alone.
 *
 * What fails for a reason that lies in the record is rejected, and parked at
 * the end (reject.c).  Any other error ends the call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"

#include "batch.h"

static void upsert_many(FunctionCallInfo fcinfo, int entity);
static int	compare_records(const void *a, const void *b);
static char *record_key(JsonbValue *json, const char *key);
static void store_chunk(Batch *batch, Record **records, int nrecords);
static void store_run(Batch *batch, Record **records, int nrecords);
static int	run_columns(Batch *batch, Record **records, int nrecords, SidecarColumn **columns);
static int	look_up(Batch *batch, Record **records, int nrecords, bool locked);
static void write_records(Batch *batch, Record **records, int nrecords);
static bool write_together(Batch *batch, Record **records, int nrecords);
static int	write_chunk(Batch *batch, Record **records, int nrecords, const char *sql);
static Tuplestorestate *make_chunk(Batch *batch, Record **records, int nrecords);
static void query_chunk(Batch *batch, Tuplestorestate *chunk, int nrecords,
						const char *sql, int expected);
static bool is_about_record(int sqlstate);

PG_FUNCTION_INFO_V1(sidecar_upsert_companies);
PG_FUNCTION_INFO_V1(sidecar_upsert_people);

/*
 * sidecar_upsert_companies(records, on_conflict)
 *		RETURNS TABLE (record, unique_id, outcome, error)
 *
 * records is a JSON array of objects, or one object, whose keys are columns of
 * the sidecar table; JSON null means not given.  A row per record, in input
 * order; record counts from 1, outcome is that of sidecar_upsert_company(), or
 * rejected with the reason in error.  Rejected records are in
 * marketing.sidecar_rejects when the call returns.
 *
 * A key that stands several times is stored in input order.  Memory is bounded
 * by the input.  Errors: records is NULL (22004) or neither array nor object
 * (22023), unknown on_conflict (22023), what is missing (42P01, 42703, 55000),
 * and whatever does not lie in a record: privileges, locks, resources, cancel.
 */
Datum
sidecar_upsert_companies(PG_FUNCTION_ARGS)
{
	upsert_many(fcinfo, SIDECAR_COMPANY);
	return (Datum) 0;
}

/*
 * sidecar_upsert_people(records, on_conflict)
 *
 * The contract is that of sidecar_upsert_companies().
 */
Datum
sidecar_upsert_people(PG_FUNCTION_ARGS)
{
	upsert_many(fcinfo, SIDECAR_PEOPLE);
	return (Datum) 0;
}

/*
 * The functions that take an array of records.
 */
static void
upsert_many(FunctionCallInfo fcinfo, int entity)
{
	static const Oid types[] = {JSONBOID, TEXTOID};
	static const Oid columns[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	ReturnSetInfo *rsinfo = sidecar_begin_rows(fcinfo, lengthof(types), types, lengthof(columns), columns);
	SidecarRule rule = sidecar_rule(PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	Jsonb	   *input;
	bool		many;
	int			nrecords;
	Record	   *records;
	JsonbIterator *it;
	JsonbValue	value;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("records must not be null")));
	input = PG_GETARG_JSONB_P(0);
	many = JB_ROOT_IS_ARRAY(input) && !JB_ROOT_IS_SCALAR(input);
	if (!many && !JB_ROOT_IS_OBJECT(input))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("records must be a JSON array of objects, or one object")));

	nrecords = many ? (int) JB_ROOT_COUNT(input) : 1;
	records = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Record) * Max(nrecords, 1));
	if (many)
	{
		it = JsonbIteratorInit(&input->root);
		(void) JsonbIteratorNext(&it, &value, true);	/* the array itself */
	}
	for (int i = 0; i < nrecords; i++)
	{
		Record	   *record = &records[i];

		memset(record, 0, sizeof(Record));
		record->position = i;
		record->rule = rule;
		record->time = GetCurrentTransactionStartTimestamp();
		if (many)
			(void) JsonbIteratorNext(&it, &record->json, true);
		else
			JsonbToJsonbValue(input, &record->json);
	}

	sidecar_store_records(entity, records, nrecords);
	sidecar_park(entity, records, nrecords);
	for (int i = 0; i < nrecords; i++)
	{
		Datum		values[4];
		bool		nulls[4] = {false};

		values[0] = Int64GetDatum(i + 1);
		nulls[1] = records[i].key == NULL;
		values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(records[i].key);
		values[2] = CStringGetTextDatum(records[i].outcome);
		nulls[3] = records[i].error == NULL;
		values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(records[i].error);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		for (int c = 1; c < 4; c++)
		{
			if (!nulls[c])
				pfree(DatumGetPointer(values[c]));
		}
	}
}

/*
 * Stores the records, and tells in each what became of it.
 */
void
sidecar_store_records(int entity, Record *records, int nrecords)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	Record	  **order = MemoryContextAllocHuge(CurrentMemoryContext,
											   sizeof(Record *) * Max(nrecords, 1));

	batch->entity = entity;
	batch->context = CurrentMemoryContext;

	/* open to the end: what user code runs on the way cannot alter it */
	batch->table = sidecar_open(&sidecar_entities[entity], RowExclusiveLock);
	sidecar_require_master(batch->table);
	LockRelationOid(batch->table->binding->master, AccessShareLock);
	sidecar_describe_batch(batch);
	for (int i = 0; i < nrecords; i++)
	{
		records[i].key = record_key(&records[i].json, sidecar_entities[entity].key);
		order[i] = &records[i];
	}
	qsort(order, nrecords, sizeof(Record *), compare_records);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	batch->spi_context = CurrentMemoryContext;
	batch->chunk_context = AllocSetContextCreate(CurrentMemoryContext, "sidecar chunk",
												 ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < nrecords; i += SIDECAR_CHUNK)
	{
		MemoryContext old = MemoryContextSwitchTo(batch->chunk_context);
		int			n = Min(SIDECAR_CHUNK, nrecords - i);

		sidecar_convert_records(batch, order + i, n);
		store_chunk(batch, order + i, n);
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch->chunk_context);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	sidecar_close(batch->table);
	pfree(order);
}

/*
 * Key order, byte by byte; the same key in input order.
 */
static int
compare_records(const void *a, const void *b)
{
	const Record *left = *(Record *const *) a;
	const Record *right = *(Record *const *) b;
	int			order;

	if (left->key == NULL || right->key == NULL)
		order = (left->key != NULL) - (right->key != NULL);
	else
		order = strcmp(left->key, right->key);
	if (order == 0)
		order = left->position < right->position ? -1 : 1;
	return order;
}

/*
 * The record's key as text, or NULL if there is none that could be one.
 */
static char *
record_key(JsonbValue *json, const char *key)
{
	JsonbValue	value;

	if (json->type != jbvBinary || !JsonContainerIsObject(json->val.binary.data) ||
		getKeyJsonValueFromContainer(json->val.binary.data, key, strlen(key), &value) == NULL)
		return NULL;
	switch (value.type)
	{
		case jbvString:
			return pnstrdup(value.val.string.val, value.val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value.val.numeric)));
		default:
			return NULL;
	}
}

/*
 * Stores converted records.  A statement can meet a key but once, so the
 * records are stored in rounds, the second of a key in the second round; and
 * it has one rule and one set of columns that take their defaults.
 *
 * Rows are locked in key order all the same: those that a later round will
 * meet again are locked by the first.
 */
static void
store_chunk(Batch *batch, Record **records, int nrecords)
{
	Record	  **round = palloc(sizeof(Record *) * nrecords);
	Record	   *last = NULL;
	int			nround = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (records[i]->outcome != NULL)
			continue;
		if (last != NULL && strcmp(last->key, records[i]->key) == 0)
			last->next = records[i];
		else
			round[nround++] = records[i];
		last = records[i];
	}
	while (nround > 0)
	{
		int			start = 0;
		int			nnext = 0;

		for (int i = 1; i <= nround; i++)
		{
			if (i < nround && round[i]->rule == round[start]->rule &&
				(batch->defaulted == NULL ||
				 bms_equal(bms_intersect(round[i]->given, batch->defaulted),
						   bms_intersect(round[start]->given, batch->defaulted))))
				continue;
			store_run(batch, round + start, i - start);
			start = i;
		}
		for (int i = 0; i < nround; i++)
		{
			Record	   *next = round[i]->next;

			/* one whose turn came early */
			while (next != NULL && next->outcome != NULL)
				next = next->next;
			if (next != NULL)
				round[nnext++] = next;
		}
		nround = nnext;
	}
}

/*
 * Stores records that one statement can store.  As long as looking them up has
 * found nothing, they are written without; if that fails they are looked up
 * after all, so that a missing master does not cost a failed write each.
 */
static void
store_run(Batch *batch, Record **records, int nrecords)
{
	Record	  **left = palloc(sizeof(Record *) * nrecords);
	int			nleft = 0;

	if (nrecords > 1 && batch->write_first && write_together(batch, records, nrecords))
	{
		for (int i = 0; i < nrecords; i++)
		{
			if (strcmp(records[i]->outcome, "unchanged") == 0)
				batch->write_first = false;
		}
		return;
	}
	batch->write_first = look_up(batch, records, nrecords, false) == 0;
	for (int i = 0; i < nrecords; i++)
	{
		if (records[i]->outcome == NULL)
			left[nleft++] = records[i];
	}
	if (nleft > 0)
		write_records(batch, left, nleft);
}

/*
 * The columns that any of the records gives, and the key and the time; returns
 * how many there are.
 */
static int
run_columns(Batch *batch, Record **records, int nrecords, SidecarColumn **columns)
{
	Bitmapset  *given = bms_make_singleton(batch->time);
	int			n = 0;
	int			c = -1;

	for (int i = 0; i < nrecords; i++)
		given = bms_add_members(given, records[i]->given);
	while ((c = bms_next_member(given, c)) >= 0)
		columns[n++] = batch->columns[c];
	return n;
}

/*
 * Finds the records that the stored row says already, and those that have no
 * master, by one query for all; returns how many.
 *
 * What a row says already is not written, nor locked: not a byte of WAL.  But
 * one is left to be written, and thereby locked, if its key comes again.
 * "locked" is true when the statement has been run, and has left the records
 * alone.
 */
static int
look_up(Batch *batch, Record **records, int nrecords, bool locked)
{
	const SidecarBinding *binding = batch->table->binding;
	char	   *sidecar_sql = sidecar_relation_sql(binding->sidecar);
	char	   *master_sql = sidecar_relation_sql(binding->master);
	const char *master_key_sql = quote_identifier(get_attname(binding->master, binding->master_key, false));
	SidecarColumn **columns = palloc(sizeof(SidecarColumn *) * batch->ncolumns);
	int			ncolumns = run_columns(batch, records, nrecords, columns);
	char	  **values = palloc(sizeof(char *) * ncolumns);
	const char *key = columns[0]->name_sql;
	Tuplestorestate *chunk = make_chunk(batch, records, nrecords);
	StringInfoData sql;
	int			found = 0;

	for (int c = 0; c < ncolumns; c++)
	{
		values[c] = psprintf("b.%s", columns[c]->name_sql);

		/* now() is news, unless the rule has kept it out */
		if (columns[c] == batch->columns[batch->time] &&
			(locked || records[0]->rule == SIDECAR_FILL))
			values[c] = psprintf("CASE WHEN b.\"" CHUNK_TIME_GIVEN "\" THEN %s END", values[c]);
	}

	/* OFFSET 0 makes each a look-up by the key's index, record by record */
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT b.\"" SIDECAR_CHUNK_POSITION "\", s.%s IS NULL FROM " SIDECAR_CHUNK_NAME " b "
					 "LEFT JOIN LATERAL (SELECT * FROM %s s WHERE s.%s OPERATOR(pg_catalog.=) b.%s OFFSET 0) s ON true ",
					 key, sidecar_sql, key, key);
	if (batch->look_for_masters)
		appendStringInfo(&sql, "LEFT JOIN LATERAL (SELECT m.%s FROM %s m WHERE s.%s IS NULL "
						 "AND m.%s OPERATOR(pg_catalog.=) b.%s OFFSET 0) m ON true ",
						 master_key_sql, master_sql, key, master_key_sql, key);
	appendStringInfo(&sql, "WHERE CASE WHEN s.%s IS NOT NULL THEN %s ELSE ", key,
					 sidecar_same_sql(columns, ncolumns, values));
	if (batch->look_for_masters)
		appendStringInfo(&sql, "m.%s IS NULL END", master_key_sql);
	else
		appendStringInfoString(&sql, "false END");
	query_chunk(batch, chunk, nrecords, sql.data, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Record	   *record = records[DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull))];

		if (DatumGetBool(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull)))
		{
			MemoryContext old = MemoryContextSwitchTo(batch->context);

			for (; record != NULL; record = record->next)
			{
				record->outcome = "rejected";
				record->sqlstate = ERRCODE_FOREIGN_KEY_VIOLATION;
				record->error = psprintf("no such master: key \"%s\" is not in %s", record->key, master_sql);
			}
			MemoryContextSwitchTo(old);
			found++;
		}
		else if (locked || record->next == NULL)
		{
			record->outcome = "unchanged";
			found++;
		}
	}
	SPI_freetuptable(SPI_tuptable);
	tuplestore_end(chunk);
	return found;
}

/*
 * Writes the records: all by one statement, or else each half.
 */
static void
write_records(Batch *batch, Record **records, int nrecords)
{
	int			half = nrecords / 2;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (write_together(batch, records, nrecords))
	{
		/* a row that was not locked must have its next record now */
		if (nrecords == 1 && records[0]->error != NULL && records[0]->next != NULL)
			store_run(batch, &records[0]->next, 1);
		return;
	}
	write_records(batch, records, half);
	write_records(batch, records + half, nrecords - half);
}

/*
 * Writes the records by one statement in a sub-transaction.  Returns false if
 * it failed over one of several; a single one that fails is rejected.
 */
static bool
write_together(Batch *batch, Record **records, int nrecords)
{
	SidecarColumn **columns = palloc(sizeof(SidecarColumn *) * batch->ncolumns);
	int			ncolumns = run_columns(batch, records, nrecords, columns);
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	SidecarRule rule = records[0]->rule;
	char	   *source = sidecar_chunk_sql(columns, ncolumns);
	char	   *insert = sidecar_returns_xmax(batch->table) ? NULL :
	sidecar_write_sql(batch->table, SIDECAR_KEEP, columns, ncolumns, source);
	char	   *write = sidecar_write_sql(batch->table, rule, columns, ncolumns, source);
	volatile bool written = true;
	Record	  **left = palloc(sizeof(Record *) * nrecords);
	int			nleft;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		nleft = nrecords;
		memcpy(left, records, sizeof(Record *) * nrecords);
		if (insert != NULL)
			nleft = write_chunk(batch, left, nleft, insert);
		if (nleft > 0)
			(void) write_chunk(batch, left, nleft, write);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *edata = sidecar_roll_back(context, owner);

		(void) SPI_unregister_relation(SIDECAR_CHUNK_NAME);
		for (int i = 0; i < nrecords; i++)
			records[i]->outcome = NULL;
		if (nrecords == 1)
			sidecar_reject(batch, records[0], edata, NULL);
		else
			written = false;
	}
	PG_END_TRY();
	if (!written)
		return false;

	/*
	 * What was not written was kept by the rule, or is what another session
	 * has just stored.  The statement has locked those rows.
	 */
	nleft = 0;
	for (int i = 0; i < nrecords; i++)
	{
		if (records[i]->outcome == NULL)
			left[nleft++] = records[i];
	}
	if (nleft > 0 && rule != SIDECAR_OVERWRITE)
		look_up(batch, left, nleft, true);
	for (int i = 0; i < nleft; i++)
	{
		if (left[i]->outcome == NULL)
			left[i]->outcome = rule == SIDECAR_OVERWRITE ? "unchanged" : "skipped";
	}
	return true;
}

/*
 * Runs a statement that writes records, notes which it has inserted or updated
 * and returns how many are left, which it moves to the front.
 */
static int
write_chunk(Batch *batch, Record **records, int nrecords, const char *sql)
{
	Tuplestorestate *chunk = make_chunk(batch, records, nrecords);
	int			i = 0;
	int			nleft = 0;

	query_chunk(batch, chunk, nrecords, sql, SPI_OK_INSERT_RETURNING);

	/* rows come back in the order in which they went in */
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *key = SPI_getvalue(tuple, desc, 2);
		bool		isnull;

		while (i < nrecords && strcmp(records[i]->key, key) != 0)
			records[nleft++] = records[i++];
		if (i == nrecords)
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("a trigger has changed key \"%s\" of a sidecar row", key)));
		records[i++]->outcome = DatumGetBool(SPI_getbinval(tuple, desc, 1, &isnull)) ?
			"inserted" : "updated";
		pfree(key);
	}
	while (i < nrecords)
		records[nleft++] = records[i++];
	SPI_freetuptable(SPI_tuptable);
	tuplestore_end(chunk);
	return nleft;
}

/*
 * The records as rows of batch->desc.
 */
static Tuplestorestate *
make_chunk(Batch *batch, Record **records, int nrecords)
{
	Tuplestorestate *chunk = tuplestore_begin_heap(true, false, work_mem);

	for (int i = 0; i < nrecords; i++)
	{
		records[i]->values[batch->ncolumns] = Int64GetDatum(i);
		records[i]->nulls[batch->ncolumns] = false;
		tuplestore_putvalues(chunk, batch->desc, records[i]->values, records[i]->nulls);
	}
	return chunk;
}

/*
 * Runs a query over the chunk.  It is planned each time, for the tables as
 * they have become meanwhile; a thousand records are worth that.  If it fails,
 * the caller who survives that unregisters the chunk, before its memory goes.
 */
static void
query_chunk(Batch *batch, Tuplestorestate *chunk, int nrecords,
			const char *sql, int expected)
{
	MemoryContext old;
	int			ret;

	/* SPI keeps the list of such relations in whatever context is current */
	old = MemoryContextSwitchTo(batch->spi_context);
	sidecar_register_chunk(chunk, batch->desc, nrecords);
	MemoryContextSwitchTo(old);
	ret = SPI_execute(sql, false, 0);
	if (ret != expected)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(ret));
	(void) SPI_unregister_relation(SIDECAR_CHUNK_NAME);
}

/*
 * In a PG_CATCH: rolls the sub-transaction back, to the memory context and the
 * resource owner from before it, and returns the error if it lies in a record;
 * raises it again if not.
 */
ErrorData  *
sidecar_roll_back(MemoryContext context, ResourceOwner owner)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(context);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (!is_about_record(edata->sqlerrcode))
		ReThrowError(edata);
	return edata;
}

/*
 * True of errors that lie in the record: another one might be stored.  False
 * of privileges, locks, resources, cancel, and of what is missing.
 */
static bool
is_about_record(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case MAKE_SQLSTATE('2', '2', '0', '0', '0'):	/* data exception */
		case MAKE_SQLSTATE('2', '3', '0', '0', '0'):	/* integrity constraint */
		case MAKE_SQLSTATE('4', '4', '0', '0', '0'):	/* WITH CHECK OPTION */
		case MAKE_SQLSTATE('5', '4', '0', '0', '0'):	/* too large for an
														 * index */
		case MAKE_SQLSTATE('P', '0', '0', '0', '0'):	/* raised by a trigger */
			return true;
		default:
			return false;
	}
}

/*
 * Marks the record as rejected for the error, which lies in the field if that
 * is known.
 */
void
sidecar_reject(Batch *batch, Record *record, ErrorData *edata, const char *field)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	record->outcome = "rejected";
	record->sqlstate = edata->sqlerrcode;
	record->error = psprintf("%s%s%s%s%s", field ? field : "", field ? ": " : "", edata->message,
							 edata->detail ? ": " : "", edata->detail ? edata->detail : "");
	MemoryContextSwitchTo(old);
	FreeErrorData(edata);
}

/*-------------------------------------------------------------------------
 *
 * batch.c
 *		Many records: JSON in, a row per record out, bad ones parked.
 *
 * Records are put into key order, so that two batches never wait for each
 * other in a circle, and worked on in chunks.  A chunk is
 *
 *	1. converted to the types of the table's columns, record by record, by
 *	   jsonb_populate_record();
 *	2. looked up by one query, which finds the records that have no master and
 *	   those that the stored row says already; or only if 3 fails, as long as
 *	   that has found nothing;
 *	3. written by one statement in a sub-transaction; if that fails, its halves
 *	   are, until the bad records stand alone.
 *
 * What fails for a reason that lies in the record is rejected, and parked in
 * marketing.sidecar_rejects at the end.  Any other error ends the call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/bitmapset.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/timestamp.h"

#include "sidecar.h"

/* A column of the chunk that tells a given time from now() */
#define CHUNK_TIME_GIVEN "sidecar time given"

typedef struct Record
{
	/* what is given */
	int64		position;		/* in the input */
	JsonbValue	json;
	char	   *key;			/* NULL: none that is text or a number */
	SidecarRule rule;
	TimestampTz time;			/* what last_enriched_at is, unless given */
	int64		reject_id;		/* of a record that was parked */

	/* what becomes of it */
	const char *outcome;
	char	   *error;
	int			sqlstate;

	/* converted, while its chunk is worked on */
	struct Record *next;		/* the next of the same key */
	Datum	   *values;
	bool	   *nulls;
	bool		time_given;
	Bitmapset  *given;			/* which columns */
} Record;

typedef struct Batch
{
	int			entity;
	MemoryContext context;		/* of what lasts as long as the call */
	MemoryContext spi_context;	/* of our connection to SPI */
	MemoryContext chunk_context;
	bool		look_for_masters;	/* this role may read the masters */
	bool		write_first;	/* looking up found nothing, of late */
	int			ncolumns;
	SidecarColumn **columns;	/* the key first */
	int			time;			/* which of them is last_enriched_at */
	Bitmapset  *defaulted;		/* which of them have a default */
	Bitmapset  *refused;		/* which of them may not be given */
	TupleDesc	desc;			/* of a converted record: columns, position,
								 * time given */
	FmgrInfo	populate;		/* jsonb_populate_record() */
	Datum		nothing;		/* its first argument */
	bool		populating;		/* it is at work */
} Batch;

static void upsert_many(FunctionCallInfo fcinfo, int entity);
static void store_records(int entity, Record *records, int nrecords);
static int	compare_records(const void *a, const void *b);
static char *record_key(JsonbValue *json, const char *key);
static void describe_batch(Batch *batch);
static void prepare_populate(Batch *batch);
static void convert_records(Batch *batch, Record **records, int nrecords);
static void convert_record(Batch *batch, Record *record);
static void populate(Batch *batch, Record *record, JsonbValue *json);
static const char *blame_field(Batch *batch, Record *record);
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
static ErrorData *roll_back(MemoryContext context, ResourceOwner owner);
static bool is_about_record(int sqlstate);
static void reject(Batch *batch, Record *record, ErrorData *edata, const char *field);
static void require_rejects(void);
static void park(int entity, Record *records, int nrecords);
static void settle(Record *records, int nrecords);
static void execute(const char *sql, int nargs, Oid *types, Datum *values, int expected);
static Datum make_array(Datum *values, bool *nulls, int n, Oid type);

PG_FUNCTION_INFO_V1(sidecar_upsert_companies);
PG_FUNCTION_INFO_V1(sidecar_upsert_people);
PG_FUNCTION_INFO_V1(sidecar_retry_rejects);

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
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			type = INT8OID;
	Datum		max_rows = PG_GETARG_DATUM(0);
	Record	   *records[SIDECAR_ENTITIES];
	int			nrecords[SIDECAR_ENTITIES] = {0};
	int		   *entities;
	int			total;
	MemoryContext caller = CurrentMemoryContext;
	int			ret;

	InitMaterializedSRF(fcinfo, 0);
	require_rejects();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ret = SPI_execute_with_args(
								"WITH mine AS MATERIALIZED (SELECT * FROM " SIDECAR_SCHEMA "." SIDECAR_REJECTS " r "
								"ORDER BY r.reject_id LIMIT $1 FOR UPDATE SKIP LOCKED) "
								"SELECT m.reject_id, m.entity, m.unique_id, m.record, m.on_conflict, m.rejected_at FROM mine m "
								"WHERE NOT EXISTS (SELECT FROM " SIDECAR_SCHEMA "." SIDECAR_REJECTS " o "
								"WHERE o.entity OPERATOR(pg_catalog.=) m.entity AND o.unique_id OPERATOR(pg_catalog.=) m.unique_id "
								"AND o.reject_id OPERATOR(pg_catalog.<) m.reject_id "
								"AND NOT EXISTS (SELECT FROM mine x WHERE x.reject_id OPERATOR(pg_catalog.=) o.reject_id)) "
								"ORDER BY m.reject_id",
								1, &type, &max_rows, PG_ARGISNULL(0) ? "n" : " ", false, 0);
	if (ret != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(ret));

	total = (int) SPI_processed;
	MemoryContextSwitchTo(caller);
	entities = palloc(sizeof(int) * Max(total, 1));
	for (int e = 0; e < SIDECAR_ENTITIES; e++)
		records[e] = MemoryContextAllocHuge(caller, sizeof(Record) * Max(total, 1));
	for (int i = 0; i < total; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *label = SPI_getvalue(tuple, desc, 2);
		Record	   *record;
		bool		isnull;
		int			e = sidecar_entity_index(label);

		entities[i] = e;
		record = &records[e][nrecords[e]++];
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

	for (int e = 0; e < SIDECAR_ENTITIES; e++)
	{
		if (nrecords[e] > 0)
		{
			store_records(e, records[e], nrecords[e]);
			settle(records[e], nrecords[e]);
		}
		nrecords[e] = 0;
	}
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
 * The functions that take an array of records.
 */
static void
upsert_many(FunctionCallInfo fcinfo, int entity)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
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

	InitMaterializedSRF(fcinfo, 0);
	store_records(entity, records, nrecords);
	park(entity, records, nrecords);
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
static void
store_records(int entity, Record *records, int nrecords)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	Record	  **order = MemoryContextAllocHuge(CurrentMemoryContext,
											   sizeof(Record *) * Max(nrecords, 1));

	batch->entity = entity;
	batch->context = CurrentMemoryContext;
	describe_batch(batch);
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

		convert_records(batch, order + i, n);
		store_chunk(batch, order + i, n);
		MemoryContextSwitchTo(old);
		MemoryContextReset(batch->chunk_context);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
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
 * Learns the table's columns: those that a record may give, and the types that
 * its values are converted to: given_type, and without scale for the score,
 * so that sidecar_check_value() sees what was given.
 */
static void
describe_batch(Batch *batch)
{
	const SidecarEntity *entity = &sidecar_entities[batch->entity];
	SidecarBinding *binding = sidecar_bind(entity, RowExclusiveLock);
	Oid			master_schema;
	int			live = 0;

	sidecar_require_master(binding);

	/* the record's key, and the columns that the statements always use */
	sidecar_column(binding, entity->key);
	sidecar_column(binding, SIDECAR_COL_TIME);
	sidecar_column(binding, SIDECAR_COL_SCORE);
	sidecar_column(binding, SIDECAR_COL_SOURCE);

	batch->columns = palloc(sizeof(SidecarColumn *) * binding->columns->natts);
	for (int i = 0; i < binding->columns->natts; i++)
		live += !TupleDescAttr(binding->columns, i)->attisdropped;
	batch->desc = CreateTemplateTupleDesc(live + 2);
	for (int pass = 0; pass < 2; pass++)
	{
		for (int i = 0; i < binding->columns->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(binding->columns, i);
			const char *name = NameStr(att->attname);
			bool		is_key = strcmp(name, entity->key) == 0;
			int			n = batch->ncolumns;
			int32		typmod = att->atttypmod;

			/* the key first */
			if (att->attisdropped || is_key != (pass == 0))
				continue;
			batch->columns[n] = sidecar_describe_column(att);
			if (batch->columns[n]->given_type != att->atttypid || strcmp(name, SIDECAR_COL_SCORE) == 0)
				typmod = -1;
			TupleDescInitEntry(batch->desc, (AttrNumber) (n + 1), name,
							   batch->columns[n]->given_type, typmod, att->attndims);
			if (strcmp(name, SIDECAR_COL_TIME) == 0)
				batch->time = n;
			if (strcmp(name, SIDECAR_COL_CREATED) == 0 || strcmp(name, SIDECAR_COL_UPDATED) == 0 ||
				att->attgenerated != '\0' || att->attidentity != '\0')
				batch->refused = bms_add_member(batch->refused, n);
			else if (att->atthasdef)
				batch->defaulted = bms_add_member(batch->defaulted, n);
			batch->ncolumns++;
		}
	}
	TupleDescInitEntry(batch->desc, (AttrNumber) (batch->ncolumns + 1), SIDECAR_CHUNK_POSITION, INT8OID, -1, 0);
	TupleDescInitEntry(batch->desc, (AttrNumber) (batch->ncolumns + 2), CHUNK_TIME_GIVEN, BOOLOID, -1, 0);
	batch->desc = BlessTupleDesc(batch->desc);

	/* who may not read the masters learns of a missing one by the write */
	master_schema = get_rel_namespace(binding->master);
	batch->look_for_masters =
		sidecar_schema_aclcheck(master_schema, GetUserId(), ACL_USAGE) == ACLCHECK_OK &&
		pg_class_aclcheck(binding->master, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(binding->master, InvalidOid, true) != RLS_ENABLED;

	prepare_populate(batch);
}

/*
 * Sets up jsonb_populate_record() for rows of batch->desc.
 */
static void
prepare_populate(Batch *batch)
{
	int			natts = batch->desc->natts;
	Datum	   *values = palloc0(sizeof(Datum) * natts);
	bool	   *nulls = palloc(sizeof(bool) * natts);

	memset(nulls, true, sizeof(bool) * natts);
	batch->nothing = HeapTupleGetDatum(heap_form_tuple(batch->desc, values, nulls));
	fmgr_info(F_JSONB_POPULATE_RECORD, &batch->populate);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, RECORDOID,
											 list_make2(makeNullConst(RECORDOID, -1, InvalidOid),
														makeNullConst(JSONBOID, -1, InvalidOid)),
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &batch->populate);
}

/*
 * Converts the records; one that cannot be is rejected.  They share a
 * sub-transaction until one fails.
 */
static void
convert_records(Batch *batch, Record **records, int nrecords)
{
	volatile int i = 0;

	while (i < nrecords)
	{
		MemoryContext context = CurrentMemoryContext;
		ResourceOwner owner = CurrentResourceOwner;

		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			for (; i < nrecords; i++)
			{
				CHECK_FOR_INTERRUPTS();
				convert_record(batch, records[i]);
			}
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ErrorData  *edata = roll_back(context, owner);

			/* what the function has cached may be half-made */
			MemoryContextSwitchTo(batch->context);
			prepare_populate(batch);
			MemoryContextSwitchTo(context);
			reject(batch, records[i], edata, batch->populating ? blame_field(batch, records[i]) : NULL);
			batch->populating = false;
			i++;
		}
		PG_END_TRY();
	}
}

/*
 * Converts a record, or raises an error that says what is wrong with it.
 */
static void
convert_record(Batch *batch, Record *record)
{
	JsonbIterator *it;
	JsonbValue	value;

	if (record->json.type != jbvBinary || !JsonContainerIsObject(record->json.val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record is not a JSON object")));

	it = JsonbIteratorInit(record->json.val.binary.data);
	(void) JsonbIteratorNext(&it, &value, true);	/* the object itself */
	while (JsonbIteratorNext(&it, &value, true) == WJB_KEY)
	{
		int			c;

		for (c = 0; c < batch->ncolumns; c++)
		{
			const char *name = batch->columns[c]->name;

			if (strlen(name) == (size_t) value.val.string.len &&
				memcmp(name, value.val.string.val, value.val.string.len) == 0)
				break;
		}
		if (c == batch->ncolumns)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown key \"%s\"",
							pnstrdup(value.val.string.val, value.val.string.len))));
		if (bms_is_member(c, batch->refused))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key \"%s\" cannot be given: the table sets it", batch->columns[c]->name)));
		if (JsonbIteratorNext(&it, &value, true) == WJB_VALUE && value.type == jbvNull)
			continue;
		record->given = bms_add_member(record->given, c);
	}
	if (!bms_is_member(0, record->given))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", batch->columns[0]->name)));
	if (record->key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a string", batch->columns[0]->name)));

	batch->populating = true;
	populate(batch, record, &record->json);
	batch->populating = false;
	for (int c = 0; c < batch->ncolumns; c++)
	{
		if (!record->nulls[c])
			sidecar_check_value(batch->columns[c], record->values[c]);
	}
	record->time_given = !record->nulls[batch->time];
	if (!record->time_given)
	{
		record->values[batch->time] = TimestampTzGetDatum(record->time);
		record->nulls[batch->time] = false;
	}
	record->values[batch->ncolumns + 1] = BoolGetDatum(record->time_given);
	record->nulls[batch->ncolumns + 1] = false;
}

/*
 * Fills the record's values from an object, by PostgreSQL's own rules.
 */
static void
populate(Batch *batch, Record *record, JsonbValue *json)
{
	LOCAL_FCINFO(fcinfo, 2);
	HeapTupleHeader header;
	HeapTupleData tuple;

	InitFunctionCallInfoData(*fcinfo, &batch->populate, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = batch->nothing;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(JsonbValueToJsonb(json));
	fcinfo->args[1].isnull = false;
	header = DatumGetHeapTupleHeader(FunctionCallInvoke(fcinfo));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	record->values = palloc(sizeof(Datum) * batch->desc->natts);
	record->nulls = palloc(sizeof(bool) * batch->desc->natts);
	heap_deform_tuple(&tuple, batch->desc, record->values, record->nulls);
}

/*
 * The name of the first field that cannot be converted, or NULL.
 */
static const char *
blame_field(Batch *batch, Record *record)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	const char *volatile field = NULL;

	for (int c = 0; c < batch->ncolumns && field == NULL; c++)
	{
		JsonbParseState *state = NULL;
		JsonbValue	key;
		JsonbValue	value;

		key.type = jbvString;
		key.val.string.val = batch->columns[c]->name;
		key.val.string.len = (int) strlen(batch->columns[c]->name);
		if (getKeyJsonValueFromContainer(record->json.val.binary.data, key.val.string.val,
										 key.val.string.len, &value) == NULL)
			continue;
		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);

		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			populate(batch, record, pushJsonbValue(&state, WJB_END_OBJECT, NULL));
			ReleaseCurrentSubTransaction();
		}
		PG_CATCH();
		{
			FreeErrorData(roll_back(context, owner));
			field = batch->columns[c]->name;
			MemoryContextSwitchTo(batch->context);
			prepare_populate(batch);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	return field;
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
	SidecarBinding *binding = sidecar_bind(&sidecar_entities[batch->entity], RowExclusiveLock);
	char	   *master_sql = pstrdup(binding->master_sql);
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
					 key, binding->sidecar_sql, key, key);
	if (batch->look_for_masters)
		appendStringInfo(&sql, "LEFT JOIN LATERAL (SELECT m.%s FROM %s m WHERE s.%s IS NULL "
						 "AND m.%s OPERATOR(pg_catalog.=) b.%s OFFSET 0) m ON true ",
						 binding->master_key_sql, binding->master_sql, key, binding->master_key_sql, key);
	appendStringInfo(&sql, "WHERE CASE WHEN s.%s IS NOT NULL THEN %s ELSE ", key,
					 sidecar_same_sql(columns, ncolumns, values));
	if (batch->look_for_masters)
		appendStringInfo(&sql, "m.%s IS NULL END", binding->master_key_sql);
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
	SidecarBinding *binding = sidecar_bind(&sidecar_entities[batch->entity], RowExclusiveLock);
	SidecarColumn **columns = palloc(sizeof(SidecarColumn *) * batch->ncolumns);
	int			ncolumns = run_columns(batch, records, nrecords, columns);
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	SidecarRule rule = records[0]->rule;
	char	   *source = sidecar_chunk_sql(columns, ncolumns);
	char	   *insert = binding->returns_xmax ? NULL :
	sidecar_write_sql(binding, SIDECAR_KEEP, columns, ncolumns, source);
	char	   *write = sidecar_write_sql(binding, rule, columns, ncolumns, source);
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
		ErrorData  *edata = roll_back(context, owner);

		(void) SPI_unregister_relation(SIDECAR_CHUNK_NAME);
		for (int i = 0; i < nrecords; i++)
			records[i]->outcome = NULL;
		if (nrecords == 1)
			reject(batch, records[0], edata, NULL);
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
static ErrorData *
roll_back(MemoryContext context, ResourceOwner owner)
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
static void
reject(Batch *batch, Record *record, ErrorData *edata, const char *field)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	record->outcome = "rejected";
	record->sqlstate = edata->sqlerrcode;
	record->error = psprintf("%s%s%s%s%s", field ? field : "", field ? ": " : "", edata->message,
							 edata->detail ? ": " : "", edata->detail ? edata->detail : "");
	MemoryContextSwitchTo(old);
	FreeErrorData(edata);
}

/*
 * Raises 42P01 when there is no table to park records in.
 */
static void
require_rejects(void)
{
	Oid			schema = get_namespace_oid(SIDECAR_SCHEMA, true);

	if (!OidIsValid(schema) || !OidIsValid(get_relname_relid(SIDECAR_REJECTS, schema)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s.%s does not exist", SIDECAR_SCHEMA, SIDECAR_REJECTS),
				 errhint(SIDECAR_HINT_INSTALL)));
}

/*
 * Parks the records that were rejected, in input order.
 */
static void
park(int entity, Record *records, int nrecords)
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
			require_rejects();
			values[0] = CStringGetTextDatum(sidecar_entities[entity].label);
			for (int c = 0; c < 5; c++)
				values[c + 1] = make_array(columns[c], c == 0 ? nulls : NULL, n, c == 1 ? JSONBOID : TEXTOID);
			execute("INSERT INTO " SIDECAR_SCHEMA "." SIDECAR_REJECTS " (entity, unique_id, record, on_conflict, error, sqlstate) "
					"SELECT $1, u.unique_id, u.record, u.on_conflict, u.error, u.sqlstate "
					"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) u (unique_id, record, on_conflict, error, sqlstate)",
					6, types, values, SPI_OK_INSERT);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		if (i == nrecords)
			break;
	}
	MemoryContextDelete(context);
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

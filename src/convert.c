/*-------------------------------------------------------------------------
 *
 * convert.c
 *		JSON objects into values of the table's columns.
 *
 * PostgreSQL's own jsonb_populate_record() converts, so that its rules hold for
 * every type, also of columns that users have added.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "batch.h"

static void prepare_populate(Batch *batch);
static void convert_record(Batch *batch, Record *record);
static void populate(Batch *batch, Record *record, JsonbValue *json);
static const char *blame_field(Batch *batch, Record *record);

/*
 * Learns the table's columns: those that a record may give, and the types that
 * its values are converted to, so that sidecar_check_value() sees what was
 * given.
 */
void
sidecar_describe_batch(Batch *batch)
{
	const SidecarEntity *entity = &sidecar_entities[batch->entity];
	const SidecarBinding *binding = batch->table->binding;
	TupleDesc	columns = RelationGetDescr(batch->table->rel);
	Oid			master_schema;
	int			live = 0;

	/* the record's key, and the columns that the statements always use */
	sidecar_column(batch->table, entity->key);
	sidecar_column(batch->table, SIDECAR_COL_TIME);
	sidecar_column(batch->table, SIDECAR_COL_SCORE);
	sidecar_column(batch->table, SIDECAR_COL_SOURCE);

	batch->columns = palloc(sizeof(SidecarColumn *) * columns->natts);
	for (int i = 0; i < columns->natts; i++)
		live += !TupleDescAttr(columns, i)->attisdropped;
	batch->desc = CreateTemplateTupleDesc(live + 2);
	for (int pass = 0; pass < 2; pass++)
	{
		for (int i = 0; i < columns->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(columns, i);
			const char *name = NameStr(att->attname);
			bool		is_key = strcmp(name, entity->key) == 0;
			int			n = batch->ncolumns;

			/* the key first */
			if (att->attisdropped || is_key != (pass == 0))
				continue;
			batch->columns[n] = sidecar_describe_column(att);
			TupleDescInitEntry(batch->desc, (AttrNumber) (n + 1), name,
							   batch->columns[n]->given_type, batch->columns[n]->given_typmod, att->attndims);
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
 * Converts the records; one that cannot be is rejected.  They share a
 * sub-transaction until one fails.
 */
void
sidecar_convert_records(Batch *batch, Record **records, int nrecords)
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
			ErrorData  *edata = sidecar_roll_back(context, owner);

			/* what the function has cached may be half-made */
			MemoryContextSwitchTo(batch->context);
			prepare_populate(batch);
			MemoryContextSwitchTo(context);
			sidecar_reject(batch, records[i], edata, batch->populating ? blame_field(batch, records[i]) : NULL);
			batch->populating = false;
			i++;
		}
		PG_END_TRY();
	}
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
			FreeErrorData(sidecar_roll_back(context, owner));
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

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
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "batch.h"

static void prepare_populate(Converter *converter);
static void convert_record(Converter *converter, Record *record);
static void check_keys(const Converter *converter, Record *record);
static int	find_column(const Converter *converter, const JsonbValue *key);
static void populate(Converter *converter, Record *record, JsonbValue *json);
static const char *blame_field(Converter *converter, Record *record);
static bool can_populate(Converter *converter, Record *record, JsonbValue *json);

/*
 * Makes ready to convert records for the store's chunks.
 */
void
sidecar_begin_conversion(Converter *converter, const SidecarTable *table, const SidecarStore *store)
{
	converter->columns = &store->columns;
	converter->context = CurrentMemoryContext;
	converter->populate_context = AllocSetContextCreate(CurrentMemoryContext, "sidecar conversion",
														ALLOCSET_SMALL_SIZES);
	converter->desc = CreateTemplateTupleDesc(store->columns.n);
	for (int c = 0; c < store->columns.n; c++)
	{
		const char *name = store->columns.columns[c]->name;
		Form_pg_attribute att = sidecar_column(table, name);

		/* objects' keys are the columns' names */
		TupleDescInitEntry(converter->desc, (AttrNumber) (c + 1), name,
						   store->columns.columns[c]->given_type,
						   store->columns.columns[c]->given_typmod, 0);

		/* the table's business */
		if (strcmp(name, SIDECAR_COL_CREATED) == 0 || strcmp(name, SIDECAR_COL_UPDATED) == 0 ||
			att->attgenerated != '\0' || att->attidentity != '\0')
			converter->refused = bms_add_member(converter->refused, c);
	}
	converter->desc = BlessTupleDesc(converter->desc);
	prepare_populate(converter);
}

/*
 * Converts the records; one that cannot be is rejected.  They share a
 * sub-transaction until one fails.
 */
void
sidecar_convert_records(Converter *converter, Record **records, int nrecords)
{
	volatile int i = 0;

	/* no sub-transaction per record: those cost more than a conversion */
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
				/* a record may be as large as memory */
				CHECK_FOR_INTERRUPTS();
				convert_record(converter, records[i]);
			}
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ErrorData  *edata = sidecar_roll_back(context, owner);

			/* what the function has cached may be half-made */
			prepare_populate(converter);
			sidecar_reject(converter->context, records[i], edata,
						   converter->populating ? blame_field(converter, records[i]) : NULL);
			converter->populating = false;
			i++;
		}
		PG_END_TRY();
	}
}

/*
 * Sets up jsonb_populate_record() for rows of the chunk, in a context of its
 * own: every bad record makes it anew, and there may be a million of them.
 */
static void
prepare_populate(Converter *converter)
{
	MemoryContext old;
	int			natts = converter->desc->natts;
	Datum	   *values;
	bool	   *nulls;
	Node	   *call;

	MemoryContextReset(converter->populate_context);
	old = MemoryContextSwitchTo(converter->populate_context);
	values = palloc0(sizeof(Datum) * natts);
	nulls = palloc(sizeof(bool) * natts);
	/* a row of NULLs, which an object's fields take the place of */
	memset(nulls, true, sizeof(bool) * natts);
	/* typed by the descriptor, which the function remembers */
	converter->nothing = HeapTupleGetDatum(heap_form_tuple(converter->desc, values, nulls));
	fmgr_info(F_JSONB_POPULATE_RECORD, &converter->populate);

	/* it asks of which types its arguments are */
	call = (Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, RECORDOID,
								 list_make2(makeNullConst(RECORDOID, -1, InvalidOid),
											makeNullConst(JSONBOID, -1, InvalidOid)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	fmgr_info_set_expr(call, &converter->populate);
	MemoryContextSwitchTo(old);
}

/*
 * Converts a record, or raises an error that says what is wrong with it.
 */
static void
convert_record(Converter *converter, Record *record)
{
	SidecarRow *row = &record->row;

	check_keys(converter, record);

	/* by the function itself an error of its own can be told from others */
	converter->populating = true;
	populate(converter, record, &record->json);
	converter->populating = false;
	/* what the table would say, but naming the column */
	sidecar_check_row(converter->columns, row);
	sidecar_set_time(converter->columns, row, record->time);
}

/*
 * Notes which columns the record gives.  Errors: it is no object, a key is not
 * that of a column that may be given (22023), the table's key is NULL (22004).
 */
static void
check_keys(const Converter *converter, Record *record)
{
	const char *key_name = converter->columns->columns[0]->name;
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
		int			c = find_column(converter, &value);

		if (c < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown key \"%s\"",
							pnstrdup(value.val.string.val, value.val.string.len))));
		if (bms_is_member(c, converter->refused))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key \"%s\" cannot be given: the table sets it",
							converter->columns->columns[c]->name)));

		/* null is not given: the column takes its default */
		if (JsonbIteratorNext(&it, &value, true) == WJB_VALUE && value.type == jbvNull)
			continue;
		record->row.given = bms_add_member(record->row.given, c);
	}
	if (!bms_is_member(0, record->row.given))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", key_name)));
	/* an object, say: neither text nor a number */
	if (record->key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a string", key_name)));
}

/*
 * The number of the column of that name, or -1.
 */
static int
find_column(const Converter *converter, const JsonbValue *key)
{
	for (int c = 0; c < converter->columns->n; c++)
	{
		const char *name = converter->columns->columns[c]->name;

		if (strlen(name) == (size_t) key->val.string.len &&
			memcmp(name, key->val.string.val, key->val.string.len) == 0)
			return c;
	}
	return -1;
}

/*
 * Fills the record's values from an object, by PostgreSQL's own rules.
 */
static void
populate(Converter *converter, Record *record, JsonbValue *json)
{
	LOCAL_FCINFO(fcinfo, 2);
	HeapTupleHeader header;
	HeapTupleData tuple;

	InitFunctionCallInfoData(*fcinfo, &converter->populate, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = converter->nothing;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(JsonbValueToJsonb(json));
	fcinfo->args[1].isnull = false;
	/* a composite datum: taken apart into columns */
	header = DatumGetHeapTupleHeader(FunctionCallInvoke(fcinfo));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	record->row.values = palloc(sizeof(Datum) * converter->desc->natts);
	record->row.nulls = palloc(sizeof(bool) * converter->desc->natts);
	heap_deform_tuple(&tuple, converter->desc, record->row.values, record->row.nulls);
}

/*
 * The name of the first field that cannot be converted, or NULL.
 */
static const char *
blame_field(Converter *converter, Record *record)
{
	for (int c = 0; c < converter->columns->n; c++)
	{
		const char *name = converter->columns->columns[c]->name;
		JsonbParseState *state = NULL;
		JsonbValue	key;
		JsonbValue	value;

		key.type = jbvString;
		key.val.string.val = unconstify(char *, name);
		key.val.string.len = (int) strlen(name);
		/* a field that the record has not got cannot be to blame */
		if (getKeyJsonValueFromContainer(record->json.val.binary.data, key.val.string.val,
										 key.val.string.len, &value) == NULL)
			continue;

		/* an object of this field alone */
		(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
		if (!can_populate(converter, record, pushJsonbValue(&state, WJB_END_OBJECT, NULL)))
			return name;
	}
	return NULL;
}

/*
 * True if the object can be converted.
 */
static bool
can_populate(Converter *converter, Record *record, JsonbValue *json)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool can = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		populate(converter, record, json);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		FreeErrorData(sidecar_roll_back(context, owner));
		can = false;
		prepare_populate(converter);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return can;
}

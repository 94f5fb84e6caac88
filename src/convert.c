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
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "batch.h"

/* The key whose value names columns that become NULL */
#define CLEAR "$clear"

/* What populate() is given */
typedef struct Population
{
	Converter  *converter;
	Record	   *record;
	const Jsonb *fields;
} Population;

static void prepare_populate(Converter *converter);
static void convert_record(void *arg, Record *record);
static const char *blame(void *arg, Record *record);
static Jsonb *read_fields(Converter *converter, Record *record);
static void refuse_column(const Converter *converter, int c);
static bool is_clear(const JsonbValue *key);
static void put_unknown(JsonbParseState **rest, JsonbValue *key, JsonbValue *value);
static void put_payload(Converter *converter, Record *record, JsonbValue **fields, JsonbValue *rest);
static void check_domains(Converter *converter, const SidecarRow *row);
static void clear_columns(Converter *converter, Record *record, const JsonbValue *names);
static void populate(Converter *converter, Record *record, const Jsonb *fields);
static Jsonb *make_object(const Converter *converter, JsonbValue **fields);
static const char *blame_field(Converter *converter, Record *record);
static bool can_populate(Converter *converter, Record *record, const Jsonb *fields);
static void populate_record(void *arg);

/*
 * Makes ready to convert records for the store's chunks.
 */
void
sidecar_begin_conversion(Converter *converter, const SidecarTable *table, const SidecarStore *store)
{
	converter->columns = &store->columns;
	converter->session_zone = session_timezone;
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
		if (strcmp(name, SIDECAR_COL_CREATED) == 0 || strcmp(name, SIDECAR_COL_UPDATED) == 0)
			converter->passed_over = bms_add_member(converter->passed_over, c);
		else if (att->attgenerated != '\0' || att->attidentity != '\0')
			converter->refused = bms_add_member(converter->refused, c);
		if (get_typtype(att->atttypid) == TYPTYPE_DOMAIN)
			converter->domains = bms_add_member(converter->domains, c);
	}
	converter->desc = BlessTupleDesc(converter->desc);
	prepare_populate(converter);
	converter->given = palloc(sizeof(JsonbValue) * (store->columns.n + 1));
	converter->fields = palloc(sizeof(JsonbValue *) * store->columns.n);
}

/*
 * Converts the records; one that cannot be is rejected.
 */
void
sidecar_convert_records(Converter *converter, Record **records, int nrecords)
{
	sidecar_try_each(converter->context, records, nrecords, convert_record, blame, converter);
}

/*
 * After a record could not be converted: the field that is to blame, if one is.
 */
static const char *
blame(void *arg, Record *record)
{
	Converter  *converter = arg;
	const char *field = converter->reading;

	/* what the function has cached may be half-made */
	prepare_populate(converter);
	if (converter->populating != NULL)
		field = blame_field(converter, record);
	converter->populating = NULL;
	converter->reading = NULL;
	return field;
}

/*
 * Sets up jsonb_populate_record() for rows of the chunk, and what looks at
 * domains, in a context of their own: every bad record makes it anew, and there may be a million of them.
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
	converter->domain_checks = palloc0(sizeof(void *) * natts);
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
convert_record(void *arg, Record *record)
{
	Converter  *converter = arg;
	SidecarRow *row = &record->row;

	/* by the function itself an error of its own can be told from others */
	converter->populating = read_fields(converter, record);
	populate(converter, record, converter->populating);
	/* a copy of the record, of which a chunk has a thousand */
	pfree(converter->populating);
	converter->populating = NULL;
	/* what the table would say, but naming the column */
	sidecar_check_row(converter->columns, row);
	check_domains(converter, row);
	sidecar_set_time(converter->columns, row, record->time);
}

/*
 * Raises what a column's domain would say of what is given, NULL where it is
 * cleared: when the row is written, nobody tells which column it was.
 */
static void
check_domains(Converter *converter, const SidecarRow *row)
{
	int			c = -1;

	while ((c = bms_next_member(converter->domains, c)) >= 0)
	{
		const SidecarColumn *column = converter->columns->columns[c];

		if (!bms_is_member(c, row->given))
			continue;
		converter->reading = column->name;
		domain_check(row->nulls[c] ? (Datum) 0 : sidecar_stored_value(column, row->values[c]), row->nulls[c],
					 column->type, &converter->domain_checks[c], converter->populate_context);
		converter->reading = NULL;
	}
}

/*
 * Reads the record's fields, and notes which columns they give; returns an
 * object of them as the columns' types read them.  Errors: it is no object, keys
 * are not those of columns that may be given (22023, naming all), the table's
 * key is NULL (22004).
 */
static Jsonb *
read_fields(Converter *converter, Record *record)
{
	const SidecarColumns *columns = converter->columns;
	JsonbValue **fields = converter->fields;
	StringInfo	unknown = NULL; /* the names of such keys */
	JsonbParseState *rest = NULL;	/* an object of them */
	bool		same = true;	/* nothing was read as something else */
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	cleared = {.type = jbvNull};

	if (record->json.type != jbvBinary || !JsonContainerIsObject(record->json.val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record is not a JSON object")));

	memset(fields, 0, sizeof(JsonbValue *) * columns->n);
	it = JsonbIteratorInit(record->json.val.binary.data);
	(void) JsonbIteratorNext(&it, &key, true);	/* the object itself */
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		int			c = sidecar_find_column(columns, key.val.string.val, key.val.string.len);
		JsonbValue *value = &converter->given[c < 0 ? columns->n : c];
		const JsonbValue *read;

		(void) JsonbIteratorNext(&it, value, true);
		if (c < 0)
		{
			same = false;
			if (is_clear(&key))
				cleared = *value;
			else if (record->unknown_keys == SIDECAR_UNKNOWN_PAYLOAD)
				put_unknown(&rest, &key, value);
			else if (record->unknown_keys == SIDECAR_UNKNOWN_REJECT)
			{
				if (unknown == NULL)
					unknown = makeStringInfo();
				appendStringInfo(unknown, "%s\"%.*s\"", unknown->len > 0 ? ", " : "",
								 key.val.string.len, key.val.string.val);
			}
			continue;
		}
		/* exported rows can be fed back: the table sets these itself */
		if (bms_is_member(c, converter->passed_over))
		{
			same = false;
			continue;
		}
		converter->reading = columns->columns[c]->name;
		read = sidecar_read_field(columns->columns[c], value, record->from_text,
								  record->session_zone ? record->session_zone : converter->session_zone);
		converter->reading = NULL;
		same &= read == value || value->type == jbvNull;
		/* a value not given: the column keeps its own, or takes its default */
		if (read == NULL)
			continue;
		refuse_column(converter, c);
		record->row.given = bms_add_member(record->row.given, c);
		fields[c] = unconstify(JsonbValue *, read);
	}
	if (unknown != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key %s", unknown->data)));
	if (rest != NULL)
		put_payload(converter, record, fields, pushJsonbValue(&rest, WJB_END_OBJECT, NULL));
	clear_columns(converter, record, &cleared);
	if (!bms_is_member(0, record->row.given))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", columns->columns[0]->name)));
	/* an object, say: neither text nor a number */
	if (record->key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a string", columns->columns[0]->name)));
	return same ? JsonbValueToJsonb(&record->json) : make_object(converter, fields);
}

/*
 * Raises 22023 if the column may not be given.
 */
static void
refuse_column(const Converter *converter, int c)
{
	if (bms_is_member(c, converter->refused))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" cannot be given: the table sets it",
						converter->columns->columns[c]->name)));
}

static bool
is_clear(const JsonbValue *key)
{
	return key->val.string.len == strlen(CLEAR) && memcmp(key->val.string.val, CLEAR, strlen(CLEAR)) == 0;
}

/*
 * Adds a field to the object of those that no column takes.
 */
static void
put_unknown(JsonbParseState **rest, JsonbValue *key, JsonbValue *value)
{
	/* what says nothing is no more given here than in a column */
	if (!sidecar_says_something(value))
		return;
	if (*rest == NULL)
		(void) pushJsonbValue(rest, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(rest, WJB_KEY, key);
	(void) pushJsonbValue(rest, WJB_VALUE, value);
}

/*
 * Puts that object into the payload, beside what is given there.  Errors: there
 * is no column for it, or something else than an object is given, or it has one
 * of these keys (22023).
 */
static void
put_payload(Converter *converter, Record *record, JsonbValue **fields, JsonbValue *rest)
{
	int			c = sidecar_find_column(converter->columns, SIDECAR_COL_PAYLOAD, strlen(SIDECAR_COL_PAYLOAD));
	JsonbValue *given;
	JsonbValue *whole;

	if (c < 0 || converter->columns->columns[c]->form != SIDECAR_DOCUMENT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no column \"%s\" for unknown keys", SIDECAR_COL_PAYLOAD)));
	refuse_column(converter, c);
	given = fields[c];
	if (given != NULL &&
		(given->type != jbvBinary || !JsonContainerIsObject(given->val.binary.data)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not an object, which could take the unknown keys", SIDECAR_COL_PAYLOAD)));
	whole = palloc(sizeof(JsonbValue));

	/*
	 * of a key that both have, the payload's own is what somebody has put
	 * there
	 */
	JsonbToJsonbValue(given == NULL ? JsonbValueToJsonb(rest) :
					  DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
														 JsonbPGetDatum(JsonbValueToJsonb(rest)),
														 JsonbPGetDatum(JsonbValueToJsonb(given)))),
					  whole);
	record->row.given = bms_add_member(record->row.given, c);
	fields[c] = whole;
}

/*
 * Notes which columns the record clears.  Errors: they are not told by a list
 * of names, or those of sidecar_clear_column() (22023).
 */
static void
clear_columns(Converter *converter, Record *record, const JsonbValue *names)
{
	JsonbIterator *it;
	JsonbValue	name;

	if (names->type == jbvNull)
		return;
	if (names->type != jbvBinary || !JsonContainerIsArray(names->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"" CLEAR "\" must be an array of column names")));
	it = JsonbIteratorInit(names->val.binary.data);
	(void) JsonbIteratorNext(&it, &name, true); /* the array itself */
	while (JsonbIteratorNext(&it, &name, true) == WJB_ELEM)
	{
		int			c;

		if (name.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"" CLEAR "\" must be an array of column names")));
		c = sidecar_clear_column(converter->columns, &record->row, name.val.string.val, name.val.string.len);
		if (bms_is_member(c, converter->passed_over) || bms_is_member(c, converter->refused))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" cannot be cleared", converter->columns->columns[c]->name)));
	}
}

/*
 * An object of the fields that are not NULL.
 */
static Jsonb *
make_object(const Converter *converter, JsonbValue **fields)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int c = 0; c < converter->columns->n; c++)
	{
		JsonbValue	key;

		if (fields[c] == NULL)
			continue;
		key.type = jbvString;
		key.val.string.val = converter->columns->columns[c]->name;
		key.val.string.len = converter->columns->columns[c]->name_length;
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, fields[c]);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Fills the record's values from an object, by PostgreSQL's own rules.
 */
static void
populate(Converter *converter, Record *record, const Jsonb *fields)
{
	LOCAL_FCINFO(fcinfo, 2);
	HeapTupleHeader header;
	HeapTupleData tuple;

	InitFunctionCallInfoData(*fcinfo, &converter->populate, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = converter->nothing;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = JsonbPGetDatum(fields);
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
		JsonbValue **fields = palloc0(sizeof(JsonbValue *) * converter->columns->n);
		const SidecarColumn *column = converter->columns->columns[c];

		/* a field that the record has not got cannot be to blame */
		fields[c] = getKeyJsonValueFromContainer(&converter->populating->root,
												 column->name, column->name_length, NULL);
		if (fields[c] != NULL && !can_populate(converter, record, make_object(converter, fields)))
			return column->name;
	}
	return NULL;
}

/*
 * True if the object can be converted.
 */
static bool
can_populate(Converter *converter, Record *record, const Jsonb *fields)
{
	Population	population = {converter, record, fields};

	if (sidecar_try(populate_record, &population, READING_VALUES, NULL))
		return true;
	prepare_populate(converter);
	return false;
}

static void
populate_record(void *arg)
{
	const Population *population = arg;

	populate(population->converter, population->record, population->fields);
}

/*-------------------------------------------------------------------------
 *
 * reject.c
 *		Records that cannot be stored: told from other trouble, and parked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"

#include "batch.h"

/* Of what is parked at once, and of a text: less than a jsonb and an array take */
#define MAX_PARKED_BYTES (64 * 1024 * 1024)

/* What is told of an error, in bytes */
#define MAX_ERROR_LENGTH 2000

/* What is parked of a record */
typedef enum ParkedColumn
{
	PARKED_ENTITY,
	PARKED_UNIQUE_ID,
	PARKED_RECORD,
	PARKED_ON_CONFLICT,
	PARKED_OPTIONS,
	PARKED_ORIGIN,
	PARKED_ERROR,
	PARKED_SQLSTATE
} ParkedColumn;

#define PARKED_COLUMNS (PARKED_SQLSTATE + 1)

/* A chunk of them */
typedef struct Parked
{
	Datum		values[PARKED_COLUMNS][SIDECAR_CHUNK];
	bool		nulls[PARKED_COLUMNS][SIDECAR_CHUNK];
} Parked;

static bool is_about_record(int sqlstate, Attempt attempt);
static SidecarError *unfit(Relation rel);
static SidecarError *wrong_columns(Relation rel);
static int	collect(Record *records, int nrecords, int *start, Parked *parked);
static void clip(Record *record);
static void put_text(Parked *parked, ParkedColumn column, int n, const char *text);
static void put_options(Parked *parked, int n, const Record *record);
static void put_origin(Parked *parked, int n, const Record *record);
static void put_pair(JsonbParseState **state, const char *name, JsonbValue *value);
static void insert_rejects(Parked *parked, int n);

/*
 * In a PG_CATCH: rolls the sub-transaction back, to the memory context and the
 * resource owner from before it, and returns the error if it lies in a record;
 * raises it again if not.
 */
ErrorData  *
sidecar_roll_back(MemoryContext context, ResourceOwner owner, Attempt attempt)
{
	ErrorData  *edata;

	/* the error is copied before what it is in goes with the sub-transaction */
	MemoryContextSwitchTo(context);
	edata = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (!is_about_record(edata->sqlerrcode, attempt))
		ReThrowError(edata);
	return edata;
}

/*
 * Does the work for each of the records; one for which it fails is rejected,
 * with a text in the errors' context that names the field that blame tells, if
 * it does.  They share a sub-transaction until one fails: those cost more than
 * the work.  Those that were rejected already are passed over.
 */
void
sidecar_try_each(MemoryContext errors, Record **records, int nrecords, RecordWork work,
				 RecordBlame blame, void *arg)
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
				/* a record may be as large as memory */
				CHECK_FOR_INTERRUPTS();
				if (records[i]->outcome != SIDECAR_REJECTED)
					work(arg, records[i]);
			}
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
		PG_CATCH();
		{
			ErrorData  *edata = sidecar_roll_back(context, owner, READING_VALUES);

			sidecar_reject(errors, records[i], edata, blame ? blame(arg, records[i]) : NULL);
			i++;
		}
		PG_END_TRY();
	}
}

/*
 * True of errors that lie in the record: another one might be stored.
 *
 * Decided by what cannot lie in one, because users' triggers raise whatever
 * they like.
 */
static bool
is_about_record(int sqlstate, Attempt attempt)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case MAKE_SQLSTATE('0', '8', '0', '0', '0'):	/* connection */
		case MAKE_SQLSTATE('2', '5', '0', '0', '0'):	/* transaction state */
		case MAKE_SQLSTATE('2', '8', '0', '0', '0'):	/* authorization */
		case MAKE_SQLSTATE('2', 'D', '0', '0', '0'):	/* transaction end */
		case MAKE_SQLSTATE('3', 'B', '0', '0', '0'):	/* savepoint */
		case MAKE_SQLSTATE('3', 'D', '0', '0', '0'):	/* no such database */
		case MAKE_SQLSTATE('4', '0', '0', '0', '0'):	/* rolled back */
		case MAKE_SQLSTATE('5', '3', '0', '0', '0'):	/* resources */
		case MAKE_SQLSTATE('5', '5', '0', '0', '0'):	/* locks, objects in use */
		case MAKE_SQLSTATE('5', '7', '0', '0', '0'):	/* cancel, shutdown */
		case MAKE_SQLSTATE('5', '8', '0', '0', '0'):	/* system */
		case MAKE_SQLSTATE('F', '0', '0', '0', '0'):	/* configuration file */
			return false;
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):	/* internal; a few
														 * types' input says no
														 * more */
			return attempt == READING_VALUES && sqlstate == ERRCODE_INTERNAL_ERROR;
		case MAKE_SQLSTATE('3', 'F', '0', '0', '0'):	/* no such schema */
		case MAKE_SQLSTATE('4', '2', '0', '0', '0'):	/* privileges, missing
														 * objects */
			if (sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE)
				return attempt == WRITING_UNDER_POLICIES;
			/* some types' input says of a bad value that it has no syntax */
			return attempt == READING_VALUES;
		default:
			return true;
	}
}

/*
 * Marks the record as rejected for the error, which lies in the field if that
 * is known.  The text is of that context.
 */
void
sidecar_reject(MemoryContext context, Record *record, ErrorData *edata, const char *field)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	record->outcome = SIDECAR_REJECTED;
	record->sqlstate = edata->sqlerrcode;
	/* message and detail in one line, as a column of a result shows them */
	record->error = psprintf("%s%s%s%s%s", field ? field : "", field ? ": " : "", edata->message,
							 edata->detail ? ": " : "", edata->detail ? edata->detail : "");
	/* it quotes the value, which may be as large as memory */
	record->error[pg_mbcliplen(record->error, (int) strlen(record->error), MAX_ERROR_LENGTH)] = '\0';
	MemoryContextSwitchTo(old);
	FreeErrorData(edata);
}

/*
 * Parks the records that were rejected, in input order.  Errors: there is no
 * table for them that can be used (42P01, 42501, 42804).
 */
void
sidecar_park(Record *records, int nrecords)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "sidecar park",
												  ALLOCSET_DEFAULT_SIZES);
	int			start = 0;

	/* a chunk at a time, so that memory is bounded */
	while (start < nrecords)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Parked	   *parked = palloc0(sizeof(Parked));
		int			n = collect(records, nrecords, &start, parked);

		if (n > 0)
			insert_rejects(parked, n);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/*
 * Collects rejected records from *start on, at most a chunk of them; returns
 * how many, and moves *start behind the last.
 */
static int
collect(Record *records, int nrecords, int *start, Parked *parked)
{
	int			n = 0;

	Size		bytes = 0;

	for (; *start < nrecords && n < SIDECAR_CHUNK && bytes < MAX_PARKED_BYTES; (*start)++)
	{
		Record	   *record = &records[*start];

		if (record->outcome != SIDECAR_REJECTED)
			continue;
		put_text(parked, PARKED_ENTITY, n, record->entity->label);

		/*
		 * one without a key is parked all the same: nothing that was sent is
		 * lost
		 */
		put_text(parked, PARKED_UNIQUE_ID, n, record->key);
		clip(record);
		parked->values[PARKED_RECORD][n] = JsonbPGetDatum(JsonbValueToJsonb(&record->json));
		bytes += VARSIZE(DatumGetPointer(parked->values[PARKED_RECORD][n]));
		put_text(parked, PARKED_ON_CONFLICT, n, sidecar_on_conflict.words[record->rule]);
		put_options(parked, n, record);
		put_origin(parked, n, record);
		put_text(parked, PARKED_ERROR, n, record->error);
		put_text(parked, PARKED_SQLSTATE, n, unpack_sql_state(record->sqlstate));
		n++;
	}
	return n;
}

/*
 * Cuts off what is no JSON and too large to be parked as a string of it.
 */
static void
clip(Record *record)
{
	if (record->json.type == jbvString && record->json.val.string.len > MAX_PARKED_BYTES)
		record->json.val.string.len = pg_mbcliplen(record->json.val.string.val, record->json.val.string.len,
												   MAX_PARKED_BYTES);
}

static void
put_text(Parked *parked, ParkedColumn column, int n, const char *text)
{
	parked->nulls[column][n] = text == NULL;

	if (text !=NULL)
		parked->values[column][n] = CStringGetTextDatum(text);
}

/*
 * What a record was sent with, for whoever tries it again, but for on_conflict;
 * NULL if that is what goes without saying.
 */
static void
put_options(Parked *parked, int n, const Record *record)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	parked->nulls[PARKED_OPTIONS][n] = !record->from_text && record->unknown_keys == SIDECAR_UNKNOWN_REJECT;
	if (parked->nulls[PARKED_OPTIONS][n])
		return;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (record->unknown_keys != SIDECAR_UNKNOWN_REJECT)
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, sidecar_unknown_keys.words[record->unknown_keys]);
		value.val.string.len = (int) strlen(value.val.string.val);
		put_pair(&state, SIDECAR_OPTION_UNKNOWN_KEYS, &value);
	}
	if (record->from_text)
	{
		value.type = jbvBool;
		value.val.boolean = true;
		put_pair(&state, SIDECAR_OPTION_TEXT, &value);
	}
	parked->values[PARKED_OPTIONS][n] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/*
 * Where a record came from, for whoever has the file; NULL if nothing is known.
 */
static void
put_origin(Parked *parked, int n, const Record *record)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	parked->nulls[PARKED_ORIGIN][n] = record->line == 0;
	if (record->line == 0)
		return;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(record->line);
	put_pair(&state, "line", &value);
	parked->values[PARKED_ORIGIN][n] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static void
put_pair(JsonbParseState **state, const char *name, JsonbValue *value)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = (int) strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &key);
	(void) pushJsonbValue(state, WJB_VALUE, value);
}

static void
insert_rejects(Parked *parked, int n)
{
	Relation	rejects = sidecar_open_rejects(RowExclusiveLock);
	Oid			types[PARKED_COLUMNS];
	Datum		values[PARKED_COLUMNS];
	char	   *sql;
	int			ret;

	/* arrays, because a writer may INSERT here and nothing else */
	sql = psprintf("INSERT INTO %s (entity, unique_id, record, on_conflict, options, origin, error, sqlstate) "
				   "SELECT * FROM ROWS FROM ("
				   "pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
				   "pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
				   "pg_catalog.unnest($7), pg_catalog.unnest($8)) u",
				   sidecar_relation_sql(RelationGetRelid(rejects)));
	for (int c = 0; c < PARKED_COLUMNS; c++)
	{
		bool		is_json = c == PARKED_RECORD || c == PARKED_OPTIONS || c == PARKED_ORIGIN;

		types[c] = is_json ? JSONBARRAYOID : TEXTARRAYOID;
		values[c] = sidecar_make_array(parked->values[c], parked->nulls[c], n, is_json ? JSONBOID : TEXTOID);
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	ret = SPI_execute_with_args(sql, PARKED_COLUMNS, types, values, NULL, false, 0);
	if (ret != SPI_OK_INSERT)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(ret));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	table_close(rejects, NoLock);
}

/*
 * Finds the table of parked records, or tells by *error why there is none that
 * can be used.
 */
Oid
sidecar_find_rejects(SidecarError **error)
{
	Oid			schema = get_namespace_oid(SIDECAR_SCHEMA, true);
	Oid			relid = OidIsValid(schema) ? get_relname_relid(SIDECAR_REJECTS, schema) : InvalidOid;
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;

	if (rel == NULL)
	{
		*error = sidecar_error(ERRCODE_UNDEFINED_TABLE,
							   psprintf("table %s.%s does not exist", SIDECAR_SCHEMA, SIDECAR_REJECTS),
							   NULL, SIDECAR_HINT_INSTALL);
		(*error)->is_absence = true;
		return InvalidOid;
	}
	*error = unfit(rel);
	if (*error == NULL)
		*error = wrong_columns(rel);
	relation_close(rel, AccessShareLock);
	return *error == NULL ? relid : InvalidOid;
}

/*
 * Why records cannot be parked in a relation of that name; NULL if they can.
 *
 * A name is no right: the owner must be one who may own sidecar tables.
 */
static SidecarError *
unfit(Relation rel)
{
	bool		trusted = false;

	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return sidecar_error(ERRCODE_WRONG_OBJECT_TYPE,
							 psprintf("%s.%s is not a table", SIDECAR_SCHEMA, SIDECAR_REJECTS),
							 NULL, NULL);
	/* records of any entity may be parked in it */
	for (int e = 0; e < SIDECAR_ENTITIES; e++)
		trusted = trusted || sidecar_is_trusted(&sidecar_entities[e], rel->rd_rel->relowner);

	/* instead of what is parked something else would happen, or nothing */
	if (rel->rd_rules != NULL)
		return sidecar_error(ERRCODE_WRONG_OBJECT_TYPE,
							 psprintf("table %s.%s has rules", SIDECAR_SCHEMA, SIDECAR_REJECTS),
							 NULL, "Drop them: a trigger can do the same.");
	if (!trusted)
		return sidecar_error(ERRCODE_INSUFFICIENT_PRIVILEGE,
							 psprintf("table %s.%s cannot take parked records", SIDECAR_SCHEMA, SIDECAR_REJECTS),
							 psprintf("Its owner may not execute %s(), as owners of sidecar tables may.",
									  sidecar_entities[0].trigger_function),
							 "GRANT EXECUTE on that function to the owner, or give the table to another one.");
	return NULL;
}

/*
 * What is wrong with the columns, which we read by their types; or NULL.
 */
static SidecarError *
wrong_columns(Relation rel)
{
	static const struct
	{
		const char *name;
		Oid			type;
	}			columns[] = {
		{"reject_id", INT8OID}, {"entity", TEXTOID}, {"unique_id", TEXTOID}, {"record", JSONBOID},
		{"on_conflict", TEXTOID}, {"options", JSONBOID}, {"origin", JSONBOID}, {"error", TEXTOID}, {"sqlstate", TEXTOID}, {"attempts", INT4OID},
		{"rejected_at", TIMESTAMPTZOID}, {"last_tried_at", TIMESTAMPTZOID}
	};
	Oid			relid = RelationGetRelid(rel);

	for (int c = 0; c < lengthof(columns); c++)
	{
		AttrNumber	attnum = get_attnum(relid, columns[c].name);
		SidecarError *error;

		if (attnum == InvalidAttrNumber)
			return sidecar_error(ERRCODE_UNDEFINED_COLUMN,
								 psprintf("table %s.%s has no column \"%s\"",
										  SIDECAR_SCHEMA, SIDECAR_REJECTS, columns[c].name),
								 NULL, SIDECAR_HINT_INSTALL);
		/* a time without zone would be another one in every session */
		error = sidecar_wrong_type(relid, TupleDescAttr(RelationGetDescr(rel), attnum - 1),
								   columns[c].type, columns[c].type == TIMESTAMPTZOID);
		if (error != NULL)
			return error;
	}
	return NULL;
}

/*
 * Opens the table of parked records, with that lock.  Errors: those of sidecar_find_rejects().
 */
Relation
sidecar_open_rejects(LOCKMODE lockmode)
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
			/* another table has got the name while we waited */
			table_close(rel, lockmode);
		}
		if (error != NULL)
			sidecar_raise(error);

		/* before the lock, as in sidecar_open(): a writer only inserts here */
		if (lockmode != AccessShareLock &&
			pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) != ACLCHECK_OK &&
			pg_attribute_aclcheck_all(relid, GetUserId(), ACL_INSERT, ACLMASK_ANY) != ACLCHECK_OK &&
			pg_class_aclcheck(relid, GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, SIDECAR_REJECTS);
		rel = try_table_open(relid, lockmode);
	}
}

/*
 * An array of these values, of which nulls tells which are NULL.
 */
Datum
sidecar_make_array(Datum *values, bool *nulls, int n, Oid type)
{
	int			dims[1];
	int			lbs[1] = {1};
	int16		length;
	bool		byval;
	char		align;

	dims[0] = n;
	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_md_array(values, nulls, n > 0 ? 1 : 0, dims, lbs,
											  type, length, byval, align));
}

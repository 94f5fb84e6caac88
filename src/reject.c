/*-------------------------------------------------------------------------
 *
 * reject.c
 *		Records that cannot be stored: told from other trouble, and parked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "batch.h"

/* Of what is parked at once, and of a text: less than a jsonb and an array take */
#define MAX_PARKED_BYTES (64 * 1024 * 1024)

/* What is told of an error, in bytes */
#define MAX_ERROR_LENGTH 2000

/* What is parked of a record */
typedef enum ParkedColumn
{
	PARKED_RECORD_NO,
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
static int	compare_rejected(const void *a, const void *b);
static int	collect(Record **records, int nrecords, int64 before, Parked *parked);
static void clip(JsonbValue *text);
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
 * Does the work in a sub-transaction; false: it failed, and is undone.  What
 * does not lie in a record is raised again.
 */
bool
sidecar_try(void (*work) (void *arg), void *arg, Attempt attempt)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		FreeErrorData(sidecar_roll_back(context, owner, attempt));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
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
 * Takes numbers for so many records of a call, and returns how many earlier
 * calls of the transaction have taken, whose rejected_at is the same.
 */
int64
sidecar_take_numbers(int64 n)
{
	static TimestampTz transaction = 0;
	static int64 taken = 0;
	int64		before;

	if (transaction != GetCurrentTransactionStartTimestamp())
		taken = 0;
	transaction = GetCurrentTransactionStartTimestamp();
	before = taken;
	taken += n;
	return before;
}

/*
 * Parks the records that were rejected; one that is parked already stays as it
 * is.  "before" is what sidecar_take_numbers() says.  Errors: those of
 * sidecar_open_rejects().
 */
void
sidecar_park(Record *records, int nrecords, int64 before)
{
	MemoryContext context;
	Record	  **rejected;
	int			nrejected = 0;

	for (int i = 0; i < nrecords; i++)
		nrejected += records[i].outcome == SIDECAR_REJECTED;
	if (nrejected == 0)
		return;
	rejected = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Record *) * nrejected);
	nrejected = 0;
	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].outcome == SIDECAR_REJECTED)
			rejected[nrejected++] = &records[i];
	}

	/*
	 * Who parks a record that another session is parking waits for it: in one
	 * order, so that nobody waits in a circle.
	 */
	qsort(rejected, nrejected, sizeof(Record *), compare_rejected);
	context = AllocSetContextCreate(CurrentMemoryContext, "sidecar park", ALLOCSET_DEFAULT_SIZES);
	/* a chunk at a time, so that memory is bounded */
	for (int start = 0; start < nrejected;)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Parked	   *parked = palloc0(sizeof(Parked));
		int			n = collect(rejected + start, Min(SIDECAR_CHUNK, nrejected - start), before, parked);

		insert_rejects(parked, n);
		start += n;
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	pfree(rejected);
}

/*
 * By key, then by content, whatever the order in which they came.
 */
static int
compare_rejected(const void *a, const void *b)
{
	const Record *left = *(Record *const *) a;
	const Record *right = *(Record *const *) b;
	bool		are_json = left->json.type == jbvBinary && right->json.type == jbvBinary;
	int			order;

	if (left->key == NULL || right->key == NULL)
		order = (left->key == NULL) - (right->key == NULL);
	else
		order = strcmp(left->key, right->key);
	if (order == 0 && are_json)
		order = compareJsonbContainers(left->json.val.binary.data, right->json.val.binary.data);
	else if (order == 0 && left->json.type == jbvString && right->json.type == jbvString)
		order = varstr_cmp(left->json.val.string.val, left->json.val.string.len,
						   right->json.val.string.val, right->json.val.string.len, C_COLLATION_OID);
	else if (order == 0)
		order = (left->json.type > right->json.type) - (left->json.type < right->json.type);
	if (order == 0)
		order = (int) left->rule - (int) right->rule;
	return order;
}

/*
 * Collects as many of the records as may be parked at once; returns how many.
 */
static int
collect(Record **records, int nrecords, int64 before, Parked *parked)
{
	Size		bytes = 0;
	int			n;

	for (n = 0; n < nrecords && bytes < MAX_PARKED_BYTES; n++)
	{
		const Record *record = records[n];
		JsonbValue	json = record->json;

		parked->values[PARKED_RECORD_NO][n] = Int64GetDatum(before + record->position + 1);
		put_text(parked, PARKED_ENTITY, n, record->entity->label);

		/*
		 * one without a key is parked all the same: nothing that was sent is
		 * lost
		 */
		put_text(parked, PARKED_UNIQUE_ID, n, record->key);
		clip(&json);
		parked->values[PARKED_RECORD][n] = JsonbPGetDatum(JsonbValueToJsonb(&json));
		bytes += VARSIZE(DatumGetPointer(parked->values[PARKED_RECORD][n]));
		put_text(parked, PARKED_ON_CONFLICT, n, sidecar_on_conflict.words[record->rule]);
		put_options(parked, n, record);
		put_origin(parked, n, record);
		put_text(parked, PARKED_ERROR, n, record->error);
		put_text(parked, PARKED_SQLSTATE, n, unpack_sql_state(record->sqlstate));
	}
	return n;
}

/*
 * Cuts off what is no JSON and too large to be parked as a string of it.
 */
static void
clip(JsonbValue *text)
{
	if (text->type == jbvString && text->val.string.len > MAX_PARKED_BYTES)
		text	  ->val.string.len = pg_mbcliplen(text->val.string.val, text->val.string.len, MAX_PARKED_BYTES);
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

	/*
	 * Arrays, and no arbiter, because a writer may INSERT here and nothing
	 * else: what is there already is told by the unique index on the hash.
	 */
	sql = psprintf("INSERT INTO %s (record_no, entity, unique_id, record, on_conflict, options, origin, "
				   "error, sqlstate) "
				   "SELECT * FROM ROWS FROM ("
				   "pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
				   "pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
				   "pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9)) u "
				   "ON CONFLICT DO NOTHING",
				   sidecar_relation_sql(RelationGetRelid(rejects)));
	for (int c = 0; c < PARKED_COLUMNS; c++)
	{
		Oid			type = c == PARKED_RECORD_NO ? INT8OID :
		c == PARKED_RECORD || c == PARKED_OPTIONS || c == PARKED_ORIGIN ? JSONBOID : TEXTOID;

		types[c] = get_array_type(type);
		values[c] = sidecar_make_array(parked->values[c], parked->nulls[c], n, type);
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
 * Opens the table of parked records, with that lock, as sidecar_open() does a
 * sidecar table.
 */
Relation
sidecar_open_rejects(LOCKMODE lockmode)
{
	SidecarTable *table = sidecar_open(&sidecar_entities[SIDECAR_PARKED], lockmode, false);
	Relation	rel = table->rel;

	pfree(table);
	return rel;
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

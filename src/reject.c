/*-------------------------------------------------------------------------
 *
 * reject.c
 *		Records that cannot be stored: told from other trouble, and parked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
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
static void clip_error(Record *record);
static bool is_about_objects(int sqlstate, Attempt attempt);
static int	compare_rejected(const void *a, const void *b);
static int	compare_json(const JsonbValue *left, const JsonbValue *right);
static int	compare_bytes(const char *left, Size left_length, const char *right, Size right_length);
static int	collect(Record **records, int nrecords, int64 before, Parked *parked);
static void clip(JsonbValue *json);
static void put_text(Parked *parked, ParkedColumn column, int n, const char *string);
static void put_options(Parked *parked, int n, const Record *record);
static void put_origin(Parked *parked, int n, const Record *record);
static void put_string(JsonbParseState **state, const char *name, const char *string);
static void put_pair(JsonbParseState **state, const char *name, JsonbValue *value);
static void require_no_other_key(Relation rejects);
static bool cannot_lose(Relation rejects, Relation index);
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
 * Does the work in a sub-transaction; false: it failed, and is undone, and the
 * failure is told, unless that is NULL.  What does not lie in a record is raised
 * again.
 */
bool
sidecar_try(void (*work) (void *arg), void *arg, Attempt attempt, ErrorData **failure)
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
		ErrorData  *edata = sidecar_roll_back(context, owner, attempt);

		if (failure != NULL)
			*failure = edata;
		else
			FreeErrorData(edata);
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
		case MAKE_SQLSTATE('7', '2', '0', '0', '0'):	/* snapshot too old */
		case MAKE_SQLSTATE('F', '0', '0', '0', '0'):	/* configuration file */
			return false;
		case MAKE_SQLSTATE('X', 'X', '0', '0', '0'):	/* internal; a few
														 * types' input says no
														 * more */
			return attempt == READING_VALUES && sqlstate == ERRCODE_INTERNAL_ERROR;
		case MAKE_SQLSTATE('3', 'F', '0', '0', '0'):	/* no such schema */
			return attempt == READING_VALUES;
		case MAKE_SQLSTATE('4', '2', '0', '0', '0'):	/* privileges, missing
														 * objects */
			return !is_about_objects(sqlstate, attempt);
		default:
			return true;
	}
}

/*
 * True of errors of class 42 that lie in what objects there are, or in who may
 * use them.  Others a trigger may have for what one record has made it do.
 */
static bool
is_about_objects(int sqlstate, Attempt attempt)
{
	switch (sqlstate)
	{
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return attempt != WRITING_UNDER_POLICIES;
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_COLUMN:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_INVALID_COLUMN_REFERENCE:	/* the key has no index */
			/* some types' input says so of a bad value */
			return attempt != READING_VALUES;
		default:
			return false;
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
	clip_error(record);
	MemoryContextSwitchTo(old);
	FreeErrorData(edata);
}

/*
 * Rejects the record for a word beside it that is none (22023).
 */
void
sidecar_refuse(Record *record, char *error)
{
	record->outcome = SIDECAR_REJECTED;
	record->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
	record->error = error;
	clip_error(record);
}

/*
 * Cuts off an error that quotes a value, which may be as large as memory.
 */
static void
clip_error(Record *record)
{
	record->error[pg_mbcliplen(record->error, (int) strlen(record->error), MAX_ERROR_LENGTH)] = '\0';
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
 * is, and where it is.  "before" is what sidecar_take_numbers() says.  Errors:
 * those of sidecar_open_rejects(), another key of the table (55000), and 40001 if
 * the transaction does not see what another one has parked meanwhile.
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
 * The word for the record's rule: what it was sent with, be it one or not.
 */
const char *
sidecar_rule_word(const Record *record)
{
	return record->wrong_rule ? record->wrong_rule : sidecar_on_conflict.words[record->rule];
}

/*
 * By this the same records of a call are ordered, of which the first is parked:
 * that whose place among the others is where it counts.  Under "fill" what comes
 * first stands, else what comes last.
 */
int64
sidecar_turn_to_park(const Record *record)
{
	return record->rule == SIDECAR_FILL ? record->position : -record->position;
}

/*
 * By key, then by all that makes records of one entity the same, whatever the
 * order in which they came.  An inbox sorts them so, too.
 */
static int
compare_rejected(const void *a, const void *b)
{
	const Record *left = *(Record *const *) a;
	const Record *right = *(Record *const *) b;
	int64		left_turn = sidecar_turn_to_park(left);
	int64		right_turn = sidecar_turn_to_park(right);
	int			order;

	if (left->key == NULL || right->key == NULL)
		order = (left->key == NULL) - (right->key == NULL);
	else
		order = strcmp(left->key, right->key);
	if (order == 0)
		order = strcmp(sidecar_rule_word(left), sidecar_rule_word(right));
	if (order == 0)
		order = compare_json(&left->json, &right->json);
	/* the options are those of the call */
	if (order == 0)
		order = (left_turn > right_turn) - (left_turn < right_turn);
	return order;
}

/*
 * By what they are stored as: by value 1 and 1.0 are equal, and yet two records.
 */
static int
compare_json(const JsonbValue *left, const JsonbValue *right)
{
	if (left->type != right->type)
		return left->type < right->type ? -1 : 1;
	switch (left->type)
	{
		case jbvString:
			return compare_bytes(left->val.string.val, left->val.string.len,
								 right->val.string.val, right->val.string.len);
		case jbvNumeric:
			return compare_bytes((char *) left->val.numeric, VARSIZE_ANY(left->val.numeric),
								 (char *) right->val.numeric, VARSIZE_ANY(right->val.numeric));
		case jbvBool:
			return (int) left->val.boolean - (int) right->val.boolean;
		case jbvBinary:
			return compare_bytes((char *) left->val.binary.data, left->val.binary.len,
								 (char *) right->val.binary.data, right->val.binary.len);
		default:
			return 0;			/* null */
	}
}

/*
 * As bytea is compared.
 */
static int
compare_bytes(const char *left, Size left_length, const char *right, Size right_length)
{
	int			order = memcmp(left, right, Min(left_length, right_length));

	return order != 0 ? order : (left_length > right_length) - (left_length < right_length);
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
		put_text(parked, PARKED_ON_CONFLICT, n, sidecar_rule_word(record));
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
clip(JsonbValue *json)
{
	if (json->type == jbvString && json->val.string.len > MAX_PARKED_BYTES)
		json->val.string.len = pg_mbcliplen(json->val.string.val, json->val.string.len, MAX_PARKED_BYTES);
}

static void
put_text(Parked *parked, ParkedColumn column, int n, const char *string)
{
	parked->nulls[column][n] = string == NULL;
	if (string != NULL)
		parked->values[column][n] = CStringGetTextDatum(string);
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
		put_string(&state, SIDECAR_OPTION_UNKNOWN_KEYS, sidecar_unknown_keys.words[record->unknown_keys]);
	if (record->from_text)
	{
		value.type = jbvBool;
		value.val.boolean = true;
		put_pair(&state, SIDECAR_OPTION_TEXT, &value);
		if (record->session_zone != NULL)
			put_string(&state, SIDECAR_OPTION_TIME_ZONE, pg_get_timezone_name(record->session_zone));
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
put_string(JsonbParseState **state, const char *name, const char *string)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, string);
	value.val.string.len = (int) strlen(string);
	put_pair(state, name, &value);
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

	require_no_other_key(rejects);

	/*----------
	 * Arrays, and no arbiter, because a writer may INSERT here and nothing
	 * else: what is there already is told by the unique index on the hash.
	 *
	 * INSERT INTO marketing.sidecar_rejects (record_no, entity, ...)
	 * SELECT * FROM ROWS FROM (
	 *     pg_catalog.unnest($1), pg_catalog.unnest($2), ...) u
	 * ON CONFLICT DO NOTHING
	 *----------
	 */
	sql = psprintf("INSERT INTO %s (record_no, entity, unique_id, record, on_conflict, "
				   "options, origin, error, sqlstate) "
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
 * Raises 55000 if the table, or a partition of it, has another key than ours,
 * which would keep out records that are not the same.
 */
static void
require_no_other_key(Relation rejects)
{
	List	   *relids = rejects->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
	find_all_inheritors(RelationGetRelid(rejects), AccessShareLock, NULL) :
	list_make1_oid(RelationGetRelid(rejects));
	ListCell   *lc;

	foreach(lc, relids)
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		List	   *indexes = RelationGetIndexList(rel);
		ListCell   *lc2;

		foreach(lc2, indexes)
		{
			Relation	index = index_open(lfirst_oid(lc2), AccessShareLock);

			if (!cannot_lose(rel, index))
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("records cannot be parked in %s",
								sidecar_relation_sql(RelationGetRelid(rel))),
						 errdetail("Index \"%s\" would keep some of them out.",
								   RelationGetRelationName(index)),
						 errhint("Only a unique key that has \"reject_id\" or the generated \"hash\" in it can serve there.")));
			index_close(index, AccessShareLock);
		}
		list_free(indexes);
		table_close(rel, AccessShareLock);
	}
	list_free(relids);
}

/*
 * True of an index that keeps nothing out of the table of parked records but
 * what is there already.
 */
static bool
cannot_lose(Relation rejects, Relation index)
{
	if (index->rd_index->indisexclusion)
		return false;
	/* while it is being built it takes no rows */
	if (!index->rd_index->indisunique || !index->rd_index->indisready)
		return true;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		Form_pg_attribute att;

		/* an expression */
		if (attnum <= 0)
			continue;
		att = TupleDescAttr(RelationGetDescr(rejects), attnum - 1);
		if (strcmp(NameStr(att->attname), "reject_id") == 0 ||
			(strcmp(NameStr(att->attname), "hash") == 0 && att->attgenerated != '\0'))
			return true;
	}
	return false;
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

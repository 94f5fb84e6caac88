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
 * Memory: "sidecar chunk" has what is made of a chunk, and is reset for the
 * next; "sidecar attempt", below it, what one write leaves behind; "sidecar
 * conversion" what the conversion remembers from one record to the next;
 * what is wrong with records is in the caller's context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/varlena.h"

#include "batch.h"

/* The columns that the statements always use */
static const char *const needed[] = {SIDECAR_COL_TIME, SIDECAR_COL_SCORE, SIDECAR_COL_SOURCE};

/* Records whose stored rows are to be updated, and how many have one */
typedef struct Updates
{
	Batch	   *batch;
	Record	  **records;
	int			nrecords;
	int			nfound;
} Updates;

static void upsert_many(FunctionCallInfo fcinfo, const char *label, Oid type);
static Record *read_records(Jsonb *input, const Record *sent, int *nrecords);
static void put_record(ReturnSetInfo *rsinfo, const Record *record);
static void describe_columns(Batch *batch, const SidecarEntity *entity);
static int	compare_records(const void *a, const void *b, void *batch);
static void store_merged(Batch *batch, Record **records, int nrecords);
static int	merge_key(const Batch *batch, Record **records, int nrecords, Record **wholes);
static Record *merge(const Batch *batch, Record **members, int nmembers);
static void store_members(Batch *batch, const Record *whole);
static void tell_members(const Record *whole);
static bool can_merge(const Batch *batch, const Record *a, const Record *b);
static void merge_row(SidecarRow *whole, const SidecarRow *row);
static void store_converted(Batch *batch, Record **records, int nrecords);
static int	first_round(const Batch *batch, Record **records, int nrecords, Record **round);
static int	next_round(Record **round, int nround);
static bool same_statement(const Batch *batch, const Record *a, const Record *b);
static void store_run(Batch *batch, Record **records, int nrecords);
static bool look_up(Batch *batch, Record **records, int nrecords);
static void reject_orphan(Batch *batch, Record *record);
static void write_records(Batch *batch, Record **records, int nrecords, bool may_be_stored);
static void write_stretches(Batch *batch, Record **records, int nrecords);
static bool update_stored(Batch *batch, Record **records, int nrecords);
static bool write_together(Batch *batch, Record **records, int nrecords);
static bool try_to_write(Batch *batch, Record **records, int nrecords, SidecarRow **rows);
static bool may_be_of_insert(const ErrorData *failure);
static bool try_to_update(Batch *batch, Record *record, ErrorData **failure);
static void update_rows(void *arg);
static void refuse_record(Batch *batch, Record *record, ErrorData *failure);
static void tell_rest(Batch *batch, Record **records, int nrecords, SidecarRow **rows);

PG_FUNCTION_INFO_V1(sidecar_upsert_companies);
PG_FUNCTION_INFO_V1(sidecar_upsert_people);
PG_FUNCTION_INFO_V1(sidecar_import_companies);
PG_FUNCTION_INFO_V1(sidecar_import_people);

/*
 * sidecar_upsert_companies(records, on_conflict, unknown_keys)
 *		RETURNS TABLE (record, unique_id, outcome, error)
 *
 * records is a JSON array of objects, or one object, whose keys are columns of
 * the sidecar table, with values as sidecar_read_field() takes them; JSON null,
 * a blank text, [] and {} mean not given.  "$clear" is a list of columns that
 * become NULL.  Other keys have their record rejected (unknown_keys "reject" or
 * NULL), go into enrichment_payload ("payload"), or are passed over ("ignore");
 * created_at and updated_at are always passed over.
 *
 * A row per record, in input order; record counts from 1, outcome is that of
 * sidecar_upsert_company(), or rejected with the reason in error.  Rejected
 * records are parked when the call returns.
 *
 * A key that stands several times is stored in input order.  Memory is bounded
 * by the input.  Errors: records is NULL (22004) or neither array nor object
 * (22023), unknown on_conflict or unknown_keys (22023), what is missing (42P01,
 * 42703, 55000), and whatever does not lie in a record: privileges, locks,
 * resources, cancel.
 */
Datum
sidecar_upsert_companies(PG_FUNCTION_ARGS)
{
	upsert_many(fcinfo, "company", JSONBOID);
	return (Datum) 0;
}

/*
 * sidecar_upsert_people(records, on_conflict, unknown_keys)
 *
 * The contract is that of sidecar_upsert_companies().
 */
Datum
sidecar_upsert_people(PG_FUNCTION_ARGS)
{
	upsert_many(fcinfo, "people", JSONBOID);
	return (Datum) 0;
}

/*
 * sidecar_import_companies(records, on_conflict, unknown_keys)
 *		RETURNS TABLE (record, unique_id, outcome, error)
 *
 * The contract is that of sidecar_upsert_companies(), but records is text: a
 * JSON array, JSON Lines, or one object.  A record that is not JSON, or that
 * jsonb refuses, is rejected like any other, and parked as a string.
 */
Datum
sidecar_import_companies(PG_FUNCTION_ARGS)
{
	upsert_many(fcinfo, "company", TEXTOID);
	return (Datum) 0;
}

/*
 * sidecar_import_people(records, on_conflict, unknown_keys)
 *
 * The contract is that of sidecar_import_companies().
 */
Datum
sidecar_import_people(PG_FUNCTION_ARGS)
{
	upsert_many(fcinfo, "people", TEXTOID);
	return (Datum) 0;
}

/*
 * The functions that take many records.
 */
static void
upsert_many(FunctionCallInfo fcinfo, const char *label, Oid type)
{
	const Oid	types[] = {type, TEXTOID, TEXTOID};
	static const Oid columns[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	ReturnSetInfo *rsinfo = sidecar_begin_rows(fcinfo, lengthof(types), types, lengthof(columns), columns);
	Record		sent = {0};		/* what all of them have in common */
	Record	   *records;
	int			nrecords;

	sent.entity = sidecar_entity(label);
	sent.rule = sidecar_choose(&sidecar_on_conflict, PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1));
	sent.unknown_keys = sidecar_choose(&sidecar_unknown_keys, PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	/* what now() is */
	sent.time = GetCurrentTransactionStartTimestamp();
	/* not STRICT, because on_conflict may be NULL */
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("records must not be null")));
	if (types[0] == JSONBOID)
		records = read_records(PG_GETARG_JSONB_P(0), &sent, &nrecords);
	else
		records = sidecar_read_text(PG_GETARG_TEXT_PP(0), &sent, &nrecords);
	sidecar_parse_texts(records, nrecords, types[0] == TEXTOID);
	sidecar_store_records(sent.entity, records, nrecords, false);
	/* in the same transaction: what is rolled back was not parked either */
	sidecar_park(records, nrecords, sidecar_take_numbers(nrecords));
	for (int i = 0; i < nrecords; i++)
		put_record(rsinfo, &records[i]);
}

/*
 * The records of the input, sent like that, nothing of them looked at yet.
 */
static Record *
read_records(Jsonb *input, const Record *sent, int *nrecords)
{
	bool		many = JB_ROOT_IS_ARRAY(input) && !JB_ROOT_IS_SCALAR(input);
	Record	   *records;
	JsonbIterator *it = NULL;
	JsonbValue	value;

	if (!many && !JB_ROOT_IS_OBJECT(input))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("records must be a JSON array of objects, or one object")));
	*nrecords = many ? (int) JB_ROOT_COUNT(input) : 1;
	/* a million records are more than a palloc takes */
	records = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Record) * Max(*nrecords, 1),
										 MCXT_ALLOC_HUGE);
	if (many)
	{
		it = JsonbIteratorInit(&input->root);
		(void) JsonbIteratorNext(&it, &value, true);	/* the array itself */
	}
	for (int i = 0; i < *nrecords; i++)
	{
		records[i] = *sent;
		records[i].position = i;
		if (many)
			(void) JsonbIteratorNext(&it, &records[i].json, true);
		else
			JsonbToJsonbValue(input, &records[i].json);
	}
	return records;
}

static void
put_record(ReturnSetInfo *rsinfo, const Record *record)
{
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = Int64GetDatum(record->position + 1);
	nulls[1] = record->key == NULL;
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(record->key);
	values[2] = CStringGetTextDatum(sidecar_outcome_name(record->outcome));
	nulls[3] = record->error == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(record->error);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);

	/* there may be a million of them */
	for (int c = 1; c < lengthof(values); c++)
	{
		if (!nulls[c])
			pfree(DatumGetPointer(values[c]));
	}
}

/*
 * Stores the records, all of one entity, and tells in each what became of it.
 */
void
sidecar_store_records(const SidecarEntity *entity, Record *records, int nrecords, bool parked)
{
	Batch	   *batch = sidecar_begin_batch(entity, CurrentMemoryContext);
	Record	  **order = MemoryContextAllocHuge(CurrentMemoryContext,
											   sizeof(Record *) * Max(nrecords, 1));

	/* of parked ones of the same time, too, the last is to stand */
	batch->merging = batch->parked = parked;
	for (int i = 0; i < nrecords; i++)
	{
		records[i].key = sidecar_record_key(&records[i].json, entity->key);
		order[i] = &records[i];
	}
	/* rows are locked in this order by every batch */
	qsort_arg(order, nrecords, sizeof(Record *), compare_records, batch);
	for (int i = 0; i < nrecords; i += SIDECAR_CHUNK)
		sidecar_store_chunk(batch, order + i, Min(SIDECAR_CHUNK, nrecords - i));
	sidecar_end_batch(batch);
	pfree(order);
}

/*
 * Opens the entity's sidecar, until sidecar_end_batch(), and learns what a batch
 * needs to know of it.  Errors: what is missing (42P01, 42703, 55000), and a
 * role that may not write (42501).
 *
 * What is wrong with a record is told in the context "answers".
 */
Batch	   *
sidecar_begin_batch(const SidecarEntity *entity, MemoryContext answers)
{
	Batch	   *batch = palloc0(sizeof(Batch));
	SidecarStore *store = &batch->store;

	batch->answers = answers;
	batch->chunk = AllocSetContextCreate(CurrentMemoryContext, "sidecar chunk", ALLOCSET_DEFAULT_SIZES);

	/* open to the end: what user code runs on the way cannot alter them */
	store->table = sidecar_open(entity, RowExclusiveLock, true);
	sidecar_require_master(store->table);
	/* what is stored already would have an answer without a write */
	PreventCommandIfReadOnly("INSERT");
	store->collation = C_COLLATION_OID;
	batch->attempt = check_enable_rls(RelationGetRelid(store->table->rel), InvalidOid, true) == RLS_ENABLED ?
		WRITING_UNDER_POLICIES : WRITING;
	describe_columns(batch, entity);
	store->desc = sidecar_chunk_desc(&store->columns);
	store->look_for_masters = sidecar_may_look_up(store->table);
	sidecar_find_deferrable(&batch->deferrable, store->table);
	sidecar_begin_conversion(&batch->converter, store->table, store);
	batch->converter.context = answers;
	return batch;
}

/*
 * True if the tables are there, with what a batch needs.
 */
bool
sidecar_can_store(const SidecarBinding *binding)
{
	if (binding->error != NULL || !OidIsValid(binding->master) || binding->zone == NULL)
		return false;
	for (int i = 0; i < lengthof(needed); i++)
	{
		if (get_attnum(binding->sidecar, needed[i]) == InvalidAttrNumber)
			return false;
	}
	return true;
}

/*
 * Converts and stores a chunk of records, which are in key order, and tells in
 * each what became of it.
 */
void
sidecar_store_chunk(Batch *batch, Record **records, int nrecords)
{
	int			nestlevel;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	batch->store.spi_context = CurrentMemoryContext;
	memset(batch->store.prepared, 0, sizeof(batch->store.prepared));
	MemoryContextSwitchTo(batch->chunk);
	nestlevel = sidecar_enter_zone(batch->store.table);
	sidecar_convert_records(&batch->converter, records, nrecords);
	if (batch->merging)
		store_merged(batch, records, nrecords);
	else
		store_converted(batch, records, nrecords);
	sidecar_leave_zone(nestlevel);
	/* back to the caller's context */
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	MemoryContextReset(batch->chunk);
}

/*
 * Closes what sidecar_begin_batch() opened.
 */
void
sidecar_end_batch(Batch *batch)
{
	sidecar_close(batch->store.table);
	MemoryContextDelete(batch->chunk);
	pfree(batch);
}

/*
 * Learns the table's columns: the key first, then in their own order, also
 * those that users have added.
 */
static void
describe_columns(Batch *batch, const SidecarEntity *entity)
{
	SidecarTable *table = batch->store.table;
	SidecarColumns *columns = &batch->store.columns;
	TupleDesc	desc = RelationGetDescr(table->rel);
	Form_pg_attribute key = sidecar_column(table, entity->key);

	for (int i = 0; i < lengthof(needed); i++)
		(void) sidecar_column(table, needed[i]);

	columns->columns = palloc(sizeof(SidecarColumn *) * desc->natts);
	/* where the statements expect it, wherever the table has it */
	columns->columns[columns->n++] = sidecar_describe_column(key);
	if (OidIsValid(key->attcollation) && !get_collation_isdeterministic(key->attcollation))
		batch->store.collation = key->attcollation;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), entity->key) == 0)
			continue;
		if (strcmp(NameStr(att->attname), SIDECAR_COL_TIME) == 0)
			columns->time = columns->n;
		/* a column that is not given takes its default, not NULL */
		if (att->atthasdef && att->attgenerated == '\0')
			batch->defaulted = bms_add_member(batch->defaulted, columns->n);
		columns->columns[columns->n++] = sidecar_describe_column(att);
	}
}

/*
 * Key order; the same key in input order.
 */
static int
compare_records(const void *a, const void *b, void *batch)
{
	const Record *left = *(Record *const *) a;
	const Record *right = *(Record *const *) b;
	int			order;

	if (left->key == NULL || right->key == NULL)
		/* what has no key is rejected whenever its turn comes */
		order = (left->key != NULL) - (right->key != NULL);
	else
		order = sidecar_compare_keys(batch, left, right);
	if (order == 0)
		order = left->position < right->position ? -1 : 1;
	return order;
}

/*
 * Compares the keys of two records: byte by byte, or as the column does where
 * that takes others for equal.
 */
int
sidecar_compare_keys(const Batch *batch, const Record *a, const Record *b)
{
	return batch->store.collation == C_COLLATION_OID ? strcmp(a->key, b->key) :
		varstr_cmp(a->key, (int) strlen(a->key), b->key, (int) strlen(b->key), batch->store.collation);
}

/*
 * The record's key as text, or NULL if there is none that could be one.
 */
char	   *
sidecar_record_key(JsonbValue *json, const char *key)
{
	JsonbValue	value;

	if (json->type != jbvBinary || !JsonContainerIsObject(json->val.binary.data) ||
		getKeyJsonValueFromContainer(json->val.binary.data, key, strlen(key), &value) == NULL)
		return NULL;
	switch (value.type)
	{
		case jbvString:
			return sidecar_is_blank(value.val.string.val, value.val.string.len) ? NULL :
				pnstrdup(value.val.string.val, value.val.string.len);
			/* an export that takes a key of digits for a number */
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value.val.numeric)));
		default:
			return NULL;
	}
}

/*
 * Stores converted records, those of one key as one if that comes to the same:
 * of each column the last value that is given, which is what "overwrite" makes
 * of them one by one; or the first record, where stored rows are kept.  A file
 * may have any number of rows of a key, which would be a write, and a dead row
 * that the next one has to pass, each.
 *
 * Each was checked when it was converted.  What only the table refuses, by a
 * constraint or a trigger, is not seen where a later record has another value.
 */
static void
store_merged(Batch *batch, Record **records, int nrecords)
{
	Record	  **wholes = palloc(sizeof(Record *) * nrecords);
	int			nwholes = 0;
	int			n;

	for (int i = 0; i < nrecords; i += n)
	{
		/* what could not be converted has no key, perhaps */
		for (n = 1; i + n < nrecords && records[i]->key != NULL && records[i + n]->key != NULL; n++)
		{
			if (sidecar_compare_keys(batch, records[i], records[i + n]) != 0)
				break;
		}
		nwholes += merge_key(batch, records + i, n, wholes + nwholes);
	}
	store_converted(batch, wholes, nwholes);
	for (int i = 0; i < nwholes; i++)
		tell_members(wholes[i]);
}

/*
 * Merges records of one key, those one after another that their rule lets be
 * merged.  Puts what is to be stored into wholes, and returns how many that are.
 */
static int
merge_key(const Batch *batch, Record **records, int nrecords, Record **wholes)
{
	int			npending = 0;
	int			nwholes = 0;
	int			n;

	for (int i = 0; i < nrecords; i++)
	{
		/* else it could not be converted */
		if (records[i]->outcome == SIDECAR_PENDING)
			wholes[npending++] = records[i];
	}
	for (int start = 0; start < npending; start += n)
	{
		for (n = 1; start + n < npending && can_merge(batch, wholes[start], wholes[start + n]); n++)
			;
		wholes[nwholes++] = merge(batch, wholes + start, n);
	}
	return nwholes;
}

/*
 * The one record that these make.
 */
static Record *
merge(const Batch *batch, Record **members, int nmembers)
{
	Size		n = batch->store.columns.n;
	Record	   *whole;

	if (nmembers == 1)
		return members[0];
	/* their own rows stay as they are: they may have to be stored by fewer */
	whole = palloc(sizeof(Record));
	*whole = *members[0];
	whole->members = memcpy(palloc(sizeof(Record *) * nmembers), members, sizeof(Record *) * nmembers);
	whole->nmembers = nmembers;
	whole->row.values = memcpy(palloc(sizeof(Datum) * n), whole->row.values, sizeof(Datum) * n);
	whole->row.nulls = memcpy(palloc(sizeof(bool) * n), whole->row.nulls, sizeof(bool) * n);
	whole->row.given = bms_copy(whole->row.given);
	for (int i = 1; i < nmembers && !batch->store.keep; i++)
		merge_row(&whole->row, &members[i]->row);
	return whole;
}

/*
 * Stores each half of what a record was merged of that was rejected: a bad
 * record does not cost the others.  At once, so that rows are locked in key
 * order.
 */
static void
store_members(Batch *batch, const Record *whole)
{
	int			half = whole->nmembers / 2;
	Record	   *parts[2];

	parts[0] = merge(batch, whole->members, half);
	parts[1] = merge(batch, whole->members + half, whole->nmembers - half);
	for (int p = 0; p < lengthof(parts); p++)
	{
		store_run(batch, &parts[p], 1);
		tell_members(parts[p]);
	}
}

/*
 * Tells what a record was merged of what became of it; unless it was rejected,
 * which they have been told.
 */
static void
tell_members(const Record *whole)
{
	for (int i = 0; i < whole->nmembers && whole->outcome != SIDECAR_REJECTED; i++)
	{
		whole->members[i]->outcome = whole->outcome;
		whole->members[i]->row.absent = whole->row.absent;
	}
}

/*
 * True if either both of these, which have one key, may change a stored row or
 * neither may, and the second may change what the first has stored.
 */
static bool
can_merge(const Batch *batch, const Record *a, const Record *b)
{
	int			time = batch->store.columns.time;

	if (batch->store.keep)
		return true;
	return a->rule == b->rule && a->row.cleared == NULL && b->row.cleared == NULL &&
		(a->rule == SIDECAR_OVERWRITE ||
		 ((a->rule == SIDECAR_NEWEST || a->rule == SIDECAR_NEWER) &&
		  DatumGetTimestampTz(a->row.values[time]) == DatumGetTimestampTz(b->row.values[time])));
}

static void
merge_row(SidecarRow *whole, const SidecarRow *row)
{
	int			c = -1;

	while ((c = bms_next_member(row->given, c)) >= 0)
	{
		whole->values[c] = row->values[c];
		whole->nulls[c] = row->nulls[c];
	}
	whole->given = bms_add_members(whole->given, row->given);
	/* of the last one is the time, given or now */
	whole->time_given = row->time_given;
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
store_converted(Batch *batch, Record **records, int nrecords)
{
	Record	  **round = palloc(sizeof(Record *) * nrecords);
	int			nround = first_round(batch, records, nrecords, round);

	while (nround > 0)
	{
		int			start = 0;

		for (int i = 1; i <= nround; i++)
		{
			if (i < nround && same_statement(batch, round[i], round[start]))
				continue;
			/* the rest of the round needs another statement */
			store_run(batch, round + start, i - start);
			start = i;
		}
		nround = next_round(round, nround);
	}
}

/*
 * The first record of each key; those that follow it are linked to it.  What
 * could not be converted is none.
 */
static int
first_round(const Batch *batch, Record **records, int nrecords, Record **round)
{
	Record	   *last = NULL;
	int			nround = 0;

	for (int i = 0; i < nrecords; i++)
	{
		/* it could not be converted */
		if (records[i]->outcome != SIDECAR_PENDING)
			continue;
		if (last != NULL && sidecar_compare_keys(batch, last, records[i]) == 0)
			/* its turn comes when the one before it is stored */
			last->next = records[i];
		else
			round[nround++] = records[i];
		last = records[i];
	}
	return nround;
}

/*
 * The next record of each key that has one; returns how many there are.
 */
static int
next_round(Record **round, int nround)
{
	int			nnext = 0;

	for (int i = 0; i < nround; i++)
	{
		Record	   *next = round[i]->next;

		/* the turn of some has come early */
		while (next != NULL && next->outcome != SIDECAR_PENDING)
			next = next->next;
		if (next != NULL)
			round[nnext++] = next;
	}
	return nnext;
}

static bool
same_statement(const Batch *batch, const Record *a, const Record *b)
{
	/* a column that one gives and the other leaves to its default */
	return a->rule == b->rule && bms_equal(a->row.cleared, b->row.cleared) &&
		(bms_equal(a->row.given, b->row.given) ||
		 bms_equal(bms_intersect(a->row.given, batch->defaulted),
				   bms_intersect(b->row.given, batch->defaulted)));
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
	bool		look_first = sidecar_must_look_up(batch->store.table) || batch->deferrable.unchecked;

	/* a single record that fails would be rejected with a poorer reason */
	if (nrecords > 1 && batch->write_first && !look_first && write_together(batch, records, nrecords))
	{
		/* records are being sent again: the next ones are looked up */
		for (int i = 0; i < nrecords; i++)
		{
			if (records[i]->outcome == SIDECAR_UNCHANGED)
				batch->write_first = false;
		}
		return;
	}
	batch->write_first = !look_up(batch, records, nrecords);
	for (int i = 0; i < nrecords; i++)
	{
		if (records[i]->outcome == SIDECAR_PENDING)
			left[nleft++] = records[i];
	}
	if (nleft > 0)
		write_records(batch, left, nleft, true);
}

/*
 * Finds the records that the stored row says already, and those that have no
 * master; returns whether there are any.
 *
 * What a row says already is not written, nor locked: not a byte of WAL.  But
 * one is left to be written, and thereby locked, if its key comes again.
 */
static bool
look_up(Batch *batch, Record **records, int nrecords)
{
	SidecarRow **rows = palloc(sizeof(SidecarRow *) * nrecords);
	Bitmapset  *orphans;
	bool		found;
	int			i = -1;

	for (int r = 0; r < nrecords; r++)
		rows[r] = &records[r]->row;
	orphans = sidecar_look_up_rows(&batch->store, records[0]->rule, rows, nrecords, false);
	found = orphans != NULL;
	while ((i = bms_next_member(orphans, i)) >= 0)
	{
		/* all of its key: a master does not come in between */
		for (Record *record = records[i]; record != NULL; record = record->next)
			reject_orphan(batch, record);
	}
	for (int r = 0; r < nrecords; r++)
	{
		if (rows[r]->outcome != SIDECAR_UNCHANGED)
			continue;
		if (records[r]->next == NULL)
		{
			records[r]->outcome = SIDECAR_UNCHANGED;
			found = true;
		}
		else
			rows[r]->outcome = SIDECAR_PENDING;
	}
	return found;
}

static void
reject_orphan(Batch *batch, Record *record)
{
	/* made in the chunk's context: the error alone outlives that */
	const char *error = sidecar_no_master(batch->store.table, record->key);

	record->outcome = SIDECAR_REJECTED;
	record->sqlstate = ERRCODE_FOREIGN_KEY_VIOLATION;
	record->error = MemoryContextStrdup(batch->answers, error);
	for (int i = 0; i < record->nmembers; i++)
		reject_orphan(batch, record->members[i]);
}

/*
 * Writes the records: all by one statement, or else each half.  may_be_stored:
 * some have rows, perhaps, which need not be inserted.
 */
static void
write_records(Batch *batch, Record **records, int nrecords, bool may_be_stored)
{
	int			half = nrecords / 2;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (write_together(batch, records, nrecords))
	{
		if (nrecords == 1 && records[0]->outcome == SIDECAR_REJECTED && records[0]->nmembers > 0)
			store_members(batch, records[0]);
		/* a row that was not locked must have its next record now */
		if (nrecords == 1 && records[0]->error != NULL && records[0]->next != NULL)
			store_run(batch, &records[0]->next, 1);
		return;
	}
	if (may_be_stored && batch->insert_refused)
	{
		write_stretches(batch, records, nrecords);
		return;
	}

	/*
	 * a thousand records and one bad one: ten failed statements, not a
	 * thousand
	 */
	write_records(batch, records, half, may_be_stored);
	write_records(batch, records + half, nrecords - half, may_be_stored);
}

/*
 * Writes records whose INSERT is refused, perhaps because a new row would need
 * more than they give: by UPDATE those that have rows.  One by one that would be
 * a failed statement for each.
 *
 * Rows are locked in key order, so stretches of the others come in between.
 */
static void
write_stretches(Batch *batch, Record **records, int nrecords)
{
	SidecarRow **rows = palloc(sizeof(SidecarRow *) * nrecords);
	Bitmapset  *absent;
	int			n;

	for (int i = 0; i < nrecords; i++)
		rows[i] = &records[i]->row;
	absent = sidecar_look_up_rows(&batch->store, records[0]->rule, rows, nrecords, true);
	for (int i = 0; i < nrecords; i++)
	{
		/* it is told of what will be locked */
		rows[i]->outcome = SIDECAR_PENDING;
		rows[i]->absent = false;
	}
	for (int start = 0; start < nrecords; start += n)
	{
		bool		is_absent = bms_is_member(start, absent);

		for (n = 1; start + n < nrecords && bms_is_member(start + n, absent) == is_absent; n++)
			;
		if (is_absent)
			write_records(batch, records + start, n, false);
		else if (!update_stored(batch, records + start, n))
		{
			/* one of them is bad */
			write_records(batch, records + start, (n + 1) / 2, n > 1);
			if (n > 1)
				write_records(batch, records + start + (n + 1) / 2, n / 2, true);
		}
	}
}

/*
 * Lets records that have rows change them, and tells what became of each; false:
 * it failed over one of them, or one has no row any more.
 */
static bool
update_stored(Batch *batch, Record **records, int nrecords)
{
	SidecarRow **rows = palloc(sizeof(SidecarRow *) * nrecords);
	Updates		updates = {batch, records, nrecords, 0};
	bool		done = sidecar_try(update_rows, &updates, batch->attempt, NULL) && updates.nfound == nrecords;

	for (int i = 0; i < nrecords; i++)
	{
		rows[i] = &records[i]->row;
		if (!done)
			rows[i]->outcome = SIDECAR_PENDING;
	}
	if (done)
		tell_rest(batch, records, nrecords, rows);
	return done;
}

static void
update_rows(void *arg)
{
	Updates    *updates = arg;
	Batch	   *batch = updates->batch;

	for (int i = 0; i < updates->nrecords; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (sidecar_update_row(&batch->store, updates->records[i]->rule, &updates->records[i]->row))
			updates->nfound++;
	}
	sidecar_check_deferred(&batch->deferrable);
}

/*
 * Writes the records by one statement in a sub-transaction.  Returns false if
 * it failed over one of several; a single one that fails is rejected.
 */
static bool
write_together(Batch *batch, Record **records, int nrecords)
{
	SidecarRow **rows = palloc(sizeof(SidecarRow *) * nrecords);

	for (int i = 0; i < nrecords; i++)
		rows[i] = &records[i]->row;
	if (!try_to_write(batch, records, nrecords, rows))
	{
		/* what it says of some was rolled back */
		for (int i = 0; i < nrecords; i++)
			rows[i]->outcome = SIDECAR_PENDING;
		return false;
	}
	if (nrecords > 1 || records[0]->outcome != SIDECAR_REJECTED)
		tell_rest(batch, records, nrecords, rows);
	return true;
}

/*
 * The sub-transaction of write_together(), which is rolled back if it returns
 * false, or if the only record is rejected.
 */
static bool
try_to_write(Batch *batch, Record **records, int nrecords, SidecarRow **rows)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext attempt;		/* of what a failure leaves behind: a chunk of
								 * bad records has two for each */
	ErrorData  *volatile failure = NULL;
	volatile bool written = false;

	batch->insert_refused = false;
	attempt = AllocSetContextCreate(context, "sidecar attempt", ALLOCSET_DEFAULT_SIZES);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(attempt);
	PG_TRY();
	{
		/* by rule: all of them have the same */
		bool		matched = sidecar_write_rows(&batch->store, records[0]->rule, rows, nrecords);

		if (matched)
		{
			sidecar_check_deferred(&batch->deferrable);
			ReleaseCurrentSubTransaction();
		}
		else
			RollbackAndReleaseCurrentSubTransaction();
		written = matched;
	}
	PG_CATCH();
	{
		failure = sidecar_roll_back(attempt, owner, batch->attempt);
		batch->insert_refused = may_be_of_insert(failure);
		/* SPI's list of relations outlives the sub-transaction */
		(void) SPI_unregister_relation(SIDECAR_CHUNK_NAME);
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	/* of several it is not known which */
	if (failure != NULL && nrecords == 1)
	{
		MemoryContextSwitchTo(attempt);
		if (!batch->insert_refused || !try_to_update(batch, records[0], (ErrorData **) &failure))
			refuse_record(batch, records[0], failure);
		written = true;
	}
	MemoryContextSwitchTo(context);
	MemoryContextDelete(attempt);
	return written;
}

/*
 * True of errors that an INSERT may raise where an UPDATE of the stored row
 * would not: before it looks for that it checks the row as a new one.
 */
static bool
may_be_of_insert(const ErrorData *failure)
{
	return failure->sqlerrcode == ERRCODE_NOT_NULL_VIOLATION ||
		failure->sqlerrcode == ERRCODE_CHECK_VIOLATION ||
		failure->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE;
}

/*
 * Updates the stored row of a record that has refused to be inserted; false:
 * there is none, or it refuses as well, and that is the failure then.
 */
static bool
try_to_update(Batch *batch, Record *record, ErrorData **failure)
{
	Updates		updates = {batch, &record, 1, 0};
	ErrorData  *refusal;

	if (sidecar_try(update_rows, &updates, batch->attempt, &refusal))
		return updates.nfound == 1;
	*failure = refusal;
	return false;
}

/*
 * Rejects a record that cannot be written.  What a policy refuses is the caller's
 * fault, unless somebody else has sent it.
 */
static void
refuse_record(Batch *batch, Record *record, ErrorData *failure)
{
	if (failure->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && !batch->parked)
		ReThrowError(failure);
	sidecar_reject(batch->answers, record, failure, NULL);
}

/*
 * Tells of each record what became of it, when its statement has run.  What was
 * not written was kept by the rule or by a trigger, or is what another session
 * has just stored.  The statement has locked those rows.
 */
static void
tell_rest(Batch *batch, Record **records, int nrecords, SidecarRow **rows)
{
	SidecarRow **left = palloc(sizeof(SidecarRow *) * nrecords);
	int			nleft = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (rows[i]->outcome == SIDECAR_PENDING)
			left[nleft++] = rows[i];
	}
	if (nleft > 0)
		(void) sidecar_look_up_rows(&batch->store, records[0]->rule, left, nleft, true);
	/* neither written, nor what is stored: somebody kept it away */
	for (int i = 0; i < nleft; i++)
	{
		if (left[i]->outcome == SIDECAR_PENDING)
			left[i]->outcome = SIDECAR_SKIPPED;
	}
	for (int i = 0; i < nrecords; i++)
		records[i]->outcome = rows[i]->outcome;
}

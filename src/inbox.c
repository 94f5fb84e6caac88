/*-------------------------------------------------------------------------
 *
 * inbox.c
 *		Foreign tables to INSERT or COPY records into: the wrapper "sidecar".
 *
 * A row becomes a record, as one of a batch: its columns are text, an object of
 * strings then.  Records are kept until their statement ends, on disk beyond
 * work_mem, and stored in key order, so that two statements never wait for each
 * other in a circle over the rows that both bring, and by many rows per write.
 * Only who asks for the outcome of each row has it stored in its turn.
 *
 * What cannot be stored is parked as a batch's, when all else is stored; a NOTICE
 * counts it.
 *
 * EndForeignModify runs SPI.  Whoever calls it (ProcessQuery, SPI, SQL functions,
 * EXPLAIN, CopyFrom) does so before the snapshot of the statement is popped, with
 * the resource owner that was current when it began, and never after an error.
 * So memory, files and open tables of an inbox are the statement's, and go with
 * it, however it ends: they need nobody who looks after them.
 *
 * Memory: "sidecar inbox", below the executor's, lasts as long as the statement;
 * "sidecar answers", below it, has what is wrong with a chunk's records until
 * they are kept; "sidecar records" a chunk of records that is being stored or
 * parked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "commands/copyfrom_internal.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/paths.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "batch.h"

/* The columns of an inbox that are none of the record */
#define INBOX_COL_RULE "on_conflict"
#define INBOX_COL_OUTCOME "outcome"

/* The option of the foreign table */
#define INBOX_OPTION "entity"

/* What is done about a record that cannot be stored */
enum
{
	REJECTS_PARK,
	REJECTS_ERROR
};

/* A record, while it is kept */
enum
{
	KEPT_KEY,
	KEPT_POSITION,
	KEPT_TURN,					/* to be parked, of those that are the same */
	KEPT_LINE,
	KEPT_RULE,					/* its word */
	KEPT_RECORD,				/* jsonb, which is compared as the bytes that
								 * it is */
	KEPT_SQLSTATE,				/* of one that was rejected, as is the next */
	KEPT_ERROR,
	KEPT_COLUMNS
};

/* What a statement has brought so far */
typedef struct Inbox
{
	MemoryContext context;		/* of all this */
	MemoryContext answers;		/* of what is wrong with a chunk's records */
	ResourceOwner owner;		/* of the tables and files: the statement's */
	Oid			role;			/* whose rows these are */
	const SidecarEntity *entity;
	const char *name;			/* of the foreign table */
	Batch	   *batch;
	bool		copying;		/* it is a COPY */
	bool		strict;			/* the first bad record is an error */
	pg_tz	   *session_zone;	/* NULL: it is the table's, as goes without
								 * saying */
	JsonbValue *columns;		/* their names, as keys of an object */
	bool	   *absent;			/* which of them the sidecar lacks */
	AttrNumber	rule;			/* the column for it, or InvalidAttrNumber */
	AttrNumber	outcome;		/* the column, likewise */
	bool		row_by_row;		/* the outcome is asked for */
	TupleTableSlot *kept;		/* a record that is about to be kept */
	TupleTableSlot *got;		/* one that was, as the sort gives it */
	Tuplesortstate *records;	/* by key, those of one key by position */
	int64		nrecords;
	Tuplesortstate *rejects;	/* in the order in which they are parked;
								 * NULL: there is none yet */
	int64		nrejects;
	int64		before;			/* what sidecar_take_numbers() said */
} Inbox;

static const struct config_enum_entry rejects_options[] = {
	{"park", REJECTS_PARK, false},
	{"error", REJECTS_ERROR, false},
	{NULL, 0, false}
};

/* sidecar.inbox_rejects */
static int	inbox_rejects = REJECTS_PARK;

static void estimate_size(PlannerInfo *root, RelOptInfo *rel, Oid relid);
static void add_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid);
static int	is_updatable(Relation rel);
static List *plan_insert(PlannerInfo *root, ModifyTable *plan, Index rti, int subplan);
static void begin_modify(ModifyTableState *mtstate, ResultRelInfo *target, List *private, int subplan, int eflags);
static void begin_insert(ModifyTableState *mtstate, ResultRelInfo *target);
static const SidecarEntity *inbox_entity(Relation rel);
static void learn_columns(Inbox *inbox, Relation rel);
static bool is_same_zone(pg_tz *zone, pg_tz *other);
static bool asks_for(const ModifyTable *plan, Relation rel, const char *column);
static TupleTableSlot *insert_row(EState *estate, ResultRelInfo *target, TupleTableSlot *slot,
								  TupleTableSlot *plan_slot);
static void require_same_role(const Inbox *inbox);
static void read_row(const Inbox *inbox, TupleTableSlot *slot, Record *record);
static void refuse_column(const Inbox *inbox, const char *name);
static void read_rule(Record *record, char *name);
static int64 copy_line(void);
static bool is_convertible(Inbox *inbox, Record *record);
static void store_now(Inbox *inbox, Record *record);
static void put_outcome(const Inbox *inbox, TupleTableSlot *slot, SidecarOutcome outcome);
static Tuplesortstate *begin_sort(const Inbox *inbox, bool to_park);
static void put_record(const Inbox *inbox, Tuplesortstate *sort, const Record *record);
static bool get_record(const Inbox *inbox, Tuplesortstate *sort, Record *record, Size *bytes);
static void end_insert(EState *estate, ResultRelInfo *target);
static void by_chunks(Inbox *inbox, Tuplesortstate *sort, void (*work) (Inbox *inbox, Record *records, int nrecords));
static void store_kept(Inbox *inbox, Record *records, int nrecords);
static void reject(Inbox *inbox, const Record *record, bool in_turn);
static int	tell_place(const Inbox *inbox, const Record *record);
static void park_rejects(Inbox *inbox, Record *records, int nrecords);

PG_FUNCTION_INFO_V1(sidecar_fdw_handler);
PG_FUNCTION_INFO_V1(sidecar_fdw_validator);

/*
 * Defines sidecar.inbox_rejects.
 */
void
sidecar_inbox_init(void)
{
	DefineCustomEnumVariable("sidecar.inbox_rejects",
							 "What is done about a row of an inbox that cannot be stored.",
							 "\"park\" keeps it in the table of parked records"
							 ", \"error\" fails at the first.",
							 &inbox_rejects, REJECTS_PARK, rejects_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

/*
 * sidecar_fdw_handler() RETURNS fdw_handler
 *
 * Tables that take INSERT and COPY, and never have a row.  UPDATE, DELETE and
 * the like are PostgreSQL's to refuse.
 *
 * Errors: what is missing (42P01, 42703, 55000) and a role that may not write
 * (42501) before a row is kept; all else is about records, and they are parked.
 */
Datum
sidecar_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	routine->GetForeignRelSize = estimate_size;
	routine->GetForeignPaths = add_paths;
	routine->IsForeignRelUpdatable = is_updatable;
	routine->PlanForeignModify = plan_insert;
	routine->BeginForeignModify = begin_modify;
	routine->EndForeignModify = end_insert;
	/* COPY, and rows that a partitioned table sends on */
	routine->BeginForeignInsert = begin_insert;
	routine->EndForeignInsert = end_insert;
	/* no batches: rows are kept anyway */
	routine->ExecForeignInsert = insert_row;
	PG_RETURN_POINTER(routine);
}

/*
 * sidecar_fdw_validator(options, catalog) RETURNS void
 *
 * A foreign table has the option "entity", which names one; nothing else has
 * any.  Errors: HV00D, HV00J, 22023.
 */
Datum
sidecar_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	bool		of_table = PG_GETARG_OID(1) == ForeignTableRelationId;
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);

		if (!of_table || strcmp(option->defname, INBOX_OPTION) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", option->defname),
					 of_table ? errhint("The only option is \"" INBOX_OPTION "\".") : 0));
		(void) sidecar_entity(defGetString(option));
	}
	if (of_table && options == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"" INBOX_OPTION "\" is missing"),
				 errdetail("It tells what the rows are about.")));
	PG_RETURN_VOID();
}

static void
estimate_size(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	rel->rows = 0;
}

static void
add_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	/* so that nothing is ever scanned */
	mark_dummy_rel(rel);
}

static int
is_updatable(Relation rel)
{
	return 1 << CMD_INSERT;
}

static List *
plan_insert(PlannerInfo *root, ModifyTable *plan, Index rti, int subplan)
{
	/* an UPDATE or DELETE is refused by the executor, with words of its own */
	if (plan->operation == CMD_INSERT && plan->onConflictAction == ONCONFLICT_UPDATE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an inbox cannot have ON CONFLICT DO UPDATE"),
				 errhint("Each row's column \"" INBOX_COL_RULE "\" tells what becomes of a stored row.")));
	return NIL;
}

static void
begin_modify(ModifyTableState *mtstate, ResultRelInfo *target, List *private, int subplan, int eflags)
{
	/* EXPLAIN alone looks at nothing, and locks nothing */
	if (!(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		begin_insert(mtstate, target);
}

/*
 * Opens an inbox for the statement: all that may be refused is refused before a
 * row is kept.
 */
static void
begin_insert(ModifyTableState *mtstate, ResultRelInfo *target)
{
	Relation	rel = target->ri_RelationDesc;

	/* COPY has none */
	ModifyTable *plan = (ModifyTable *) mtstate->ps.plan;
	MemoryContext context = AllocSetContextCreate(mtstate->ps.state->es_query_cxt, "sidecar inbox",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Inbox	   *inbox = palloc0(sizeof(Inbox));
	TupleDesc	desc = CreateTemplateTupleDesc(KEPT_COLUMNS);

	inbox->context = context;
	inbox->answers = AllocSetContextCreate(context, "sidecar answers", ALLOCSET_DEFAULT_SIZES);
	inbox->owner = CurrentResourceOwner;
	inbox->role = GetUserId();
	inbox->entity = inbox_entity(rel);
	inbox->name = pstrdup(RelationGetRelationName(rel));
	inbox->batch = sidecar_begin_batch(inbox->entity, inbox->answers);
	inbox->batch->merging = true;
	/* by the plan: a partition that is routed to is not planned itself */
	inbox->batch->store.keep = plan != NULL && plan->onConflictAction == ONCONFLICT_NOTHING;
	inbox->copying = plan == NULL;
	inbox->strict = inbox_rejects == REJECTS_ERROR;
	if (!is_same_zone(inbox->batch->store.table->binding->zone, session_timezone))
		inbox->session_zone = session_timezone;
	learn_columns(inbox, rel);
	inbox->row_by_row = inbox->outcome != InvalidAttrNumber && plan != NULL &&
		asks_for(plan, target->ri_RootResultRelInfo ? target->ri_RootResultRelInfo->ri_RelationDesc : rel,
				 INBOX_COL_OUTCOME);

	TupleDescInitEntry(desc, KEPT_KEY + 1, NULL, TEXTOID, -1, 0);
	TupleDescInitEntry(desc, KEPT_POSITION + 1, NULL, INT8OID, -1, 0);
	TupleDescInitEntry(desc, KEPT_TURN + 1, NULL, INT8OID, -1, 0);
	TupleDescInitEntry(desc, KEPT_LINE + 1, NULL, INT8OID, -1, 0);
	TupleDescInitEntry(desc, KEPT_RULE + 1, NULL, TEXTOID, -1, 0);
	TupleDescInitEntry(desc, KEPT_RECORD + 1, NULL, BYTEAOID, -1, 0);
	TupleDescInitEntry(desc, KEPT_SQLSTATE + 1, NULL, INT4OID, -1, 0);
	TupleDescInitEntry(desc, KEPT_ERROR + 1, NULL, TEXTOID, -1, 0);
	inbox->kept = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	inbox->got = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	inbox->records = begin_sort(inbox, false);
	target->ri_FdwState = inbox;
	MemoryContextSwitchTo(old);
}

/*
 * What the foreign table's rows are about.  Error: it does not say (HV00J).
 */
static const SidecarEntity *
inbox_entity(Relation rel)
{
	ListCell   *lc;

	foreach(lc, GetForeignTable(RelationGetRelid(rel))->options)
	{
		DefElem    *option = lfirst(lc);

		if (strcmp(option->defname, INBOX_OPTION) == 0)
			return sidecar_entity(defGetString(option));
	}
	/* the wrapper may have lost its validator */
	ereport(ERROR,
			(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
			 errmsg("foreign table \"%s\" has no option \"" INBOX_OPTION "\"", RelationGetRelationName(rel))));
}

/*
 * The foreign table's columns are a record's, and ours.  Errors: one is not text
 * (42804), none is the key (42P17).
 *
 * One that the sidecar lacks may be there, as long as nobody uses it: the
 * column was dropped, or is not there yet.
 */
static void
learn_columns(Inbox *inbox, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		has_key = false;

	inbox->columns = palloc0(sizeof(JsonbValue) * desc->natts);
	inbox->absent = palloc0(sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		JsonbValue *column = &inbox->columns[i];

		if (att->attisdropped)
			continue;
		if (att->atttypid != TEXTOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of foreign table \"%s\" is not text",
							NameStr(att->attname), inbox->name)));
		if (strcmp(NameStr(att->attname), INBOX_COL_RULE) == 0)
			inbox->rule = att->attnum;
		else if (strcmp(NameStr(att->attname), INBOX_COL_OUTCOME) == 0)
			inbox->outcome = att->attnum;
		else
			inbox->absent[i] = get_attnum(RelationGetRelid(inbox->batch->store.table->rel),
										  NameStr(att->attname)) == InvalidAttrNumber;
		if (strcmp(NameStr(att->attname), inbox->entity->key) == 0)
			has_key = true;
		column->type = jbvString;
		column->val.string.val = pstrdup(NameStr(att->attname));
		column->val.string.len = (int) strlen(column->val.string.val);
	}
	if (!has_key)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("foreign table \"%s\" has no column \"%s\"", inbox->name, inbox->entity->key)));
}

/*
 * True of zones, the first of which may be NULL, that are one whatever they are
 * called: UTC and Etc/UTC.
 */
static bool
is_same_zone(pg_tz *zone, pg_tz *other)
{
	long		offset;
	long		other_offset;

	return zone == other ||
		(zone != NULL && pg_get_timezone_offset(zone, &offset) &&
		 pg_get_timezone_offset(other, &other_offset) && offset == other_offset);
}

/*
 * True if RETURNING has the column, or the whole row, of the table that the
 * statement names, which may be one that our partition belongs to.
 */
static bool
asks_for(const ModifyTable *plan, Relation rel, const char *column)
{
	List	   *vars;
	ListCell   *lc;

	if (plan->returningLists == NIL)
		return false;
	/* an INSERT has one result relation; the projection is not made yet */
	vars = pull_var_clause(linitial(plan->returningLists),
						   PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS);
	foreach(lc, vars)
	{
		Var		   *var = lfirst_node(Var, lc);

		if (var->varno != linitial_int(plan->resultRelations))
			continue;
		if (var->varattno == InvalidAttrNumber)
			return true;
		if (var->varattno > 0 &&
			strcmp(NameStr(TupleDescAttr(RelationGetDescr(rel), var->varattno - 1)->attname), column) == 0)
			return true;
	}
	return false;
}

/*
 * Takes a row: keeps it, or stores it now if its outcome is asked for.  Every row
 * counts, and is returned, whatever becomes of it.
 */
static TupleTableSlot *
insert_row(EState *estate, ResultRelInfo *target, TupleTableSlot *slot, TupleTableSlot *plan_slot)
{
	Inbox	   *inbox = target->ri_FdwState;

	/* per row, whoever calls: it is reset before the next one */
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	Record		record = {0};

	require_same_role(inbox);
	record.position = inbox->nrecords++;
	record.line = inbox->copying ? copy_line() : 0;
	read_row(inbox, slot, &record);
	if (record.outcome == SIDECAR_REJECTED || (inbox->strict && !is_convertible(inbox, &record)))
		reject(inbox, &record, true);
	else if (inbox->row_by_row)
		store_now(inbox, &record);
	else
		put_record(inbox, inbox->records, &record);
	if (inbox->row_by_row)
		put_outcome(inbox, slot, record.outcome);
	MemoryContextSwitchTo(old);
	return slot;
}

/*
 * Raises 55000 if this is another role than that whose statement it was: what
 * one may store the other may not, perhaps.
 */
static void
require_same_role(const Inbox *inbox)
{
	if (GetUserId() != inbox->role)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows for \"%s\" cannot be stored", inbox->name),
				 errdetail("The role has changed while the statement was running.")));
}

/*
 * Makes the row a record.
 */
static void
read_row(const Inbox *inbox, TupleTableSlot *slot, Record *record)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	JsonbParseState *state = NULL;

	slot_getallattrs(slot);
	record->entity = inbox->entity;
	record->from_text = true;
	record->session_zone = inbox->session_zone;
	record->time = GetCurrentTransactionStartTimestamp();
	record->rule = sidecar_choose(&sidecar_on_conflict, NULL);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		AttrNumber	attnum = (AttrNumber) (i + 1);
		JsonbValue	value;

		/* NULL is not given */
		if (slot->tts_isnull[i] || TupleDescAttr(desc, i)->attisdropped)
			continue;
		value.type = jbvString;
		value.val.string.val = TextDatumGetCString(slot->tts_values[i]);
		value.val.string.len = (int) strlen(value.val.string.val);
		if (attnum == inbox->rule)
		{
			read_rule(record, value.val.string.val);
			continue;
		}
		else if (attnum == inbox->outcome)
		{
			/* that is ours to give: a column of that name can have no value */
			if (sidecar_is_blank(value.val.string.val, value.val.string.len))
				continue;
			sidecar_refuse(record, psprintf("column \"" INBOX_COL_OUTCOME "\" of an inbox cannot be given"));
		}
		if (inbox->absent[i])
		{
			if (!sidecar_is_blank(value.val.string.val, (int) strlen(value.val.string.val)))
				refuse_column(inbox, inbox->columns[i].val.string.val);
			continue;
		}
		(void) pushJsonbValue(&state, WJB_KEY, &inbox->columns[i]);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	JsonbToJsonbValue(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)), &record->json);
	record->key = sidecar_record_key(&record->json, inbox->entity->key);

	/* the clause is the statement's, and the nearest rule for who retries */
	if (inbox->batch->store.keep)
		record->rule = SIDECAR_FILL;
}

/*
 * Raises 42703: a row gives a column that the sidecar lacks.  That is not the
 * row's fault, and the next ones will do it too.
 */
static void
refuse_column(const Inbox *inbox, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("sidecar table %s has no column \"%s\"",
					sidecar_relation_sql(inbox->batch->store.table->binding->sidecar), name),
			 errhint("Leave it out, or add it to the table: \"SELECT sidecar_install()\" does that if it is one of sidecar's own.")));
}

/*
 * Reads the row's rule; a record whose rule is none is rejected, and parked with
 * that word, to be mended.
 */
static void
read_rule(Record *record, char *name)
{
	int			rule = sidecar_find_word(&sidecar_on_conflict, name);

	if (sidecar_is_blank(name, (int) strlen(name)))
		return;
	if (rule >= 0)
	{
		record->rule = rule;
		return;
	}
	record->wrong_rule = name;
	sidecar_refuse(record, psprintf("unknown on_conflict \"%s\"", name));
}

/*
 * The line of the file that COPY is at.
 *
 * GetErrorContextStack() tells it too, as a text, with the line's beginning: too
 * much to make and to keep of every row, and what is wrong with most bad ones is
 * found when COPY has gone on.
 */
static int64
copy_line(void)
{
	for (ErrorContextCallback *context = error_context_stack; context != NULL; context = context->previous)
	{
		if (context->callback == CopyFromErrorCallback)
			return (int64) ((CopyFromState) context->arg)->cur_lineno;
	}
	return 0;
}

/*
 * True if the record can be converted; else it tells why not.
 */
static bool
is_convertible(Inbox *inbox, Record *record)
{
	int			nestlevel = sidecar_enter_zone(inbox->batch->store.table);

	sidecar_convert_records(&inbox->batch->converter, &record, 1);
	sidecar_leave_zone(nestlevel);
	memset(&record->row, 0, sizeof(record->row));
	return record->outcome == SIDECAR_PENDING;
}

/*
 * Stores the record in its turn.
 */
static void
store_now(Inbox *inbox, Record *record)
{
	sidecar_store_chunk(inbox->batch, &record, 1);
	if (record->outcome == SIDECAR_REJECTED)
		reject(inbox, record, true);
	MemoryContextReset(inbox->answers);
}

/*
 * Makes the row say what has become of it.
 */
static void
put_outcome(const Inbox *inbox, TupleTableSlot *slot, SidecarOutcome outcome)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	memcpy(values, slot->tts_values, sizeof(Datum) * desc->natts);
	memcpy(nulls, slot->tts_isnull, sizeof(bool) * desc->natts);
	values[inbox->outcome - 1] = CStringGetTextDatum(sidecar_outcome_name(outcome));
	nulls[inbox->outcome - 1] = false;
	/* a whole tuple, which is what RETURNING of the whole row takes */
	ExecForceStoreHeapTuple(heap_form_tuple(desc, values, nulls), slot, false);
}

/*
 * A sort of kept records by key: to be stored, those of one key by position; or
 * to be parked.  So batches lock, too, and park: see compare_rejected().
 */
static Tuplesortstate *
begin_sort(const Inbox *inbox, bool to_park)
{
	AttrNumber	to_store_keys[] = {KEPT_KEY + 1, KEPT_POSITION + 1};
	AttrNumber	to_park_keys[] = {KEPT_KEY + 1, KEPT_RULE + 1, KEPT_RECORD + 1, KEPT_TURN + 1};
	AttrNumber *keys = to_park ? to_park_keys : to_store_keys;
	int			nkeys = to_park ? lengthof(to_park_keys) : lengthof(to_store_keys);
	Oid			operators[lengthof(to_park_keys)];
	Oid			collations[lengthof(to_park_keys)];
	bool		nulls_first[lengthof(to_park_keys)] = {false};

	for (int k = 0; k < nkeys; k++)
	{
		Form_pg_attribute att = TupleDescAttr(inbox->got->tts_tupleDescriptor, keys[k] - 1);

		operators[k] = lookup_type_cache(att->atttypid, TYPECACHE_LT_OPR)->lt_opr;
		/* as batches do; content byte by byte */
		collations[k] = att->atttypid != TEXTOID ? InvalidOid : to_park ? C_COLLATION_OID : inbox->batch->store.collation;
	}
	return tuplesort_begin_heap(inbox->got->tts_tupleDescriptor, nkeys, keys,
								operators, collations, nulls_first,
								work_mem, NULL, TUPLESORT_NONE);
}

static void
put_record(const Inbox *inbox, Tuplesortstate *sort, const Record *record)
{
	TupleTableSlot *slot = inbox->kept;
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;
	ResourceOwner owner = CurrentResourceOwner;
	JsonbValue	json = record->json;

	ExecClearTuple(slot);
	memset(nulls, false, sizeof(bool) * KEPT_COLUMNS);
	nulls[KEPT_KEY] = record->key == NULL;
	values[KEPT_KEY] = record->key == NULL ? (Datum) 0 : CStringGetTextDatum(record->key);
	values[KEPT_POSITION] = Int64GetDatum(record->position);
	values[KEPT_TURN] = Int64GetDatum(sidecar_turn_to_park(record));
	values[KEPT_LINE] = Int64GetDatum(record->line);
	values[KEPT_RULE] = CStringGetTextDatum(sidecar_rule_word(record));
	values[KEPT_RECORD] = JsonbPGetDatum(JsonbValueToJsonb(&json));
	values[KEPT_SQLSTATE] = Int32GetDatum(record->sqlstate);
	nulls[KEPT_ERROR] = record->error == NULL;
	values[KEPT_ERROR] = record->error == NULL ? (Datum) 0 : CStringGetTextDatum(record->error);

	ExecStoreVirtualTuple(slot);

	/* the file is the statement's, whatever it is running at the moment */
	CurrentResourceOwner = inbox->owner;
	tuplesort_puttupleslot(sort, slot);
	CurrentResourceOwner = owner;
}

/*
 * Makes *record the next one, or returns false if there is none.  Adds its size
 * to *bytes.
 */
static bool
get_record(const Inbox *inbox, Tuplesortstate *sort, Record *record, Size *bytes)
{
	TupleTableSlot *slot = inbox->got;
	Jsonb	   *json;
	char	   *rule;
	int			number;

	if (!tuplesort_gettupleslot(sort, true, false, slot, NULL))
		return false;
	slot_getallattrs(slot);
	memset(record, 0, sizeof(Record));
	record->entity = inbox->entity;
	record->from_text = true;
	record->session_zone = inbox->session_zone;
	record->time = GetCurrentTransactionStartTimestamp();
	if (!slot->tts_isnull[KEPT_KEY])
		record->key = TextDatumGetCString(slot->tts_values[KEPT_KEY]);
	record->position = DatumGetInt64(slot->tts_values[KEPT_POSITION]);
	record->line = DatumGetInt64(slot->tts_values[KEPT_LINE]);
	rule = TextDatumGetCString(slot->tts_values[KEPT_RULE]);
	number = sidecar_find_word(&sidecar_on_conflict, rule);
	if (number < 0)
		record->wrong_rule = rule;
	else
		record->rule = number;
	/* the slot is the next one's soon */
	json = DatumGetJsonbPCopy(slot->tts_values[KEPT_RECORD]);
	JsonbToJsonbValue(json, &record->json);
	*bytes += VARSIZE(json);
	record->sqlstate = DatumGetInt32(slot->tts_values[KEPT_SQLSTATE]);
	if (!slot->tts_isnull[KEPT_ERROR])
	{
		record->error = TextDatumGetCString(slot->tts_values[KEPT_ERROR]);
		record->outcome = SIDECAR_REJECTED;
	}
	return true;
}

/*
 * Stores what was kept.  Not called after an error.
 */
static void
end_insert(EState *estate, ResultRelInfo *target)
{
	Inbox	   *inbox = target->ri_FdwState;
	MemoryContext old;
	ResourceOwner owner = CurrentResourceOwner;

	/* EXPLAIN */
	if (inbox == NULL)
		return;
	target->ri_FdwState = NULL;
	require_same_role(inbox);
	old = MemoryContextSwitchTo(inbox->context);
	CurrentResourceOwner = inbox->owner;
	by_chunks(inbox, inbox->records, store_kept);
	inbox->before = sidecar_take_numbers(inbox->nrecords);
	if (inbox->rejects != NULL)
		by_chunks(inbox, inbox->rejects, park_rejects);
	sidecar_end_batch(inbox->batch);
	ExecDropSingleTupleTableSlot(inbox->kept);
	ExecDropSingleTupleTableSlot(inbox->got);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	if (inbox->nrejects > 0)
	{
		/* which may ask the catalog: not in the midst of a message */
		const char *rejects = sidecar_relation_sql(sidecar_lookup(&sidecar_entities[SIDECAR_PARKED])->sidecar);

		ereport(NOTICE,
				(errmsg_plural("%lld of %lld rows for \"%s\" was rejected",
							   "%lld of %lld rows for \"%s\" were rejected",
							   (unsigned long) inbox->nrejects,
							   (long long) inbox->nrejects, (long long) inbox->nrecords, inbox->name),
				 errhint("What is wrong is told in %s.", rejects)));
	}
	MemoryContextDelete(inbox->context);
}

/*
 * Does the work for the sorted records, a chunk of them at a time.
 */
static void
by_chunks(Inbox *inbox, Tuplesortstate *sort, void (*work) (Inbox *inbox, Record *records, int nrecords))
{
	MemoryContext context = AllocSetContextCreate(inbox->context, "sidecar records", ALLOCSET_DEFAULT_SIZES);
	Record	   *records = palloc(sizeof(Record) * SIDECAR_CHUNK);

	/* converting makes a few times as much of it */
	Size		limit = work_mem * (Size) 1024 / 4;
	int			n;

	tuplesort_performsort(sort);
	do
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Size		bytes = 0;

		for (n = 0; n < SIDECAR_CHUNK && bytes < limit; n++)
		{
			if (!get_record(inbox, sort, &records[n], &bytes))
				break;
		}
		if (n > 0)
			work(inbox, records, n);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	} while (n > 0);
	MemoryContextDelete(context);
	tuplesort_end(sort);
}

/*
 * Stores kept records, which are in key order.
 */
static void
store_kept(Inbox *inbox, Record *records, int nrecords)
{
	Record	  **order = palloc(sizeof(Record *) * nrecords);

	for (int i = 0; i < nrecords; i++)
		order[i] = &records[i];
	sidecar_store_chunk(inbox->batch, order, nrecords);
	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].outcome == SIDECAR_REJECTED)
			reject(inbox, &records[i], false);
	}
	MemoryContextReset(inbox->answers);
}

/*
 * Keeps a record that cannot be stored, to be parked; or raises why, with the
 * record's own SQLSTATE.
 */
static void
reject(Inbox *inbox, const Record *record, bool in_turn)
{
	if (inbox->strict)
		ereport(ERROR,
				(errcode(record->sqlstate),
				 errmsg_internal("%s", record->error),
		/* in a line's own turn COPY tells it */
				 in_turn && record->line > 0 ? 0 : tell_place(inbox, record)));
	if (inbox->rejects == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(inbox->context);

		inbox->rejects = begin_sort(inbox, true);
		MemoryContextSwitchTo(old);
	}
	put_record(inbox, inbox->rejects, record);
	inbox->nrejects++;
}

/*
 * Adds to an error which row it is about.
 */
static int
tell_place(const Inbox *inbox, const Record *record)
{
	if (record->line > 0)
		return errcontext("COPY %s, line %lld", inbox->name, (long long) record->line);
	return errcontext("row %lld for \"%s\"", (long long) record->position + 1, inbox->name);
}

/*
 * Parks what was rejected.
 */
static void
park_rejects(Inbox *inbox, Record *records, int nrecords)
{
	sidecar_park(records, nrecords, inbox->before);
}

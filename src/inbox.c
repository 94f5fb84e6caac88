/*-------------------------------------------------------------------------
 *
 * inbox.c
 *		Views to INSERT or COPY records into.
 *
 * The row trigger checks a row and keeps it; the statement trigger stores what
 * its statement has brought: in key order, so that two statements seldom wait
 * for each other and never in a circle over the rows that both bring, and by
 * many rows per write.  Rows of one key become one record first, of the last
 * value given for each column: what "overwrite" makes of them one by one.
 *
 * Kept rows go to disk beyond work_mem.  An error on the way takes them away
 * with everything else that the statement has done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "sidecar.h"

/* What a statement has brought so far */
typedef struct Inbox
{
	struct Inbox *next;
	Oid			view;
	SubTransactionId subxact;
	Oid			role;			/* who may write, or not */
	const SidecarEntity *entity;
	MemoryContext context;		/* of all this */
	SidecarColumns columns;
	TupleDesc	desc;			/* of a chunk: the columns, the position, and
								 * whether the time was given */
	ResourceOwner owner;		/* of the files that rows go to: the
								 * transaction's, like their memory */
	TupleTableSlot *slot;
	Tuplesortstate *rows;
	int64		nrows;
} Inbox;

/* Those whose statements are still running */
static Inbox *inboxes = NULL;

static void keep_row(Inbox *inbox, const TriggerData *trigdata);
static void require_statement_trigger(Relation view, Oid function);
static void require_same_columns(const Inbox *inbox, Relation view);
static Inbox *find_inbox(Oid view);
static void refuse_mixed_roles(Oid view);
static Inbox *open_inbox(Relation view, const Trigger *trigger);
static void learn_columns(Inbox *inbox, const SidecarTable *table, Relation view);
sidecar_noreturn static void refuse_view(Relation view, const char *detail);
static Tuplesortstate *begin_sort(TupleDesc desc, AttrNumber position);
static void close_inbox(Inbox *inbox);
static void store_rows(Inbox *inbox);
static bool merge_rows(Inbox *inbox, TupleTableSlot *row, TupleTableSlot *next, Datum *values, bool *nulls,
					   MemoryContext context);
static void write_rows(const Inbox *inbox, Tuplestorestate *chunk, int nrows, MemoryContext context);
static void forget_inboxes(SubTransactionId subxact);
static void refuse_unstored(SubTransactionId subxact);
static void transaction_ends(XactEvent event, void *arg);
static void subtransaction_ends(SubXactEvent event, SubTransactionId subxact,
								SubTransactionId parent, void *arg);

PG_FUNCTION_INFO_V1(sidecar_inbox_insert);

/*
 * Registers what looks after kept rows at the end of a transaction.
 */
void
sidecar_inbox_init(void)
{
	RegisterXactCallback(transaction_ends, NULL);
	RegisterSubXactCallback(subtransaction_ends, NULL);
}

/*
 * sidecar_inbox_insert() RETURNS trigger
 *
 * Of a view whose columns are a record's, twice: INSTEAD OF INSERT FOR EACH
 * ROW, with the entity as its argument, and AFTER INSERT FOR EACH STATEMENT.
 * Stores the rows under "overwrite" at the end of their statement.  The row
 * trigger returns the row, so that INSERT ... RETURNING and COPY count it.
 *
 * Errors: those of sidecar_upsert_company(), what is wrong with a value in its
 * row's turn and all else at the end; 39P01 when called in another way; 22023
 * when there is no such entity; 42P17 when the view's columns are not those of
 * a record; and 55000 when a transaction ends that has rows left, for want of
 * the statement trigger.
 */
Datum
sidecar_inbox_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TriggerEvent event;
	Inbox	   *inbox;

	/* a role may call it as a function */
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger function was not called as a trigger")));
	event = trigdata->tg_event;
	inbox = find_inbox(RelationGetRelid(trigdata->tg_relation));
	if (TRIGGER_FIRED_AFTER(event) && TRIGGER_FIRED_FOR_STATEMENT(event) &&
		TRIGGER_FIRED_BY_INSERT(event))
	{
		/* none: the statement has brought no row */
		refuse_mixed_roles(RelationGetRelid(trigdata->tg_relation));
		if (inbox != NULL)
			store_rows(inbox);
		return PointerGetDatum(NULL);
	}
	if (!TRIGGER_FIRED_INSTEAD(event) || !TRIGGER_FIRED_BY_INSERT(event) ||
		trigdata->tg_trigger->tgnargs != 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must be fired INSTEAD OF INSERT, with the entity as its argument, or AFTER INSERT FOR EACH STATEMENT",
						trigdata->tg_trigger->tgname)));
	if (inbox == NULL)
		inbox = open_inbox(trigdata->tg_relation, trigdata->tg_trigger);
	keep_row(inbox, trigdata);

	/*
	 * not the tuple itself: of what a trigger returns PostgreSQL frees no
	 * copy
	 */
	return PointerGetDatum(heap_copytuple(trigdata->tg_trigtuple));
}

/*
 * Checks a row and keeps it.
 */
static void
keep_row(Inbox *inbox, const TriggerData *trigdata)
{
	TupleTableSlot *slot = inbox->slot;
	SidecarRow	row = {0};
	int			n = inbox->columns.n;
	ResourceOwner owner = CurrentResourceOwner;

	require_same_columns(inbox, trigdata->tg_relation);
	ExecClearTuple(slot);
	heap_deform_tuple(trigdata->tg_trigtuple, RelationGetDescr(trigdata->tg_relation),
					  slot->tts_values, slot->tts_isnull);
	/* in its row's turn, so that COPY can name the line */
	row.values = slot->tts_values;
	row.nulls = slot->tts_isnull;
	sidecar_check_row(&inbox->columns, &row);
	sidecar_set_time(&inbox->columns, &row, GetCurrentTransactionStartTimestamp());
	slot->tts_values[n] = Int64GetDatum(inbox->nrows++);
	slot->tts_values[n + 1] = BoolGetDatum(row.time_given);
	slot->tts_isnull[n] = slot->tts_isnull[n + 1] = false;
	ExecStoreVirtualTuple(slot);

	/* the statement's would close the file under us, should it end before us */
	CurrentResourceOwner = inbox->owner;
	tuplesort_puttupleslot(inbox->rows, slot);
	CurrentResourceOwner = owner;
}

/*
 * Raises 42P17 unless the view has the trigger that stores what the row trigger
 * keeps, whenever that fires: enabled, unconditional.
 */
static void
require_statement_trigger(Relation view, Oid function)
{
	for (int i = 0; i < view->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &view->trigdesc->triggers[i];

		if (trigger->tgfoid == function && TRIGGER_FOR_AFTER(trigger->tgtype) &&
			!TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_INSERT(trigger->tgtype) &&
			trigger->tgqual == NULL &&
		/* as PostgreSQL decides whether it fires */
			(trigger->tgenabled == TRIGGER_FIRES_ALWAYS ||
			 trigger->tgenabled == (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ?
									TRIGGER_FIRES_ON_REPLICA : TRIGGER_FIRES_ON_ORIGIN)))
			return;
	}
	refuse_view(view, "It has no trigger AFTER INSERT FOR EACH STATEMENT without a condition "
				"that calls sidecar_inbox_insert().");
}

/*
 * Raises 55000 if the view is not what it was when the inbox was opened.
 */
static void
require_same_columns(const Inbox *inbox, Relation view)
{
	TupleDesc	desc = RelationGetDescr(view);
	bool		same = desc->natts == inbox->columns.n;

	for (int i = 0; i < desc->natts && same; i++)
		same = TupleDescAttr(desc, i)->atttypid == TupleDescAttr(inbox->desc, i)->atttypid &&
			TupleDescAttr(desc, i)->atttypmod == TupleDescAttr(inbox->desc, i)->atttypmod &&
			strcmp(NameStr(TupleDescAttr(desc, i)->attname), inbox->columns.columns[i]->name) == 0;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the columns of view \"%s\" have changed while it has rows that are not stored",
						RelationGetRelationName(view))));
}

/*
 * The inbox of the statement that is running, or NULL.
 *
 * A statement within that statement, in a function that it calls, stores the
 * rows of both when it ends, which is as well as later.  But not those of an
 * outer transaction, which may survive it, nor with another role's privileges.
 */
static Inbox *
find_inbox(Oid view)
{
	for (Inbox *inbox = inboxes; inbox != NULL; inbox = inbox->next)
	{
		/*
		 * another role's rows are stored by its own statement trigger, or not
		 * at all
		 */
		if (inbox->view == view && inbox->role == GetUserId() &&
			inbox->subxact == GetCurrentSubTransactionId())
			return inbox;
	}
	return NULL;
}

/*
 * Raises 55000 if the statement has also brought rows by another role.  They
 * are not stored by this one, nor may they wait for a later statement: what
 * they point to may be gone by then.
 */
static void
refuse_mixed_roles(Oid view)
{
	for (Inbox *inbox = inboxes; inbox != NULL; inbox = inbox->next)
	{
		if (inbox->view == view && inbox->subxact == GetCurrentSubTransactionId() &&
			inbox->role != GetUserId())
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%lld rows for view \"%s\" were not stored",
							(long long) inbox->nrows, get_rel_name(view)),
					 errdetail("The role has changed while the statement was running.")));
	}
}

/*
 * Makes an inbox, for the entity that the row trigger names.
 */
static Inbox *
open_inbox(Relation view, const Trigger *trigger)
{
	const SidecarEntity *entity = sidecar_entity(trigger->tgargs[0]);
	SidecarTable *table = sidecar_open(entity, RowExclusiveLock, false);
	MemoryContext context = AllocSetContextCreate(CurTransactionContext, "sidecar inbox",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Inbox	   *inbox = palloc0(sizeof(Inbox));

	/* all that may be refused is refused before a row is kept */
	require_statement_trigger(view, trigger->tgfoid);
	sidecar_require_master(table);
	inbox->context = context;
	/* the statement's resource owner may go before the rows do */
	inbox->owner = CurTransactionResourceOwner;
	inbox->view = RelationGetRelid(view);
	inbox->role = GetUserId();
	inbox->subxact = GetCurrentSubTransactionId();
	inbox->entity = entity;
	learn_columns(inbox, table, view);
	inbox->desc = sidecar_chunk_desc(&inbox->columns);
	inbox->slot = MakeSingleTupleTableSlot(inbox->desc, &TTSOpsVirtual);
	inbox->rows = begin_sort(inbox->desc, (AttrNumber) (inbox->columns.n + 1));
	MemoryContextSwitchTo(old);
	sidecar_close(table);
	inbox->next = inboxes;
	inboxes = inbox;
	return inbox;
}

/*
 * The view's columns are a record's: the key first.  Errors: they are not
 * (42P17), or the table has no such column (42703).
 */
static void
learn_columns(Inbox *inbox, const SidecarTable *table, Relation view)
{
	TupleDesc	desc = RelationGetDescr(view);
	SidecarColumns *columns = &inbox->columns;

	columns->n = desc->natts;
	columns->columns = palloc(sizeof(SidecarColumn *) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = NameStr(att->attname);
		SidecarColumn *column = sidecar_describe_column(sidecar_column(table, name));

		/* no cast in between, which could be somebody's own */
		if (att->atttypid != column->given_type)
			refuse_view(view, psprintf("Its column \"%s\" is of type %s, not %s.", name,
									   format_type_be(att->atttypid), format_type_be(column->given_type)));

		/*
		 * the view's values are of its own lengths: the table's are for the
		 * write
		 */
		column->given_typmod = att->atttypmod;
		columns->columns[i] = column;
		if (strcmp(name, SIDECAR_COL_TIME) == 0)
			columns->time = i;
	}

	/* the time is not the first, which is the key */
	if (strcmp(columns->columns[0]->name, inbox->entity->key) != 0 || columns->time == 0)
		refuse_view(view, psprintf("Its first column must be \"%s\", and \"%s\" among the others.",
								   inbox->entity->key, SIDECAR_COL_TIME));
}

static void
refuse_view(Relation view, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("view \"%s\" cannot be an inbox", RelationGetRelationName(view)),
			 errdetail("%s", detail)));
}

/*
 * A sort by key, and of one key by position.
 */
static Tuplesortstate *
begin_sort(TupleDesc desc, AttrNumber position)
{
	AttrNumber	keys[] = {1, position};
	Oid			operators[] = {TextLessOperator, Int8LessOperator};

	/* byte by byte: the order in which batches lock, too */
	Oid			collations[] = {C_COLLATION_OID, InvalidOid};
	bool		nulls_first[] = {false, false};

	return tuplesort_begin_heap(desc, lengthof(keys), keys, operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
}

/*
 * Takes an inbox out of those that are open.
 */
static void
close_inbox(Inbox *inbox)
{
	for (Inbox **link = &inboxes; *link != NULL; link = &(*link)->next)
	{
		if (*link == inbox)
		{
			*link = inbox->next;
			return;
		}
	}
}

/*
 * Stores the rows that an inbox has kept.
 */
static void
store_rows(Inbox *inbox)
{
	Datum	   *values = palloc(sizeof(Datum) * inbox->desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * inbox->desc->natts);
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext context;		/* of what is made for a chunk */
	TupleTableSlot *row;
	TupleTableSlot *next;
	bool		more;

	/* out of the list first: what is stored may bring further rows */
	close_inbox(inbox);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	context = AllocSetContextCreate(CurrentMemoryContext, "sidecar inbox chunk", ALLOCSET_DEFAULT_SIZES);
	/* minimal tuples are what the sort gives */
	row = MakeSingleTupleTableSlot(inbox->desc, &TTSOpsMinimalTuple);
	next = MakeSingleTupleTableSlot(inbox->desc, &TTSOpsMinimalTuple);

	/* its files are the transaction's, as in keep_row() */
	CurrentResourceOwner = inbox->owner;
	tuplesort_performsort(inbox->rows);
	CurrentResourceOwner = owner;
	more = tuplesort_gettupleslot(inbox->rows, true, true, row, NULL);
	while (more)
	{
		Tuplestorestate *chunk = tuplestore_begin_heap(true, false, work_mem);
		int			nrows = 0;

		for (; more && nrows < SIDECAR_CHUNK; nrows++)
		{
			TupleTableSlot *merged = row;

			more = merge_rows(inbox, row, next, values, nulls, context);
			tuplestore_putvalues(chunk, inbox->desc, values, nulls);
			row = next;
			next = merged;
		}
		write_rows(inbox, chunk, nrows, context);
		tuplestore_end(chunk);
		MemoryContextReset(context);
	}
	tuplesort_end(inbox->rows);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	MemoryContextDelete(inbox->context);
}

/*
 * Makes one row of the row at hand and those that follow it with the same key:
 * of each column the last value that is given.  The row after them is in next;
 * returns whether there is one.
 *
 * Values of those that follow are copied into the context; what one takes the
 * place of is freed: there may be any number of rows of one key.
 */
static bool
merge_rows(Inbox *inbox, TupleTableSlot *row, TupleTableSlot *next, Datum *values, bool *nulls,
		   MemoryContext context)
{
	int			natts = inbox->desc->natts;
	bool	   *copied = palloc0(sizeof(bool) * natts);

	slot_getallattrs(row);
	memcpy(values, row->tts_values, sizeof(Datum) * natts);
	memcpy(nulls, row->tts_isnull, sizeof(bool) * natts);
	while (tuplesort_gettupleslot(inbox->rows, true, true, next, NULL))
	{
		slot_getallattrs(next);
		/* byte by byte, as they were sorted */
		if (!datum_image_eq(next->tts_values[0], values[0], false, -1))
		{
			pfree(copied);
			return true;
		}
		for (int i = 1; i < inbox->columns.n; i++)
		{
			Form_pg_attribute att = TupleDescAttr(inbox->desc, i);
			MemoryContext old;

			if (next->tts_isnull[i])
				continue;
			if (copied[i])
				pfree(DatumGetPointer(values[i]));
			old = MemoryContextSwitchTo(context);
			values[i] = datumCopy(next->tts_values[i], att->attbyval, att->attlen);
			MemoryContextSwitchTo(old);
			nulls[i] = false;
			copied[i] = !att->attbyval;
		}
	}
	pfree(copied);
	return false;
}

/*
 * Writes the chunk's rows, whose keys differ, by one statement, which is made in
 * the context: SPI's own lasts until the last of any number of chunks.
 */
static void
write_rows(const Inbox *inbox, Tuplestorestate *chunk, int nrows, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	SidecarTable *table = sidecar_open(inbox->entity, RowExclusiveLock, false);
	SidecarStore store = {
		.table = table,.columns = inbox->columns,.desc = inbox->desc,
		.spi_context = old
	};
	Bitmapset  *all = bms_add_range(NULL, 0, inbox->columns.n - 1);

	CHECK_FOR_INTERRUPTS();
	/* the foreign key may have been dropped since the first row */
	sidecar_require_master(table);
	sidecar_run_chunk(&store,
					  sidecar_deparse_chunk(table, SIDECAR_BY_RULE, SIDECAR_OVERWRITE, &store.columns, all),
					  SPI_OK_INSERT_RETURNING, chunk, nrows);
	SPI_freetuptable(SPI_tuptable);
	sidecar_close(table);
	MemoryContextSwitchTo(old);
}

/*
 * Forgets the inboxes of a transaction that has ended, all of them when that
 * is not a sub-transaction.  Their memory goes with it.
 */
static void
forget_inboxes(SubTransactionId subxact)
{
	Inbox	  **link = &inboxes;

	while (*link != NULL)
	{
		/* what they point to goes with the transaction's memory */
		if (subxact == InvalidSubTransactionId || (*link)->subxact == subxact)
			*link = (*link)->next;
		else
			link = &(*link)->next;
	}
}

/*
 * Raises 55000 if the transaction has rows that no statement trigger stored:
 * they must not be lost silently.
 */
static void
refuse_unstored(SubTransactionId subxact)
{
	for (Inbox *inbox = inboxes; inbox != NULL; inbox = inbox->next)
	{
		/* a statement trigger that was dropped or disabled meanwhile */
		if (subxact == InvalidSubTransactionId || inbox->subxact == subxact)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%lld rows for view \"%s\" were not stored",
							(long long) inbox->nrows, get_rel_name(inbox->view)),
					 errhint("It needs a trigger AFTER INSERT FOR EACH STATEMENT that calls sidecar_inbox_insert().")));
	}
}

static void
transaction_ends(XactEvent event, void *arg)
{
	/* while it can still fail */
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		refuse_unstored(InvalidSubTransactionId);
	else if (event == XACT_EVENT_ABORT)
		forget_inboxes(InvalidSubTransactionId);
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId subxact,
					SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		refuse_unstored(subxact);
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_inboxes(subxact);
}

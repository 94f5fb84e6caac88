/*-------------------------------------------------------------------------
 *
 * store.c
 *		Rows into a sidecar table: one, by a plan that the session keeps, or a
 *		chunk of them; and what became of each.
 *
 * Memory: a kept plan has its context, below CacheMemoryContext, until MAX_PLANS
 * others were used since.  All else is the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "sidecar.h"

/* How many plans a session keeps: it seldom sees as many combinations */
#define MAX_PLANS 64

/*
 * A statement on one row, with the columns given: a shorter one starts faster.
 * The names in its text are those of a moment ago as long as nothing changed.
 */
typedef struct KeptPlan
{
	dlist_node	node;			/* of plans; the last used is the first */
	MemoryContext context;		/* of this, but not of the plan */
	Oid			sidecar;
	Oid			function;		/* whose arguments the parameters are */
	SidecarStatement statement;
	SidecarRule rule;
	Bitmapset  *given;
	Bitmapset  *cleared;
	char	   *sql;
	uint64		changes;		/* sidecar_changes() when sql was made */
	SPIPlanPtr	plan;
	int			running;		/* how many calls are executing it */
	bool		retired;		/* not in plans any more: the last of those
								 * calls frees it */
} KeptPlan;

static dlist_head plans = DLIST_STATIC_INIT(plans);
static int	nplans = 0;

static bool may_write(const SidecarTable *table);
static bool looks_late(const SidecarTable *table);
static void require_own_master(const SidecarTable *table, const SidecarColumns *columns,
							   const SidecarRow *row);
static bool has_demands(const SidecarTable *table, const SidecarColumns *columns, const SidecarRow *row);
static bool is_there(const SidecarTable *table, const SidecarColumns *columns, const SidecarRow *row);
static SidecarOutcome write_row(const SidecarTable *table, const SidecarColumns *columns,
								SidecarRule rule, SidecarRow *row);
static bool is_stored(const SidecarTable *table, const SidecarColumns *columns, const SidecarRow *row);
static uint64 execute(KeptPlan *plan, int expected, const SidecarColumns *columns, const SidecarRow *row);
static KeptPlan *get_plan(const SidecarTable *table, const SidecarRequest *request);
static KeptPlan *find_plan(const SidecarTable *table, const SidecarRequest *request);
static KeptPlan *keep_plan(const SidecarTable *table, const SidecarRequest *request, const char *sql);
static void retire_plan(KeptPlan *plan);
static void free_plan(KeptPlan *plan);
static bool write_chunk(const SidecarStore *store, SidecarStatement statement, SidecarRule rule,
						SidecarRow **rows, int nrows);
static uint64 execute_again(SidecarStore *store, const SidecarRequest *request, int expected,
							const SidecarRow *row);
static void require_own_table(const SidecarTable *table, HeapTuple tuple, TupleDesc desc);
static bool match_written(const SidecarTable *table, SidecarRow **rows, int nrows);
static Tuplestorestate *make_chunk(const SidecarStore *store, SidecarRow **rows, int nrows);
static void run_chunk(const SidecarStore *store, const char *sql, int expected,
					  Tuplestorestate *chunk, int nrows);
static Bitmapset *all_given(SidecarRow **rows, int nrows);

/*
 * True if nobody else looks whether there is a master.  Error: nor can this role
 * (42501).
 */
bool
sidecar_must_look_up(const SidecarTable *table)
{
	/* foreign keys do not, then */
	if (SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA)
		return false;
	if (!sidecar_may_look_up(table))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read all keys of the master %s",
						sidecar_relation_sql(table->binding->master)),
				 errdetail("Nothing else looks for missing masters while session_replication_role is \"replica\".")));
	return true;
}

/*
 * True if this role may look for missing masters; another learns of them by
 * writes that fail.
 */
bool
sidecar_may_look_up(const SidecarTable *table)
{
	Oid			master = table->binding->master;

	/* with row security a master could be there and not be seen */
	return sidecar_schema_aclcheck(get_rel_namespace(master), GetUserId(), ACL_USAGE) == ACLCHECK_OK &&
		(pg_class_aclcheck(master, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(master, table->binding->master_key, GetUserId(), ACL_SELECT) == ACLCHECK_OK) &&
		check_enable_rls(master, InvalidOid, true) != RLS_ENABLED;
}

/*
 * What is said of a record whose master is missing.
 */
char	   *
sidecar_no_master(const SidecarTable *table, const char *key)
{
	return psprintf("no such master: key \"%s\" is not in %s", key,
					sidecar_relation_sql(table->binding->master));
}

/*
 * Stores a row that was checked; tells what became of it.
 *
 * Records that are sent again are seldom alone.  A role whose last record was
 * stored already has the next one looked for first, which takes no row lock,
 * writes no WAL and needs no transaction id.
 */
SidecarOutcome
sidecar_store_row(const SidecarTable *table, const SidecarColumns *columns,
				  SidecarRule rule, SidecarRow *row)
{
	SidecarBinding *binding = table->binding;
	SidecarOutcome outcome = SIDECAR_PENDING;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (sidecar_must_look_up(table) || looks_late(table))
		require_own_master(table, columns, row);

	/* nobody gets an answer by that who may not write */
	if (binding->replayer == GetUserId() && row->time_given && !XactReadOnly && may_write(table) &&
		is_stored(table, columns, row))
		outcome = SIDECAR_UNCHANGED;
	else
		outcome = write_row(table, columns, rule, row);

	/*
	 * The statement has locked the row that it left alone, so what we see now
	 * is what it decided upon; or a trigger has kept the record away.
	 */
	if (outcome == SIDECAR_PENDING)
		outcome = is_stored(table, columns, row) ? SIDECAR_UNCHANGED : SIDECAR_SKIPPED;
	/* by role: another one may have other rights, and sends other records */
	binding->replayer = outcome == SIDECAR_UNCHANGED ? GetUserId() : InvalidOid;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return outcome;
}

/*
 * True if the foreign key may find too late that there is no master, and this
 * role may look for itself; a trigger may make another key of the row's.
 */
static bool
looks_late(const SidecarTable *table)
{
	return table->binding->key_deferrable && !sidecar_has_insert_triggers(table) && sidecar_may_look_up(table);
}

/*
 * Raises 23503 if the row is new and has no master, as the foreign key would.
 */
static void
require_own_master(const SidecarTable *table, const SidecarColumns *columns, const SidecarRow *row)
{
	const SidecarRequest request = {SIDECAR_ORPHAN, SIDECAR_OVERWRITE, columns, NULL, NULL};

	if (execute(get_plan(table, &request), SPI_OK_SELECT, columns, row) == 1)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg_internal("%s", sidecar_no_master(table, TextDatumGetCString(row->values[0])))));
}

/*
 * True of a role that may insert and update whole rows.  Others are told by the
 * statement what they may not.
 */
static bool
may_write(const SidecarTable *table)
{
	return pg_class_aclmask(RelationGetRelid(table->rel), GetUserId(),
							ACL_INSERT | ACL_UPDATE, ACLMASK_ALL) == (ACL_INSERT | ACL_UPDATE);
}

/*
 * True of a table with triggers that see a row before it is inserted, and may
 * change it.
 */
bool
sidecar_has_insert_triggers(const SidecarTable *table)
{
	return table->rel->trigdesc != NULL && table->rel->trigdesc->trig_insert_before_row;
}

/*
 * Runs the statements that write a row, until one has; PENDING: none has.
 */
static SidecarOutcome
write_row(const SidecarTable *table, const SidecarColumns *columns, SidecarRule rule, SidecarRow *row)
{
	SidecarStatement statements[2];
	int			n = 0;

	/* what may not write has its error from the statement that does */
	bool		is_update = !XactReadOnly && has_demands(table, columns, row) && is_there(table, columns, row);

	/*
	 * What has another time need not be compared, and the comparison is what
	 * makes a statement slow to start.  A trigger would be called twice.
	 */
	if (is_update)
		statements[n++] = SIDECAR_UPDATE;
	else if (!sidecar_returns_xmax(table))
		statements[n++] = SIDECAR_IF_NEW;
	else if (rule == SIDECAR_OVERWRITE && !sidecar_has_insert_triggers(table))
		statements[n++] = SIDECAR_IF_OTHER_TIME;
	if (!is_update)
		statements[n++] = SIDECAR_BY_RULE;

	for (int i = 0; i < n; i++)
	{
		const SidecarRequest request = {statements[i], rule, columns, row->given, row->cleared};
		KeptPlan   *plan = get_plan(table, &request);

		/*
		 * no row: the statement left the stored one alone, or a trigger
		 * vetoed
		 */
		if (execute(plan, statements[i] == SIDECAR_UPDATE ? SPI_OK_UPDATE_RETURNING : SPI_OK_INSERT_RETURNING,
					columns, row) == 1)
		{
			HeapTuple	tuple = SPI_tuptable->vals[0];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		isnull;
			Datum		is_new = SPI_getbinval(tuple, desc, 1, &isnull);

			require_own_table(table, tuple, desc);
			return DatumGetBool(is_new) ? SIDECAR_INSERTED : SIDECAR_UPDATED;
		}
	}
	return SIDECAR_PENDING;
}

/*
 * True of a table that may ask more of a new row than this one gives.  INSERT
 * would ask it of a stored one as well, before it finds that it is there.
 */
static bool
has_demands(const SidecarTable *table, const SidecarColumns *columns, const SidecarRow *row)
{
	Bitmapset  *given = NULL;
	int			c = -1;

	if (table->binding->has_checks ||
		check_enable_rls(RelationGetRelid(table->rel), InvalidOid, true) == RLS_ENABLED)
		return true;
	while ((c = bms_next_member(row->given, c)) >= 0)
		given = bms_add_member(given, columns->columns[c]->attnum);
	return !bms_is_subset(table->binding->demanded, given);
}

/*
 * True if there is a stored row, which is locked then.
 */
static bool
is_there(const SidecarTable *table, const SidecarColumns *columns, const SidecarRow *row)
{
	const SidecarRequest request = {SIDECAR_LOCK, SIDECAR_OVERWRITE, columns, NULL, NULL};

	return execute(get_plan(table, &request), SPI_OK_SELECT, columns, row) == 1;
}

/*
 * True if the stored row says all that is given.
 */
static bool
is_stored(const SidecarTable *table, const SidecarColumns *columns, const SidecarRow *row)
{
	SidecarRequest request = {SIDECAR_COMPARE, SIDECAR_OVERWRITE, columns, row->given, row->cleared};

	/* that it is of now was not given */
	if (!row->time_given)
		request.given = bms_del_member(bms_copy(row->given), columns->time);

	/* the key alone: it is stored if there is a row */
	return execute(get_plan(table, &request), SPI_OK_SELECT, columns, row) == 1;
}

/*
 * Executes a plan, which must end with the SPI code expected, and returns the
 * number of rows it gave.
 */
static uint64
execute(KeptPlan *plan, int expected, const SidecarColumns *columns, const SidecarRow *row)
{
	char	   *nulls = palloc(columns->n);
	volatile int ret = 0;

	/* all parameters, also those that the statement does not use */
	for (int i = 0; i < columns->n; i++)
		nulls[i] = row->nulls[i] ? 'n' : ' ';

	/* user code may run in it, and come back here and take another's place */
	plan->running++;
	PG_TRY();
	{
		ret = SPI_execute_plan(plan->plan, row->values, nulls, false, 0);
	}
	PG_FINALLY();
	{
		plan->running--;
		if (plan->retired && plan->running == 0)
			free_plan(plan);
	}
	PG_END_TRY();
	if (ret != expected)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(ret));
	return SPI_processed;
}

/*
 * The plan of a statement on a row.
 */
static KeptPlan *
get_plan(const SidecarTable *table, const SidecarRequest *request)
{
	KeptPlan   *plan = find_plan(table, request);
	char	   *sql;

	if (plan != NULL && plan->changes == sidecar_changes())
		return plan;

	/*
	 * Something has changed, and mostly it was something else.  But
	 * PostgreSQL replans by names, so a plan whose names are another table's
	 * now must not be executed.
	 */
	sql = sidecar_deparse_row(table, request);
	if (plan != NULL && strcmp(plan->sql, sql) == 0)
	{
		plan->changes = sidecar_changes();
		return plan;
	}
	/* its names are history, but a call further up may be in it */
	if (plan != NULL)
		retire_plan(plan);
	return keep_plan(table, request, sql);
}

/*
 * The kept plan, which becomes the first; NULL if there is none.
 */
static KeptPlan *
find_plan(const SidecarTable *table, const SidecarRequest *request)
{
	dlist_iter	iter;

	dlist_foreach(iter, &plans)
	{
		KeptPlan   *plan = dlist_container(KeptPlan, node, iter.cur);

		if (plan->sidecar == RelationGetRelid(table->rel) && plan->function == request->columns->function &&
			plan->statement == request->statement && plan->rule == request->rule &&
			bms_equal(plan->given, request->given) && bms_equal(plan->cleared, request->cleared))
		{
			/* a linear search, because the first is nearly always the one */
			dlist_move_head(&plans, &plan->node);
			return plan;
		}
	}
	return NULL;
}

/*
 * Prepares a statement and keeps its plan, in the place of the one that was not
 * used for longest, if there are too many.
 */
static KeptPlan *
keep_plan(const SidecarTable *table, const SidecarRequest *request, const char *sql)
{
	const SidecarColumns *columns = request->columns;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "sidecar plan",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	KeptPlan   *plan = palloc0(sizeof(KeptPlan));
	Oid		   *types = palloc(sizeof(Oid) * columns->n);

	plan->context = context;
	plan->sidecar = RelationGetRelid(table->rel);
	plan->function = columns->function;
	plan->statement = request->statement;
	plan->rule = request->rule;
	plan->given = bms_copy(request->given);
	plan->cleared = bms_copy(request->cleared);
	plan->sql = pstrdup(sql);
	plan->changes = sidecar_changes();
	for (int i = 0; i < columns->n; i++)
		types[i] = columns->columns[i]->given_type;
	MemoryContextSwitchTo(old);

	/* the best plan does not depend on the values: the key is unique */
	plan->plan = SPI_prepare_cursor(sql, columns->n, types, CURSOR_OPT_GENERIC_PLAN);
	if (plan->plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan->plan) != 0)
		elog(ERROR, "SPI_keepplan failed");

	/* from here on nothing fails that would leave half of it behind */
	MemoryContextSetParent(context, CacheMemoryContext);
	dlist_push_head(&plans, &plan->node);
	nplans++;

	/* at most one too many, which may stay while it is being executed */
	if (nplans > MAX_PLANS)
		retire_plan(dlist_tail_element(KeptPlan, node, &plans));
	return plan;
}

/*
 * Takes a plan out of those that are found.
 */
static void
retire_plan(KeptPlan *plan)
{
	dlist_delete(&plan->node);
	nplans--;
	plan->retired = true;
	if (plan->running == 0)
		free_plan(plan);
}

static void
free_plan(KeptPlan *plan)
{
	/* SPI keeps it in a context of its own */
	SPI_freeplan(plan->plan);
	MemoryContextDelete(plan->context);
}

/*
 * What a chunk's rows are like: the columns as they are given, where a row
 * stands, and whether its time was given.
 */
TupleDesc
sidecar_chunk_desc(const SidecarColumns *columns)
{
	TupleDesc	desc = CreateTemplateTupleDesc(columns->n + 2);

	/* statements name them by their numbers: users may call theirs anything */
	for (int i = 0; i < columns->n; i++)
		TupleDescInitEntry(desc, (AttrNumber) (i + 1), columns->columns[i]->name,
						   columns->columns[i]->given_type, columns->columns[i]->given_typmod, 0);
	TupleDescInitEntry(desc, (AttrNumber) (columns->n + 1), NULL, INT8OID, -1, 0);
	TupleDescInitEntry(desc, (AttrNumber) (columns->n + 2), NULL, BOOLOID, -1, 0);
	return desc;
}

/*
 * Writes rows, whose keys differ and which clear the same columns, and tells in
 * each what became of it: PENDING if it was left alone.  Rows that are in key
 * order are locked in key order.  Whatever fails is raised.
 *
 * Returns false if it cannot be told which of the rows were written, for want of
 * a key that is as it was sent: then they have to be written by fewer.
 */
bool
sidecar_write_rows(const SidecarStore *store, SidecarRule rule, SidecarRow **rows, int nrows)
{
	SidecarRow **left = palloc(sizeof(SidecarRow *) * nrows);
	int			nleft = 0;

	if (store->keep)
		return write_chunk(store, SIDECAR_IF_NEW, rule, rows, nrows);
	if (sidecar_returns_xmax(store->table))
		return write_chunk(store, SIDECAR_BY_RULE, rule, rows, nrows);
	/* in this order, so that a row that is new is told from an updated one */
	if (!write_chunk(store, SIDECAR_IF_NEW, rule, rows, nrows))
		return false;
	for (int i = 0; i < nrows; i++)
	{
		if (rows[i]->outcome == SIDECAR_PENDING)
			left[nleft++] = rows[i];
	}
	/* what was there already; a row deleted in between is called updated */
	return nleft == 0 || write_chunk(store, SIDECAR_BY_RULE, rule, left, nleft);
}

/*
 * Lets the rule change the stored row, which has refused to be inserted, and
 * tells in the row what became of it; false: there is none.
 */
bool
sidecar_update_row(SidecarStore *store, SidecarRule rule, SidecarRow *row)
{
	const SidecarRequest lock = {SIDECAR_LOCK, rule, &store->columns, NULL, NULL};
	const SidecarRequest update = {SIDECAR_UPDATE, rule, &store->columns, row->given, row->cleared};

	if (execute_again(store, &lock, SPI_OK_SELECT, row) == 0)
		return false;
	if (!store->keep && execute_again(store, &update, SPI_OK_UPDATE_RETURNING, row) == 1)
		row->outcome = SIDECAR_UPDATED;
	return true;
}

/*
 * Executes a statement on a row whose columns are those of the table, which may
 * be others tomorrow: a plan is kept as long as the chunk's rows need the same.
 */
static uint64
execute_again(SidecarStore *store, const SidecarRequest *request, int expected, const SidecarRow *row)
{
	MemoryContext caller = CurrentMemoryContext;
	SidecarPrepared *prepared = &store->prepared[request->statement == SIDECAR_UPDATE];
	const char *sql = sidecar_deparse_row(store->table, request);
	int			n = store->columns.n;
	char	   *nulls = palloc(n);
	int			ret;

	if (prepared->sql == NULL || strcmp(prepared->sql, sql) != 0)
	{
		Oid		   *types = palloc(sizeof(Oid) * n);

		for (int i = 0; i < n; i++)
			types[i] = store->columns.columns[i]->given_type;
		if (prepared->sql != NULL)
			SPI_freeplan(prepared->plan);
		prepared->sql = NULL;
		prepared->plan = SPI_prepare(sql, n, types);
		if (prepared->plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		prepared->sql = MemoryContextStrdup(store->spi_context, sql);
	}
	for (int i = 0; i < n; i++)
		nulls[i] = row->nulls[i] ? 'n' : ' ';
	ret = SPI_execute_plan(prepared->plan, row->values, nulls, false, 0);
	/* as in run_chunk() */
	MemoryContextSwitchTo(caller);
	if (ret != expected)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(ret));
	if (SPI_processed > 0 && request->statement == SIDECAR_UPDATE)
		require_own_table(store->table, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	SPI_freetuptable(SPI_tuptable);
	return SPI_processed;
}

static bool
write_chunk(const SidecarStore *store, SidecarStatement statement, SidecarRule rule,
			SidecarRow **rows, int nrows)
{
	const SidecarRequest request = {statement, rule, &store->columns, all_given(rows, nrows), rows[0]->cleared};
	Tuplestorestate *chunk = make_chunk(store, rows, nrows);
	bool		matched;

	run_chunk(store, sidecar_deparse_chunk(store->table, &request), SPI_OK_INSERT_RETURNING, chunk, nrows);
	/* before the rows go, which the keys are compared with */
	matched = match_written(store->table, rows, nrows);
	SPI_freetuptable(SPI_tuptable);
	tuplestore_end(chunk);
	return matched;
}

/*
 * Raises 55000 if what was written is not in the table that is open: a schema
 * can be renamed, and another get its name, in the moment between the making of
 * a statement and its analysis.  A partition has no name in the statement.
 */
static void
require_own_table(const SidecarTable *table, HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Oid			relid = DatumGetObjectId(SPI_getbinval(tuple, desc, 3, &isnull));

	if (sidecar_returns_xmax(table) && relid != RelationGetRelid(table->rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the sidecar table was renamed while it was about to be written"),
				 errhint("Try again.")));
}

/*
 * Notes in each row whether the statement that has just run inserted or updated
 * it.  What it returned comes in the order in which it went in.
 */
static bool
match_written(const SidecarTable *table, SidecarRow **rows, int nrows)
{
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		all = SPI_processed == (uint64) nrows;
	int			r = 0;

	for (uint64 i = 0; i < SPI_processed; i++, r++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		Datum		is_new = SPI_getbinval(tuple, desc, 1, &isnull);
		bool		no_key;
		Datum		key = SPI_getbinval(tuple, desc, 2, &no_key);

		require_own_table(table, tuple, desc);

		/* a trigger has taken the key away: whose row that was cannot be told */
		if (!all && no_key)
			return false;

		/*
		 * If all were written they are told by their places, whatever
		 * triggers have made of the keys; else by the keys, as the column
		 * compares them.
		 */
		while (!all && r < nrows &&
			   !DatumGetBool(DirectFunctionCall2Coll(texteq, TupleDescAttr(desc, 1)->attcollation,
													 rows[r]->values[0], key)))
			r++;
		/* a trigger has made another key of one */
		if (r == nrows)
			return false;
		rows[r]->outcome = DatumGetBool(is_new) ? SIDECAR_INSERTED : SIDECAR_UPDATED;
	}
	return true;
}

/*
 * Finds, by one query for all, the rows that the stored row says already: they
 * become UNCHANGED; and returns the positions of those that have no master.
 *
 * "written" is true when a statement has been run on the rows, and has left them
 * alone; then those that are not stored are absent.
 */
Bitmapset  *
sidecar_look_up_rows(const SidecarStore *store, SidecarRule rule,
					 SidecarRow **rows, int nrows, bool written)
{
	const SidecarRequest request = {SIDECAR_COMPARE, rule, &store->columns, all_given(rows, nrows), rows[0]->cleared};
	Tuplestorestate *chunk = make_chunk(store, rows, nrows);
	Bitmapset  *orphans = NULL;

	/* now() is news, unless the rule has kept it out, or does */
	bool		now_is_news = !written && rule != SIDECAR_FILL;

	run_chunk(store,
			  sidecar_deparse_look_up(store->table, &request, written, now_is_news, store->look_for_masters),
			  SPI_OK_SELECT, chunk, nrows);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		int			position = (int) DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));

		if (DatumGetBool(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull)))
		{
			rows[position]->absent = written;
			orphans = bms_add_member(orphans, position);
		}
		else
			rows[position]->outcome = SIDECAR_UNCHANGED;
	}
	SPI_freetuptable(SPI_tuptable);
	tuplestore_end(chunk);
	return orphans;
}

/*
 * Runs a statement over a chunk, which must end with the SPI code expected.
 *
 * It is planned each time, for the tables as they have become meanwhile; a
 * thousand rows are worth that.  If it fails, the caller who survives that
 * unregisters the chunk, before its memory goes.
 */
static void
run_chunk(const SidecarStore *store, const char *sql, int expected,
		  Tuplestorestate *chunk, int nrows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	MemoryContext caller;
	int			ret;

	enr->md.name = SIDECAR_CHUNK_NAME;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = store->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = nrows;
	enr->reldata = chunk;
	/* SPI keeps the list of such relations in whatever context is current */
	caller = MemoryContextSwitchTo(store->spi_context);
	ret = SPI_register_relation(enr);
	MemoryContextSwitchTo(caller);
	if (ret != SPI_OK_REL_REGISTER)
		elog(ERROR, "SPI_register_relation failed: %s", SPI_result_code_string(ret));
	ret = SPI_execute(sql, false, 0);

	/*
	 * SPI goes back to its own context, which lasts until the last chunk: the
	 * memory of all chunks would add up there, of each bad record's failed
	 * statements above all
	 */
	MemoryContextSwitchTo(caller);
	if (ret != expected)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(ret));
	/* the name is free for a statement that is run inside the next one */
	(void) SPI_unregister_relation(SIDECAR_CHUNK_NAME);
	pfree(enr);
}

/*
 * The rows as a chunk.
 */
static Tuplestorestate *
make_chunk(const SidecarStore *store, SidecarRow **rows, int nrows)
{
	Tuplestorestate *chunk = tuplestore_begin_heap(true, false, work_mem);
	int			n = store->columns.n;
	Datum	   *values = palloc(sizeof(Datum) * (n + 2));
	bool	   *nulls = palloc(sizeof(bool) * (n + 2));

	for (int i = 0; i < nrows; i++)
	{
		memcpy(values, rows[i]->values, sizeof(Datum) * n);
		memcpy(nulls, rows[i]->nulls, sizeof(bool) * n);
		/* by which a look-up tells which row it found */
		values[n] = Int64GetDatum(i);
		values[n + 1] = BoolGetDatum(rows[i]->time_given);
		nulls[n] = nulls[n + 1] = false;
		tuplestore_putvalues(chunk, store->desc, values, nulls);
	}
	pfree(values);
	pfree(nulls);
	return chunk;
}

/*
 * The columns that any of the rows gives.
 */
static Bitmapset *
all_given(SidecarRow **rows, int nrows)
{
	Bitmapset  *given = NULL;

	/*
	 * one that some give is NULL in the rows that do not: it keeps what is
	 * stored
	 */
	for (int i = 0; i < nrows; i++)
		given = bms_add_members(given, rows[i]->given);
	return given;
}

/*-------------------------------------------------------------------------
 *
 * query.c
 *		SQL text made from constants and bindings, and rows that go from a
 *		query straight into a function's result.
 *
 * Tables are read by queries alone: of a distributed table (Citus) the heap
 * that is here has no rows, and the catalog no size.  What writes goes through
 * SPI, and its names are qualified, because users' triggers run inside it.
 * What reads is analyzed here under a search_path of pg_catalog, and needs
 * no qualification: plan_select().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "executor/executor.h"
#include "executor/tstoreReceiver.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "sidecar.h"

static const char *column_sql(Oid relid, AttrNumber attnum);
static const char *name_sql(const SidecarBinding *binding);
static PlannedStmt *plan_select(const char *sql, ParamListInfo params, List *relids);
static bool names_another(Node *node, List *relids);
static void hide_statement(void *arg);
static void execute_plan(PlannedStmt *plan, const char *sql, ParamListInfo params,
						 DestReceiver *dest);
static MemoryContext enter_query_context(void);
static void leave_query_context(MemoryContext caller);

/*
 * Replaces {entity}, {schema}, {sidecar}, {key}, {master}, {master_key},
 * and {name} by what they are for this binding now, quoted for where they stand:
 * {entity} is a literal, {name} an expression over "m" (NULL where the master
 * has no such column).  The result is palloc'd.
 *
 * The template must be a constant: a text that holds a user's name may hold
 * words in braces too.
 */
char	   *
sidecar_expand(const char *template, const SidecarBinding *binding)
{
	bool		has_sidecar = OidIsValid(binding->sidecar);
	bool		has_master = OidIsValid(binding->master);
	const struct
	{
		const char *word;
		const char *text;
	}			words[] = {
		{"{entity}", quote_literal_cstr(binding->entity->label)},
		{"{schema}", quote_identifier(get_namespace_name(binding->schema))},
		{"{sidecar}", has_sidecar ? sidecar_relation_sql(binding->sidecar) : NULL},
		{"{key}", quote_identifier(binding->entity->key)},
		{"{master}", has_master ? sidecar_relation_sql(binding->master) : NULL},
		{"{master_key}", has_master ? column_sql(binding->master, binding->master_key) : NULL},
		{"{name}", name_sql(binding)},
	};
	StringInfoData sql;

	initStringInfo(&sql);
	/* once, from left to right: what is put in is never looked at again */
	while (*template != '\0')
	{
		size_t		length = strcspn(template, "{");
		int			i;

		appendBinaryStringInfo(&sql, template, (int) length);
		template += length;
		for (i = 0; i < lengthof(words); i++)
		{
			length = strlen(words[i].word);
			/* no word is the beginning of another: each ends with a brace */
			if (strncmp(template, words[i].word, length) == 0)
			{
				if (words[i].text == NULL)
					elog(ERROR, "nothing is bound to %s", words[i].word);
				appendStringInfoString(&sql, words[i].text);
				template += length;
				break;
			}
		}
		/* an array's */
		if (i == lengthof(words) && *template == '{')
			appendStringInfoChar(&sql, *template++);
	}
	return sql.data;
}

/*
 * A column's name as it is now, quoted.
 */
static const char *
column_sql(Oid relid, AttrNumber attnum)
{
	return quote_identifier(get_attname(relid, attnum, false));
}

/*
 * The name of the row "m" of a master, as text: an expression.
 *
 * What is not text is shown as its type's output function does, because a cast
 * to text may be of the owner's own making, and would run as the caller.
 */
static const char *
name_sql(const SidecarBinding *binding)
{
	const char *column;

	if (binding->name == InvalidAttrNumber)
		return "NULL";
	column = column_sql(binding->master, binding->name);
	if (binding->name_is_text)
		return psprintf("m.%s", column);
	return psprintf("CASE WHEN m.%s IS DISTINCT FROM NULL THEN format('%%s', m.%s) END",
					column, column);
}

/*
 * The parameters of a query: constants, which the planner may look at.
 *
 * NULL where there are none: an empty list is not expected by everybody who
 * hooks into the planner (Citus).
 */
ParamListInfo
sidecar_params(int nargs, const Oid *types, const Datum *values, const bool *nulls)
{
	ParamListInfo params;

	if (nargs == 0)
		return NULL;
	params = makeParamList(nargs);
	for (int i = 0; i < nargs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = nulls[i];
		/* planned for these values: a report is not kept */
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	return params;
}

/*
 * Runs a query under the caller's snapshot and appends its rows to the
 * function's materialized result, which InitMaterializedSRF() has set up.
 *
 * The rows go into the tuplestore one by one, so memory is bounded by
 * work_mem; their types are compared once with the declared ones.  The query
 * is planned with the values given, may use parallel workers, and answers
 * cancel.
 */
void
sidecar_query(FunctionCallInfo fcinfo, const char *sql, ParamListInfo params, List *relids)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DestReceiver *dest = CreateTuplestoreDestReceiver();
	MemoryContext caller = enter_query_context();

	/* of a column of another type than was declared it raises an error */
	SetTuplestoreDestReceiverParams(dest, rsinfo->setResult,
									rsinfo->econtext->ecxt_per_query_memory,
									false, rsinfo->setDesc,
									"report query does not return the declared row type");
	execute_plan(plan_select(sql, params, relids), sql, params, dest);
	leave_query_context(caller);
	dest->rDestroy(dest);
}

/*
 * Runs a query that returns one row, under the caller's snapshot, and copies
 * its columns into the caller's memory context.
 */
void
sidecar_query_row(const char *sql, ParamListInfo params, List *relids,
				  int ncolumns, Datum *results, bool *resultnulls)
{
	MemoryContext caller = enter_query_context();
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	DestReceiver *dest = CreateTuplestoreDestReceiver();
	PlannedStmt *plan = plan_select(sql, params, relids);
	TupleDesc	desc = ExecCleanTypeFromTL(plan->planTree->targetlist);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	SetTuplestoreDestReceiverParams(dest, rows, CurrentMemoryContext, false, NULL, NULL);
	/* the row is kept until it has been copied */
	execute_plan(plan, sql, params, dest);
	if (desc->natts != ncolumns || !tuplestore_gettupleslot(rows, true, false, slot))
		elog(ERROR, "query did not return one row of %d columns", ncolumns);
	for (int i = 0; i < ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Datum		value = slot_getattr(slot, i + 1, &resultnulls[i]);
		MemoryContext query = MemoryContextSwitchTo(caller);

		/* out of the query's context, which goes */
		results[i] = resultnulls[i] ? (Datum) 0 : datumCopy(value, att->attbyval, att->attlen);
		MemoryContextSwitchTo(query);
	}
	ExecDropSingleTupleTableSlot(slot);
	dest->rDestroy(dest);
	tuplestore_end(rows);
	leave_query_context(caller);
}

/*
 * How many rows the planner expects of a query, which is not run; at least 1,
 * as ever.  SIDECAR_UNKNOWN where somebody else reads the rows: a planner that
 * hands its work to other servers (Citus) does not know.
 *
 * Errors: those of running it, as long as no row is read, like a missing
 * privilege.
 */
int64
sidecar_estimate(const char *sql, ParamListInfo params, List *relids)
{
	MemoryContext caller = enter_query_context();
	PlannedStmt *plan = plan_select(sql, params, relids);
	QueryDesc  *desc = CreateQueryDesc(plan, sql, GetActiveSnapshot(), InvalidSnapshot,
									   None_Receiver, params, NULL, 0);
	double		rows = plan->planTree->plan_rows;

	if (IsA(plan->planTree, CustomScan))
		rows = SIDECAR_UNKNOWN;

	/* as EXPLAIN does it: privileges are looked at here, not by the planner */
	ExecutorStart(desc, EXEC_FLAG_EXPLAIN_ONLY);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	leave_query_context(caller);
	return (int64) rint(Min(rows, 1e18));
}

/*
 * Plans a SELECT on relations that are open, and no others.
 *
 * Its names are looked up in pg_catalog, and nowhere else unless they are
 * qualified, so that nobody's search_path changes what it says.  That is over
 * when it is analyzed: planner and executor may run functions of policies and
 * the like, which find what they find in a query of the caller's own.
 */
static PlannedStmt *
plan_select(const char *sql, ParamListInfo params, List *relids)
{
	int			nargs = params != NULL ? params->numParams : 0;
	Oid		   *types = palloc(sizeof(Oid) * Max(nargs, 1));
	ErrorContextCallback callback;
	int			nestlevel = NewGUCNestLevel();
	RawStmt    *stmt;
	Query	   *query;

	for (int i = 0; i < nargs; i++)
		types[i] = params->params[i].ptype;

	callback.callback = hide_statement;
	callback.arg = NULL;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	/* one statement, whatever names are in it: they are quoted */
	stmt = linitial_node(RawStmt, pg_parse_query(sql));
	query = parse_analyze_fixedparams(stmt, sql, types, nargs, NULL);
	/* an error does the same at the end of its transaction */
	AtEOXact_GUC(true, nestlevel);
	error_context_stack = callback.previous;

	/* a schema can be renamed while its tables are open */
	if (names_another((Node *) query, relids))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a table was renamed while it was about to be read"),
				 errhint("Try again.")));
	query = linitial_node(Query, pg_rewrite_query(query));
	return pg_plan_query(query, sql, CURSOR_OPT_PARALLEL_OK, params);
}

/*
 * True if a query names a relation that is not one of these, before views and
 * policies are looked into: it could be anybody's.
 */
static bool
names_another(Node *node, List *relids)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, names_another, relids);
	foreach(lc, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		/* of a view only its name is here: none may be read */
		if (rte->rtekind == RTE_RELATION && !list_member_oid(relids, rte->relid))
			return true;
	}
	return query_tree_walker((Query *) node, names_another, relids, 0);
}

/*
 * Error context callback: a position in our statement would be shown as one in
 * the caller's, who has not written ours.
 */
static void
hide_statement(void *arg)
{
	errposition(0);
	internalerrposition(0);
	internalerrquery(NULL);
}

/*
 * Executes a plan under the caller's snapshot; its rows go to dest.
 */
static void
execute_plan(PlannedStmt *plan, const char *sql, ParamListInfo params, DestReceiver *dest)
{
	QueryDesc  *desc = CreateQueryDesc(plan, sql, GetActiveSnapshot(), InvalidSnapshot,
									   dest, params, NULL, 0);

	/* privileges and row security are the caller's: looked at here */
	ExecutorStart(desc, 0);
	sidecar_executor_run(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
}

/*
 * A context for the plan of one query and whatever it takes to run it, which
 * becomes the current one; returns that of the caller.
 */
static MemoryContext
enter_query_context(void)
{
	return MemoryContextSwitchTo(AllocSetContextCreate(CurrentMemoryContext, "sidecar query",
													   ALLOCSET_DEFAULT_SIZES));
}

/*
 * Deletes that context, and goes back.
 */
static void
leave_query_context(MemoryContext caller)
{
	MemoryContext query = MemoryContextSwitchTo(caller);

	MemoryContextDelete(query);
}

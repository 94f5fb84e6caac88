/*-------------------------------------------------------------------------
 *
 * upsert.c
 *		One record into its sidecar table, by function.
 *
 * The columns of a record are the arguments of the function, by name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "sidecar.h"

/*
 * A function and its columns, which are its arguments; kept with the binding
 * of its entity, and no longer.
 */
typedef struct UpsertFunction
{
	struct UpsertFunction *next;
	SidecarColumns columns;
} UpsertFunction;

static Datum upsert_arguments(FunctionCallInfo fcinfo, const char *label);
static void clear_columns(const SidecarColumns *columns, SidecarRow *row, ArrayType * names);
static const SidecarColumns *get_columns(FunctionCallInfo fcinfo, const SidecarTable *table);
static UpsertFunction *learn_function(FunctionCallInfo fcinfo, const SidecarTable *table);
static void learn_arguments(FunctionCallInfo fcinfo, const SidecarTable *table,
							SidecarColumns *columns, const Oid *types, char **names);

PG_FUNCTION_INFO_V1(sidecar_upsert_company);
PG_FUNCTION_INFO_V1(sidecar_upsert_person);

/*
 * sidecar_upsert_company(company_unique_id, <columns>, on_conflict, clear) RETURNS text
 *
 * Stores the record that the arguments are, and tells in one word what became
 * of it: inserted, updated, unchanged (the stored row says all that is given
 * already; no new row version) or skipped (the rule kept the stored row).
 *
 * A NULL argument is a value not given, and so are a blank text, JSON null and
 * a blank text as JSON: a stored value stays, a new row has the column's default.  Exceptions are last_enriched_at,
 * which becomes now(), and on_conflict, overwrite.  clear names columns, none of
 * which is given, that become NULL; "fill" clears nothing that is stored.
 *
 * Errors: key NULL (22004), a value longer than its column (22001), a
 * confidence_score outside 0 to 100 (22003), a last_enriched_at that is infinite
 * or more than a day ahead (22008), an unknown on_conflict, a column that cannot
 * be cleared (22023), no such master (23503), no foreign
 * key yet (55000), table or column missing (42P01, 42703), and whatever the
 * table's own constraints, triggers and privileges raise.
 */
Datum
sidecar_upsert_company(PG_FUNCTION_ARGS)
{
	return upsert_arguments(fcinfo, "company");
}

/*
 * sidecar_upsert_person(person_unique_id, <columns>, on_conflict, clear) RETURNS text
 *
 * The contract is that of sidecar_upsert_company().
 */
Datum
sidecar_upsert_person(PG_FUNCTION_ARGS)
{
	return upsert_arguments(fcinfo, "people");
}

/*
 * The single-record functions: the last arguments are on_conflict and clear.
 */
static Datum
upsert_arguments(FunctionCallInfo fcinfo, const char *label)
{
	/* the master is the foreign key's business, unless that sleeps */
	SidecarTable *table = sidecar_open(sidecar_entity(label), RowExclusiveLock,
									   SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA);
	const SidecarColumns *columns;
	SidecarRule rule;
	SidecarRow	row = {0};
	SidecarOutcome outcome;
	int			nestlevel;

	/* a clear error instead of a row that nobody refers to */
	sidecar_require_master(table);
	columns = get_columns(fcinfo, table);
	rule = sidecar_choose(&sidecar_on_conflict, PG_ARGISNULL(columns->n) ? NULL : PG_GETARG_TEXT_PP(columns->n));
	row.values = palloc(sizeof(Datum) * columns->n);
	row.nulls = palloc(sizeof(bool) * columns->n);
	for (int i = 0; i < columns->n; i++)
	{
		row.values[i] = PG_GETARG_DATUM(i);
		row.nulls[i] = PG_ARGISNULL(i) || !sidecar_read_argument(columns->columns[i], &row.values[i]);
		/* every client's number fits a float, and the column is exact */
		if (!row.nulls[i] && columns->columns[i]->form == SIDECAR_SCORE)
			row.values[i] = DirectFunctionCall1(float8_numeric, row.values[i]);
		/* NULL is not given: the statement leaves the column out */
		if (!row.nulls[i])
			row.given = bms_add_member(row.given, i);
	}
	if (!PG_ARGISNULL(columns->n + 1))
		clear_columns(columns, &row, PG_GETARG_ARRAYTYPE_P(columns->n + 1));
	/* before a statement that would say it without the column's name */
	sidecar_check_row(columns, &row);
	sidecar_set_time(columns, &row, GetCurrentTransactionStartTimestamp());
	nestlevel = sidecar_enter_zone(table);
	outcome = sidecar_store_row(table, columns, rule, &row);
	sidecar_leave_zone(nestlevel);
	sidecar_close(table);
	PG_RETURN_TEXT_P(cstring_to_text(sidecar_outcome_name(outcome)));
}

/*
 * Notes which columns the array of names clears.  Errors: one is NULL (22004),
 * and those of sidecar_clear_column().
 */
static void
clear_columns(const SidecarColumns *columns, SidecarRow *row, ArrayType * names)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		text	   *name;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("clear must not have NULL elements")));
		name = DatumGetTextPP(values[i]);
		(void) sidecar_clear_column(columns, row, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	}
}

/*
 * The columns that the function's arguments are.  Errors: those of
 * learn_function().
 */
static const SidecarColumns *
get_columns(FunctionCallInfo fcinfo, const SidecarTable *table)
{
	SidecarBinding *binding = table->binding;
	UpsertFunction *function = binding->functions;

	while (function != NULL && function->columns.function != fcinfo->flinfo->fn_oid)
		function = function->next;
	if (function == NULL)
	{
		function = learn_function(fcinfo, table);
		/* there are a handful at most, so a list will do */
		function->next = binding->functions;
		binding->functions = function;
	}
	return &function->columns;
}

/*
 * Learns what a function's arguments are like as columns: the key is the first,
 * last_enriched_at among the others; the last ones, on_conflict and clear, are
 * none.
 * Errors: the function is declared otherwise (42P13), the table lacks a column
 * (42703), or it is made of something else (42804).
 */
static UpsertFunction *
learn_function(FunctionCallInfo fcinfo, const SidecarTable *table)
{
	/* of the caller's until nothing can fail any more, then of the binding's */
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "sidecar upsert function",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	UpsertFunction *function = palloc0(sizeof(UpsertFunction));
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Oid		   *types;
	char	  **names;
	char	   *modes;
	bool		returns_text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	function->columns.function = fcinfo->flinfo->fn_oid;
	function->columns.n = get_func_arg_info(tuple, &types, &names, &modes) - 2;
	returns_text = ((Form_pg_proc) GETSTRUCT(tuple))->prorettype == TEXTOID &&
		!((Form_pg_proc) GETSTRUCT(tuple))->proretset;
	ReleaseSysCache(tuple);
	/* what else the declaration says is compared with the table below */
	if (!returns_text || function->columns.n < 1 || names == NULL || modes != NULL ||
		types[function->columns.n] != TEXTOID || types[function->columns.n + 1] != TEXTARRAYOID ||
		strcmp(names[function->columns.n], "on_conflict") != 0 ||
		strcmp(names[function->columns.n + 1], "clear") != 0)
		sidecar_refuse_call(fcinfo);
	learn_arguments(fcinfo, table, &function->columns, types, names);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, table->binding->context);
	return function;
}

static void
learn_arguments(FunctionCallInfo fcinfo, const SidecarTable *table,
				SidecarColumns *columns, const Oid *types, char **names)
{
	columns->columns = palloc(sizeof(SidecarColumn *) * columns->n);
	for (int i = 0; i < columns->n; i++)
	{
		Form_pg_attribute att = sidecar_column(table, names[i]);
		bool		is_score = strcmp(names[i], SIDECAR_COL_SCORE) == 0;
		SidecarError *error = sidecar_wrong_type(table->binding->sidecar, att,
												 is_score ? NUMERICOID : types[i], false);

		if (error != NULL)
			sidecar_raise(error);
		columns->columns[i] = sidecar_describe_column(att);

		/* as timestamptz, say, not as the timestamp that the column is */
		if ((columns->columns[i]->form == SIDECAR_SCORE ? FLOAT8OID : columns->columns[i]->given_type) != types[i])
			sidecar_refuse_call(fcinfo);
		/* by name, wherever the declaration has it */
		if (strcmp(names[i], SIDECAR_COL_TIME) == 0)
			columns->time = i;
	}

	/* the key is no time: its place tells that there is none */
	if (columns->time == 0 || strcmp(names[0], table->binding->entity->key) != 0)
		sidecar_refuse_call(fcinfo);
}

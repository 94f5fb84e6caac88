/*-------------------------------------------------------------------------
 *
 * upsert.c
 *		One record into its sidecar table, by function.
 *
 * The columns of a record are the arguments of the function, by name.
 * Statements are prepared once per session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "sidecar.h"

/* The plan that tells why nothing was written stands behind the others */
#define COMPARISON (SIDECAR_INSERT + 1)
#define PLANS (SIDECAR_INSERT + 2)

typedef struct KeptPlan
{
	uint64		generation;		/* of the binding that the text was made from */
	SidecarPlan kept;
} KeptPlan;

/* What a session keeps for an entity */
typedef struct UpsertState
{
	MemoryContext context;		/* of what is below but the plans */
	uint64		generation;		/* of the binding that it was made from */
	int			ncolumns;
	SidecarColumn **columns;	/* the key first */
	Oid		   *types;			/* of the values given */
	int			time;			/* which column is last_enriched_at */
	KeptPlan	plans[PLANS];
} UpsertState;

static UpsertState states[SIDECAR_ENTITIES];

static Datum upsert_arguments(FunctionCallInfo fcinfo, int entity);
static void read_columns(UpsertState *state, const SidecarBinding *binding,
						 int ncolumns, char **names, const Oid *types);
static const char *store_record(UpsertState *state, const SidecarBinding *binding,
								SidecarRule rule, Datum *values, char *nulls);
static SPIPlanPtr get_plan(UpsertState *state, const SidecarBinding *binding, int which);
static char *comparison_sql(const UpsertState *state, const SidecarBinding *binding);

PG_FUNCTION_INFO_V1(sidecar_upsert_company);
PG_FUNCTION_INFO_V1(sidecar_upsert_person);

/*
 * sidecar_upsert_company(company_unique_id, <columns>, on_conflict) RETURNS text
 *
 * Stores the record that the arguments are, and tells in one word what became
 * of it: inserted, updated, unchanged (the stored row says all that is given
 * already; no new row version) or skipped (the rule kept the stored row).
 *
 * A NULL argument is a value not given: a stored value stays.  Exceptions are
 * last_enriched_at, which becomes now(), and on_conflict, overwrite.
 *
 * Errors: key NULL (22004), a value longer than its column (22001), a
 * confidence_score outside 0 to 100 (22003), an infinite last_enriched_at
 * (22008), an unknown on_conflict (22023), no such master (23503), no foreign
 * key yet (55000), table or column missing (42P01, 42703), and whatever the
 * table's own constraints, triggers and privileges raise.
 */
Datum
sidecar_upsert_company(PG_FUNCTION_ARGS)
{
	return upsert_arguments(fcinfo, SIDECAR_COMPANY);
}

/*
 * sidecar_upsert_person(person_unique_id, <columns>, on_conflict) RETURNS text
 *
 * The contract is that of sidecar_upsert_company().
 */
Datum
sidecar_upsert_person(PG_FUNCTION_ARGS)
{
	return upsert_arguments(fcinfo, SIDECAR_PEOPLE);
}

/*
 * The single-record functions: the last argument is on_conflict.
 */
static Datum
upsert_arguments(FunctionCallInfo fcinfo, int entity)
{
	UpsertState *state = &states[entity];
	SidecarBinding *binding = sidecar_bind(&sidecar_entities[entity], RowExclusiveLock);
	int			nargs = PG_NARGS() - 1;
	SidecarRule rule = sidecar_rule(PG_ARGISNULL(nargs) ? NULL : PG_GETARG_TEXT_PP(nargs));
	Datum		values[FUNC_MAX_ARGS] = {0};
	char		nulls[FUNC_MAX_ARGS] = {0};

	sidecar_require_master(binding);
	if (state->generation != binding->generation)
	{
		HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
		Oid		   *types;
		char	  **names;
		char	   *modes;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
		get_func_arg_info(tuple, &types, &names, &modes);
		ReleaseSysCache(tuple);
		read_columns(state, binding, nargs, names, types);
	}
	for (int i = 0; i < nargs; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	PG_RETURN_TEXT_P(cstring_to_text(store_record(state, binding, rule, values, nulls)));
}

/*
 * Learns what the table's columns of these names are like.  Error: one is
 * missing (42703).
 */
static void
read_columns(UpsertState *state, const SidecarBinding *binding,
			 int ncolumns, char **names, const Oid *types)
{
	MemoryContext old;

	if (state->context == NULL)
		state->context = AllocSetContextCreate(CacheMemoryContext, "sidecar upsert",
											   ALLOCSET_SMALL_SIZES);
	state->generation = 0;
	MemoryContextReset(state->context);
	old = MemoryContextSwitchTo(state->context);
	state->ncolumns = ncolumns;
	state->columns = palloc(sizeof(SidecarColumn *) * ncolumns);
	state->types = palloc(sizeof(Oid) * ncolumns);
	for (int i = 0; i < ncolumns; i++)
	{
		state->columns[i] = sidecar_describe_column(sidecar_column(binding, names[i]));
		state->types[i] = types[i];
		if (strcmp(names[i], SIDECAR_COL_TIME) == 0)
			state->time = i;
	}
	MemoryContextSwitchTo(old);
	state->generation = binding->generation;
}

/*
 * Checks and stores a record; returns the word for what became of it.  Writes
 * into values and nulls.  The contract is sidecar_upsert_company()'s.
 */
static const char *
store_record(UpsertState *state, const SidecarBinding *binding,
			 SidecarRule rule, Datum *values, char *nulls)
{
	int			time = state->time;
	bool		time_given = nulls[time] != 'n';
	const char *outcome;
	SPIPlanPtr	insert = NULL;
	SPIPlanPtr	write;
	SPIPlanPtr	compare = NULL;
	int			ret;

	if (nulls[0] == 'n')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", state->columns[0]->name)));
	for (int i = 0; i < state->ncolumns; i++)
	{
		if (nulls[i] != 'n')
			sidecar_check_value(state->columns[i], values[i]);
	}
	if (!time_given)
	{
		values[time] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		nulls[time] = ' ';
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/*
	 * User code may run in the statement: nothing of the binding is used
	 * later.
	 */
	if (!binding->returns_xmax)
		insert = get_plan(state, binding, SIDECAR_INSERT);
	write = get_plan(state, binding, rule);
	if (rule != SIDECAR_OVERWRITE)
		compare = get_plan(state, binding, COMPARISON);

	ret = insert != NULL ? SPI_execute_plan(insert, values, nulls, false, 0) : 0;
	if (ret == 0 || SPI_processed == 0)
		ret = SPI_execute_plan(write, values, nulls, false, 0);
	if (ret != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(ret));
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		inserted = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		outcome = DatumGetBool(inserted) ? "inserted" : "updated";
	}
	else if (rule == SIDECAR_OVERWRITE)
		outcome = "unchanged";
	else
	{
		/*
		 * The statement has locked the row that it left alone, so what we see
		 * now is what it decided upon.
		 */
		if (!time_given)
			nulls[time] = 'n';
		ret = SPI_execute_plan(compare, values, nulls, false, 0);
		if (ret != SPI_OK_SELECT)
			elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(ret));
		outcome = SPI_processed == 1 ? "unchanged" : "skipped";
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return outcome;
}

/*
 * The plan of a statement over the record's columns: a rule's, or the
 * comparison.
 */
static SPIPlanPtr
get_plan(UpsertState *state, const SidecarBinding *binding, int which)
{
	KeptPlan   *plan = &state->plans[which];

	if (plan->generation != state->generation)
	{
		char	   *sql;

		if (which == COMPARISON)
			sql = comparison_sql(state, binding);
		else
		{
			StringInfoData source;

			initStringInfo(&source);
			for (int i = 0; i < state->ncolumns; i++)
				appendStringInfo(&source, "%s$%d", i > 0 ? ", " : "VALUES (", i + 1);
			appendStringInfoChar(&source, ')');
			sql = sidecar_write_sql(binding, which, state->columns, state->ncolumns, source.data);
		}
		(void) sidecar_prepare(&plan->kept, sql, state->ncolumns, state->types);
		plan->generation = state->generation;
	}
	return plan->kept.plan;
}

/*
 * The query that returns a row if the stored one says all that is given.
 */
static char *
comparison_sql(const UpsertState *state, const SidecarBinding *binding)
{
	char	  **values = palloc(sizeof(char *) * state->ncolumns);

	for (int i = 0; i < state->ncolumns; i++)
		values[i] = psprintf("$%d", i + 1);
	return psprintf("SELECT FROM %s s WHERE s.%s OPERATOR(pg_catalog.=) $1 AND %s",
					binding->sidecar_sql, state->columns[0]->name_sql,
					sidecar_same_sql(state->columns, state->ncolumns, values));
}

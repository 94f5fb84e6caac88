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
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "sidecar.h"

/* Beside the rules' statements: the query that looks whether all is stored */
#define COMPARISON (SIDECAR_OVERWRITE_OTHER_TIME + 1)

/*
 * A statement over the columns given, because a shorter one starts faster.
 * A session sees few combinations.
 */
typedef struct KeptPlan
{
	struct
	{
		int			entity;
		int			which;		/* a SidecarRule, or COMPARISON */
		uint64		given;		/* a bit for each column */
	}			key;
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
	Oid			replaying;		/* the role that wrote the last record, if
								 * that was stored already */
} UpsertState;

static UpsertState states[SIDECAR_ENTITIES];
static HTAB * plans;

static Datum upsert_arguments(FunctionCallInfo fcinfo, int entity);
static void read_columns(UpsertState *state, const SidecarBinding *binding,
						 int ncolumns, char **names, const Oid *types);
static const char *store_record(UpsertState *state, const SidecarBinding *binding,
								SidecarRule rule, Datum *values, char *nulls);
static void check_record(UpsertState *state, Datum *values, const char *nulls);
static uint64 execute(SPIPlanPtr plan, int expected, Datum *values, const char *nulls);
static SPIPlanPtr get_plan(UpsertState *state, const SidecarBinding *binding, int which,
						   const char *nulls);

PG_FUNCTION_INFO_V1(sidecar_upsert_company);
PG_FUNCTION_INFO_V1(sidecar_upsert_person);

/*
 * sidecar_upsert_company(company_unique_id, <columns>, on_conflict) RETURNS text
 *
 * Stores the record that the arguments are, and tells in one word what became
 * of it: inserted, updated, unchanged (the stored row says all that is given
 * already; no new row version) or skipped (the rule kept the stored row).
 *
 * A NULL argument is a value not given: a stored value stays, a new row has
 * the column's default.  Exceptions are last_enriched_at, which becomes now(),
 * and on_conflict, overwrite.
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
	const char *outcome = "unchanged";
	SPIPlanPtr	writes[2];
	int			nwrites = 0;
	SPIPlanPtr	compare = NULL;
	bool		look_first;
	bool		written = false;

	/*
	 * Records that are sent again are seldom alone.  Looking first takes no
	 * row lock, writes no WAL and needs no transaction id.  Nobody gets an
	 * answer by it who may not write.
	 */
	look_first = state->replaying == GetUserId() && time_given && !XactReadOnly;
	check_record(state, values, nulls);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/*
	 * User code may run in the statements: nothing of the binding is used
	 * after the first.
	 */
	if (look_first || rule != SIDECAR_OVERWRITE)
		compare = get_plan(state, binding, COMPARISON, nulls);

	/* a value, because Citus takes no now() in DO UPDATE */
	if (!time_given)
	{
		values[time] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		nulls[time] = ' ';
	}

	/*
	 * What has another time need not be compared, and the comparison is what
	 * makes a statement slow to start.  A trigger would be called twice.
	 */
	if (!binding->returns_xmax)
		writes[nwrites++] = get_plan(state, binding, SIDECAR_KEEP, nulls);
	else if (rule == SIDECAR_OVERWRITE && !binding->insert_triggers)
		writes[nwrites++] = get_plan(state, binding, SIDECAR_OVERWRITE_OTHER_TIME, nulls);
	writes[nwrites++] = get_plan(state, binding, rule, nulls);

	if (!look_first || execute(compare, SPI_OK_SELECT, values, nulls) != 1)
	{
		for (int i = 0; i < nwrites && !written; i++)
			written = execute(writes[i], SPI_OK_INSERT_RETURNING, values, nulls) == 1;
		if (written)
		{
			bool		isnull;
			Datum		inserted = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

			outcome = DatumGetBool(inserted) ? "inserted" : "updated";
		}

		/*
		 * The statement has locked the row that it left alone, so what we see
		 * now is what it decided upon.
		 */
		else if (rule != SIDECAR_OVERWRITE &&
				 execute(compare, SPI_OK_SELECT, values, nulls) != 1)
			outcome = "skipped";
	}
	state->replaying = strcmp(outcome, "unchanged") == 0 ? GetUserId() : InvalidOid;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return outcome;
}

/*
 * Raises what is wrong with the values.
 */
static void
check_record(UpsertState *state, Datum *values, const char *nulls)
{
	if (nulls[0] == 'n')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", state->columns[0]->name)));
	for (int i = 0; i < state->ncolumns; i++)
	{
		if (nulls[i] != 'n')
			sidecar_check_value(state->columns[i], values[i]);
	}
}

/*
 * Executes a plan, which must end with the SPI code expected, and returns the
 * number of rows it gave.
 */
static uint64
execute(SPIPlanPtr plan, int expected, Datum *values, const char *nulls)
{
	int			ret = SPI_execute_plan(plan, values, nulls, false, 0);

	if (ret != expected)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(ret));
	return SPI_processed;
}

/*
 * The plan of a statement over the columns that are given: a rule's, or the
 * COMPARISON, which returns a row if the stored one says all that is given.
 * Each has equality on the key, by which Citus finds the one shard to ask.
 */
static SPIPlanPtr
get_plan(UpsertState *state, const SidecarBinding *binding, int which, const char *nulls)
{
	KeptPlan	wanted = {.key = {.entity = state - states,.which = which}};
	KeptPlan   *plan;
	bool		found;

	for (int i = 0; i < state->ncolumns; i++)
	{
		if (nulls[i] != 'n')
			wanted.key.given |= UINT64CONST(1) << i;
	}
	if (plans == NULL)
	{
		HASHCTL		info = {.keysize = sizeof(wanted.key),.entrysize = sizeof(KeptPlan)};

		plans = hash_create("sidecar upsert plans", 16, &info, HASH_ELEM | HASH_BLOBS);
	}
	plan = hash_search(plans, &wanted.key, HASH_ENTER, &found);
	if (!found)
		*plan = wanted;
	if (plan->generation != state->generation)
	{
		SidecarColumn **columns = palloc(sizeof(SidecarColumn *) * state->ncolumns);
		char	  **values = palloc(sizeof(char *) * state->ncolumns);
		int			ncolumns = 0;
		StringInfoData source;
		char	   *sql;

		initStringInfo(&source);
		for (int i = 0; i < state->ncolumns; i++)
		{
			if (nulls[i] == 'n')
				continue;
			columns[ncolumns] = state->columns[i];
			values[ncolumns] = psprintf("$%d", i + 1);
			appendStringInfo(&source, "%s%s", ncolumns > 0 ? ", " : "VALUES (", values[ncolumns]);
			ncolumns++;
		}
		appendStringInfoChar(&source, ')');
		if (which == COMPARISON)
			sql = psprintf("SELECT FROM %s s WHERE s.%s OPERATOR(pg_catalog.=) $1 AND %s",
						   binding->sidecar_sql, columns[0]->name_sql,
						   sidecar_same_sql(columns, ncolumns, values));
		else
			sql = sidecar_write_sql(binding, which, columns, ncolumns, source.data);
		(void) sidecar_prepare(&plan->kept, sql, state->ncolumns, state->types);
		plan->generation = state->generation;
	}
	return plan->kept.plan;
}

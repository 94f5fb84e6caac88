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
#include "catalog/pg_type.h"
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

/* The most columns that a function can have: a bit for each */
#define MAX_COLUMNS 64

/*
 * A statement over the columns given, because a shorter one starts faster.
 * A session sees few combinations.
 */
typedef struct KeptPlan
{
	struct
	{
		Oid			function;	/* whose arguments it takes */
		int			which;		/* a SidecarRule, or COMPARISON */
		uint64		given;		/* a bit for each column */
	}			key;
	uint64		generation;		/* of the binding that the text was made from */
	SidecarPlan kept;
} KeptPlan;

/*
 * A function and its columns, which are its arguments; kept with the binding
 * of its entity, and no longer.
 */
typedef struct UpsertFunction
{
	struct UpsertFunction *next;
	Oid			function;
	int			ncolumns;
	SidecarColumn **columns;	/* the key first */
	Oid		   *types;			/* of the values given */
	int			time;			/* which column is last_enriched_at */
} UpsertFunction;

/* Who wrote the last record of an entity, if that was stored already */
static Oid	replaying[SIDECAR_ENTITIES];

static HTAB *plans;

static Datum upsert_arguments(FunctionCallInfo fcinfo, int entity);
static UpsertFunction *learn_function(FunctionCallInfo fcinfo, const SidecarTable *table);
static const char *store_record(const UpsertFunction *function, const SidecarTable *table,
								SidecarRule rule, Datum *values, char *nulls);
static void check_record(const UpsertFunction *function, Datum *values, const char *nulls);
static uint64 execute(SPIPlanPtr plan, int expected, Datum *values, const char *nulls);
static SPIPlanPtr get_plan(const UpsertFunction *function, const SidecarTable *table, int which,
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
	SidecarTable *table = sidecar_open(&sidecar_entities[entity], RowExclusiveLock);
	UpsertFunction *function = table->binding->functions;
	int			nargs = PG_NARGS() - 1;
	Datum		values[FUNC_MAX_ARGS] = {0};
	char		nulls[FUNC_MAX_ARGS] = {0};
	SidecarRule rule;
	const char *outcome;

	sidecar_require_master(table);
	while (function != NULL && function->function != fcinfo->flinfo->fn_oid)
		function = function->next;
	if (function == NULL)
		function = learn_function(fcinfo, table);
	rule = sidecar_rule(PG_ARGISNULL(nargs) ? NULL : PG_GETARG_TEXT_PP(nargs));
	for (int i = 0; i < nargs; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	outcome = store_record(function, table, rule, values, nulls);
	sidecar_close(table);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/*
 * Learns what a function's arguments are like as columns: the key is the first,
 * last_enriched_at among the others, and on_conflict, which is none, the last.
 * Errors: the function is declared otherwise (42P13), the table lacks a column
 * (42703), or it is made of something else (42804).
 */
static UpsertFunction *
learn_function(FunctionCallInfo fcinfo, const SidecarTable *table)
{
	SidecarBinding *binding = table->binding;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "sidecar upsert function",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	UpsertFunction *function = palloc0(sizeof(UpsertFunction));
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			nargs;
	bool		returns_text;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	nargs = get_func_arg_info(tuple, &types, &names, &modes);
	returns_text = ((Form_pg_proc) GETSTRUCT(tuple))->prorettype == TEXTOID &&
		!((Form_pg_proc) GETSTRUCT(tuple))->proretset;
	ReleaseSysCache(tuple);
	if (!returns_text || nargs < 2 || nargs > MAX_COLUMNS || names == NULL || modes != NULL ||
		strcmp(names[0], binding->entity->key) != 0 || types[nargs - 1] != TEXTOID ||
		strcmp(names[nargs - 1], "on_conflict") != 0)
		sidecar_refuse_call(fcinfo);

	function->function = fcinfo->flinfo->fn_oid;
	function->types = types;
	function->ncolumns = nargs - 1;
	function->columns = palloc(sizeof(SidecarColumn *) * function->ncolumns);
	for (int i = 0; i < function->ncolumns; i++)
	{
		Form_pg_attribute att = sidecar_column(table, names[i]);
		SidecarError *error = sidecar_wrong_type(binding->sidecar, att, types[i]);

		if (error != NULL)
			sidecar_raise(error);
		function->columns[i] = sidecar_describe_column(att);
		if (function->columns[i]->given_type != types[i])
			sidecar_refuse_call(fcinfo);
		if (strcmp(names[i], SIDECAR_COL_TIME) == 0)
			function->time = i;
	}
	if (function->time == 0)
		sidecar_refuse_call(fcinfo);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, binding->context);
	function->next = binding->functions;
	binding->functions = function;
	return function;
}

/*
 * Checks and stores a record; returns the word for what became of it.  Writes
 * into values and nulls.  The contract is sidecar_upsert_company()'s.
 */
static const char *
store_record(const UpsertFunction *function, const SidecarTable *table,
			 SidecarRule rule, Datum *values, char *nulls)
{
	Oid		   *replayer = &replaying[table->binding->entity - sidecar_entities];
	int			time = function->time;
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
	look_first = *replayer == GetUserId() && time_given && !XactReadOnly;
	check_record(function, values, nulls);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/*
	 * User code may run in the statements, and rename what they name: they
	 * are made before the first.
	 */
	if (look_first || rule != SIDECAR_OVERWRITE)
		compare = get_plan(function, table, COMPARISON, nulls);

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
	if (!sidecar_returns_xmax(table))
		writes[nwrites++] = get_plan(function, table, SIDECAR_KEEP, nulls);
	else if (rule == SIDECAR_OVERWRITE && !sidecar_has_insert_triggers(table))
		writes[nwrites++] = get_plan(function, table, SIDECAR_OVERWRITE_OTHER_TIME, nulls);
	writes[nwrites++] = get_plan(function, table, rule, nulls);

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
	*replayer = strcmp(outcome, "unchanged") == 0 ? GetUserId() : InvalidOid;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return outcome;
}

/*
 * Raises what is wrong with the values.
 */
static void
check_record(const UpsertFunction *function, Datum *values, const char *nulls)
{
	if (nulls[0] == 'n')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", function->columns[0]->name)));
	for (int i = 0; i < function->ncolumns; i++)
	{
		if (nulls[i] != 'n')
			sidecar_check_value(function->columns[i], values[i]);
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
get_plan(const UpsertFunction *function, const SidecarTable *table, int which, const char *nulls)
{
	KeptPlan	wanted = {.key = {.function = function->function,.which = which}};
	KeptPlan   *plan;
	bool		found;

	for (int i = 0; i < function->ncolumns; i++)
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
	if (plan->generation != table->binding->generation)
	{
		SidecarColumn **columns = palloc(sizeof(SidecarColumn *) * function->ncolumns);
		char	  **values = palloc(sizeof(char *) * function->ncolumns);
		int			ncolumns = 0;
		StringInfoData source;
		char	   *sql;

		initStringInfo(&source);
		for (int i = 0; i < function->ncolumns; i++)
		{
			if (nulls[i] == 'n')
				continue;
			columns[ncolumns] = function->columns[i];
			values[ncolumns] = psprintf("$%d", i + 1);
			appendStringInfo(&source, "%s%s", ncolumns > 0 ? ", " : "VALUES (", values[ncolumns]);
			ncolumns++;
		}
		appendStringInfoChar(&source, ')');
		if (which == COMPARISON)
			sql = psprintf("SELECT FROM %s s WHERE s.%s OPERATOR(pg_catalog.=) $1 AND %s",
						   sidecar_relation_sql(table->binding->sidecar), columns[0]->name_sql,
						   sidecar_same_sql(columns, ncolumns, values));
		else
			sql = sidecar_write_sql(table, which, columns, ncolumns, source.data);
		(void) sidecar_prepare(&plan->kept, sql, function->ncolumns, function->types);
		plan->generation = table->binding->generation;
	}
	return plan->kept.plan;
}

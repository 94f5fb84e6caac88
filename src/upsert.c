/*-------------------------------------------------------------------------
 *
 * upsert.c
 *		One record into its sidecar table.
 *
 * The columns of a record are the arguments of the SQL function, by name.  One
 * statement per survivorship rule decides and writes:
 *
 *		INSERT ... ON CONFLICT DO UPDATE ... WHERE <rule, and a difference>
 *
 * It is prepared once per session.  It has equality on the key and nothing
 * volatile in DO UPDATE, its WHERE or RETURNING, so that a distributed table
 * (Citus) takes it as one query to one shard; now() comes as a value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "sidecar.h"

/* What happens to a stored row: the values of on_conflict, in this order */
typedef enum SurvivorshipRule
{
	RULE_OVERWRITE,
	RULE_NEWEST,
	RULE_MOST_CONFIDENT,
	RULE_FILL,
	RULES
} SurvivorshipRule;

static const char *const rule_names[RULES] = {
	"overwrite", "newest", "most_confident", "fill"
};

/* The plan that tells why nothing was written stands behind the rules' */
#define COMPARISON RULES
#define PLANS (RULES + 1)

typedef struct KeptPlan
{
	uint64		generation;		/* of the binding that the text was made from */
	char	   *sql;
	SPIPlanPtr	plan;
} KeptPlan;

/* A record's columns; the key is the first */
typedef struct RecordColumn
{
	char	   *name;
	const char *name_sql;		/* quoted */
	const char *type_sql;		/* the column's type */
	Oid			argtype;		/* what the function takes */
	int			max_chars;		/* 0: no limit */
} RecordColumn;

/* What a session keeps for an entity's single-record function */
typedef struct UpsertState
{
	MemoryContext context;		/* of the columns */
	uint64		generation;		/* of the binding that it was made from */
	int			ncolumns;
	RecordColumn *columns;
	int			time;			/* which of them is last_enriched_at */
	KeptPlan	plans[PLANS];
} UpsertState;

static UpsertState states[SIDECAR_ENTITIES];

static Datum upsert_record(FunctionCallInfo fcinfo, int entity);
static SurvivorshipRule parse_rule(FunctionCallInfo fcinfo, int argno);
static void read_columns(UpsertState *state, const SidecarBinding *binding, Oid function);
static void check_value(const RecordColumn *column, Datum value);
static SPIPlanPtr get_plan(UpsertState *state, const SidecarBinding *binding, int which);
static char *write_sql(const UpsertState *state, const SidecarBinding *binding, SurvivorshipRule rule);
static char *compare_sql(const UpsertState *state, const SidecarBinding *binding);
static bool is_provenance(const RecordColumn *column);

PG_FUNCTION_INFO_V1(sidecar_upsert_company);
PG_FUNCTION_INFO_V1(sidecar_upsert_person);

/*
 * sidecar_upsert_company(company_unique_id, <columns>, on_conflict) RETURNS text
 *
 * The contract is upsert_record()'s.
 */
Datum
sidecar_upsert_company(PG_FUNCTION_ARGS)
{
	return upsert_record(fcinfo, SIDECAR_COMPANY);
}

/*
 * sidecar_upsert_person(person_unique_id, <columns>, on_conflict) RETURNS text
 *
 * The contract is upsert_record()'s.
 */
Datum
sidecar_upsert_person(PG_FUNCTION_ARGS)
{
	return upsert_record(fcinfo, SIDECAR_PEOPLE);
}

/*
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
static Datum
upsert_record(FunctionCallInfo fcinfo, int entity)
{
	UpsertState *state = &states[entity];
	SidecarBinding *binding = sidecar_bind(&sidecar_entities[entity], RowExclusiveLock);
	int			nargs = PG_NARGS() - 1;
	SurvivorshipRule rule = parse_rule(fcinfo, nargs);
	Datum		values[FUNC_MAX_ARGS];
	char		nulls[FUNC_MAX_ARGS];
	int			time;
	bool		time_given;
	const char *outcome;
	SPIPlanPtr	write;
	SPIPlanPtr	compare = NULL;
	int			ret;

	sidecar_require_master(binding);
	if (state->generation != binding->generation)
		read_columns(state, binding, fcinfo->flinfo->fn_oid);

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", state->columns[0].name)));
	for (int i = 0; i < nargs; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		if (!PG_ARGISNULL(i))
			check_value(&state->columns[i], values[i]);
	}
	time = state->time;
	time_given = !PG_ARGISNULL(time);
	if (!time_given)
	{
		values[time] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		nulls[time] = ' ';
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/*
	 * user code may run in the statement: nothing of the binding is used
	 * later
	 */
	write = get_plan(state, binding, rule);
	if (rule != RULE_OVERWRITE)
		compare = get_plan(state, binding, COMPARISON);

	ret = SPI_execute_plan(write, values, nulls, false, 0);
	if (ret != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(ret));
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		inserted = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		outcome = DatumGetBool(inserted) ? "inserted" : "updated";
	}
	else if (rule == RULE_OVERWRITE)
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
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}

/*
 * The rule that an argument names; NULL is overwrite.  Error: no such rule
 * (22023).
 */
static SurvivorshipRule
parse_rule(FunctionCallInfo fcinfo, int argno)
{
	char	   *name;

	if (PG_ARGISNULL(argno))
		return RULE_OVERWRITE;
	name = text_to_cstring(PG_GETARG_TEXT_PP(argno));
	for (int rule = 0; rule < RULES; rule++)
	{
		if (strcmp(name, rule_names[rule]) == 0)
			return rule;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown on_conflict \"%s\"", name),
			 errhint("Valid values are \"%s\", \"%s\", \"%s\" and \"%s\".",
					 rule_names[RULE_OVERWRITE], rule_names[RULE_NEWEST],
					 rule_names[RULE_MOST_CONFIDENT], rule_names[RULE_FILL])));
}

/*
 * Learns what the function's arguments are and what the columns of these names
 * are like.  Error: a column is missing (42703).
 */
static void
read_columns(UpsertState *state, const SidecarBinding *binding, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid		   *types;
	char	  **names;
	char	   *modes;
	MemoryContext old;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	if (state->context == NULL)
		state->context = AllocSetContextCreate(CacheMemoryContext, "sidecar upsert",
											   ALLOCSET_SMALL_SIZES);
	state->generation = 0;
	MemoryContextReset(state->context);
	old = MemoryContextSwitchTo(state->context);
	state->ncolumns = get_func_arg_info(tuple, &types, &names, &modes) - 1;
	ReleaseSysCache(tuple);
	state->columns = palloc(sizeof(RecordColumn) * state->ncolumns);
	for (int i = 0; i < state->ncolumns; i++)
	{
		Form_pg_attribute att = sidecar_column(binding, names[i]);
		RecordColumn *column = &state->columns[i];

		column->name = names[i];
		column->name_sql = quote_identifier(names[i]);
		column->type_sql = format_type_extended(att->atttypid, att->atttypmod,
												FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
		column->argtype = types[i];
		column->max_chars = types[i] == TEXTOID && att->atttypid == VARCHAROID && att->atttypmod > VARHDRSZ ?
			att->atttypmod - VARHDRSZ : 0;
		if (strcmp(names[i], SIDECAR_COL_TIME) == 0)
			state->time = i;
	}
	MemoryContextSwitchTo(old);
	state->generation = binding->generation;
}

/*
 * Raises what the column would, but naming it (22001), and what no column type
 * knows: a score outside 0 to 100 (22003), an infinite time (22008).
 */
static void
check_value(const RecordColumn *column, Datum value)
{
	if (column->max_chars > 0)
	{
		text	   *string = DatumGetTextPP(value);
		int			bytes = VARSIZE_ANY_EXHDR(string);

		if (bytes > column->max_chars &&
			pg_mbstrlen_with_len(VARDATA_ANY(string), bytes) > column->max_chars)
			ereport(ERROR,
					(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
					 errmsg("value too long for column \"%s\"", column->name),
					 errdetail("It has %d characters; the column takes %d.",
							   pg_mbstrlen_with_len(VARDATA_ANY(string), bytes), column->max_chars)));
	}
	else if (strcmp(column->name, SIDECAR_COL_SCORE) == 0)
	{
		/* NaN is greater than any other number */
		if (DatumGetBool(DirectFunctionCall2(numeric_lt, value, NumericGetDatum(int64_to_numeric(0)))) ||
			DatumGetBool(DirectFunctionCall2(numeric_gt, value, NumericGetDatum(int64_to_numeric(100)))))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("%s must be between 0 and 100", column->name),
					 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, value)))));
	}
	else if (strcmp(column->name, SIDECAR_COL_TIME) == 0)
	{
		if (TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(value)))
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("%s must be finite", column->name)));
	}
}

/*
 * The plan of a statement over the record's columns: a rule's, or the
 * comparison.  Prepared at its first use, and again only when the text is
 * another one, after a rename; the plan of the old text is then left to the
 * session, because a call further up may be running it.
 */
static SPIPlanPtr
get_plan(UpsertState *state, const SidecarBinding *binding, int which)
{
	KeptPlan   *kept = &state->plans[which];

	if (kept->generation != state->generation)
	{
		char	   *sql = which == COMPARISON ? compare_sql(state, binding) :
		write_sql(state, binding, which);

		if (kept->plan == NULL || strcmp(kept->sql, sql) != 0)
		{
			Oid			types[FUNC_MAX_ARGS];
			SPIPlanPtr	plan;

			for (int i = 0; i < state->ncolumns; i++)
				types[i] = state->columns[i].argtype;
			plan = SPI_prepare_cursor(sql, state->ncolumns, types, CURSOR_OPT_GENERIC_PLAN);
			if (plan == NULL)
				elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
			sql = MemoryContextStrdup(CacheMemoryContext, sql);
			if (SPI_keepplan(plan) != 0)
				elog(ERROR, "SPI_keepplan failed");
			if (kept->sql != NULL)
				pfree(kept->sql);
			kept->sql = sql;
			kept->plan = plan;
		}
		kept->generation = state->generation;
	}
	return kept->plan;
}

/*
 * The statement that decides by the rule and writes.  It returns a row if it
 * wrote: whether the row is new.
 *
 * Rows are compared by their bytes, which works for values of every type.
 */
static char *
write_sql(const UpsertState *state, const SidecarBinding *binding, SurvivorshipRule rule)
{
	StringInfoData names;
	StringInfoData params;
	StringInfoData set;
	StringInfoData stored;
	StringInfoData merged;
	StringInfoData fillable;
	const char *where = NULL;

	initStringInfo(&names);
	initStringInfo(&params);
	initStringInfo(&set);
	initStringInfo(&stored);
	initStringInfo(&merged);
	initStringInfo(&fillable);
	for (int i = 0; i < state->ncolumns; i++)
	{
		const RecordColumn *column = &state->columns[i];
		const char *name = column->name_sql;
		const char *comma = i > 0 ? ", " : "";
		char	   *value;

		appendStringInfo(&names, "%s%s", comma, name);
		appendStringInfo(&params, "%s$%d", comma, i + 1);
		if (i == 0)
			continue;

		comma = i > 1 ? ", " : "";
		value = rule == RULE_FILL && !is_provenance(column) ?
			psprintf("COALESCE(s.%s, EXCLUDED.%s)", name, name) :
			psprintf("COALESCE(EXCLUDED.%s, s.%s)", name, name);
		appendStringInfo(&set, "%s%s = %s", comma, name, value);
		appendStringInfo(&merged, "%s%s", comma, value);
		appendStringInfo(&stored, "%ss.%s", comma, name);
		if (!is_provenance(column))
			appendStringInfo(&fillable, "%ss.%s IS NULL AND EXCLUDED.%s IS NOT NULL",
							 fillable.len > 0 ? " OR " : "", name, name);
	}

	switch (rule)
	{
		case RULE_OVERWRITE:
			where = "";
			break;
		case RULE_NEWEST:
			where = "(s." SIDECAR_COL_TIME " IS NULL OR EXCLUDED." SIDECAR_COL_TIME
				" OPERATOR(pg_catalog.>=) s." SIDECAR_COL_TIME ") AND ";
			break;
		case RULE_MOST_CONFIDENT:
			where = "(s." SIDECAR_COL_SCORE " IS NULL OR EXCLUDED." SIDECAR_COL_SCORE
				" OPERATOR(pg_catalog.>=) s." SIDECAR_COL_SCORE ") AND ";
			break;
		case RULE_FILL:
			where = psprintf("(%s) AND ", fillable.data);
			break;
		case RULES:
			break;
	}

	return psprintf("INSERT INTO %s AS s (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s "
					"WHERE %spg_catalog.record_image_ne(ROW(%s), ROW(%s)) "
					"RETURNING s.xmax OPERATOR(pg_catalog.=) 0",
					binding->sidecar_sql, names.data, params.data, state->columns[0].name_sql,
					set.data, where, merged.data, stored.data);
}

/*
 * The query that returns a row if the stored one says all that is given.
 */
static char *
compare_sql(const UpsertState *state, const SidecarBinding *binding)
{
	StringInfoData stored;
	StringInfoData merged;

	initStringInfo(&stored);
	initStringInfo(&merged);
	for (int i = 1; i < state->ncolumns; i++)
	{
		const RecordColumn *column = &state->columns[i];
		const char *comma = i > 1 ? ", " : "";

		appendStringInfo(&merged, "%sCOALESCE(CAST($%d AS %s), s.%s)", comma, i + 1,
						 column->type_sql, column->name_sql);
		appendStringInfo(&stored, "%ss.%s", comma, column->name_sql);
	}
	return psprintf("SELECT FROM %s s WHERE s.%s OPERATOR(pg_catalog.=) $1 "
					"AND pg_catalog.record_image_eq(ROW(%s), ROW(%s))",
					binding->sidecar_sql, state->columns[0].name_sql, merged.data, stored.data);
}

/*
 * True of the columns that tell where the others came from: under "fill" they
 * move only with them.
 */
static bool
is_provenance(const RecordColumn *column)
{
	return strcmp(column->name, SIDECAR_COL_SOURCE) == 0 ||
		strcmp(column->name, SIDECAR_COL_SCORE) == 0 ||
		strcmp(column->name, SIDECAR_COL_TIME) == 0;
}

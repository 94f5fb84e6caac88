/*-------------------------------------------------------------------------
 *
 * query.c
 *		SQL text made from constants and bindings, and rows that go from a
 *		query straight into a function's result.
 *
 * Tables are read and written through SPI alone: of a distributed table
 * (Citus) the heap that is here has no rows, and the catalog no size.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/tstoreReceiver.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "nodes/params.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "sidecar.h"

static const char *name_sql(const SidecarBinding *binding);
static void execute_select(const char *sql, ParamListInfo params, DestReceiver *dest);
static ParamListInfo make_params(int nargs, const Oid *types, const Datum *values,
								 const char *nulls);

/*
 * Replaces {entity}, {schema}, {sidecar}, {key}, {master}, {master_key},
 * {master_count} and {name} by what they are for this binding now, quoted for
 * where they stand: {entity} is a literal, {master_count} and {name} are
 * expressions over "m" (NULL where the master has no such column).  The result
 * is palloc'd.
 *
 * The template must be a constant: a text that holds a user's name may hold
 * words in braces too.
 */
char	   *
sidecar_expand(const char *template, const SidecarBinding *binding)
{
	bool		has_master = OidIsValid(binding->master);
	const char *master_key = has_master ?
	quote_identifier(get_attname(binding->master, binding->master_key, false)) : NULL;
	const struct
	{
		const char *word;
		const char *text;
	}			words[] = {
		{"{entity}", quote_literal_cstr(binding->entity->label)},
		{"{schema}", quote_identifier(get_namespace_name(binding->schema))},
		{"{sidecar}", OidIsValid(binding->sidecar) ? sidecar_relation_sql(binding->sidecar) : NULL},
		{"{key}", quote_identifier(binding->entity->key)},
		{"{master}", has_master ? sidecar_relation_sql(binding->master) : NULL},
		{"{master_key}", master_key},
		{"{master_count}", binding->master_key_not_null ? "pg_catalog.count(*)" :
		has_master ? psprintf("pg_catalog.count(m.%s)", master_key) : NULL},
		{"{name}", name_sql(binding)},
	};
	StringInfoData sql;

	initStringInfo(&sql);
	while (*template != '\0')
	{
		size_t		length = strcspn(template, "{");
		int			i;

		appendBinaryStringInfo(&sql, template, (int) length);
		template += length;
		for (i = 0; i < lengthof(words); i++)
		{
			length = strlen(words[i].word);
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
	column = quote_identifier(get_attname(binding->master, binding->name, false));
	return binding->name_is_text ? psprintf("m.%s", column) :
		psprintf("CASE WHEN m.%s IS DISTINCT FROM NULL THEN pg_catalog.format('%%s', m.%s) END", column, column);
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
sidecar_query(FunctionCallInfo fcinfo, const char *sql, int nargs,
			  const Oid *types, const Datum *values, const char *nulls)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DestReceiver *dest = CreateTuplestoreDestReceiver();

	SetTuplestoreDestReceiverParams(dest, rsinfo->setResult,
									rsinfo->econtext->ecxt_per_query_memory,
									false, rsinfo->setDesc,
									"report query does not return the declared row type");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute_select(sql, make_params(nargs, types, values, nulls), dest);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	dest->rDestroy(dest);
}

/*
 * Runs a query that returns one row, under the caller's snapshot, and copies
 * its columns into the caller's memory context.
 */
void
sidecar_query_row(const char *sql, int nargs,
				  const Oid *types, const Datum *values, const char *nulls,
				  int ncolumns, Datum *results, bool *resultnulls)
{
	MemoryContext caller = CurrentMemoryContext;
	TupleDesc	desc;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute_select(sql, make_params(nargs, types, values, nulls), NULL);
	desc = SPI_tuptable->tupdesc;
	if (SPI_processed != 1 || desc->natts != ncolumns)
		elog(ERROR, "query did not return one row of %d columns", ncolumns);
	for (int i = 0; i < ncolumns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], desc, i + 1, &resultnulls[i]);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		results[i] = resultnulls[i] ? (Datum) 0 : datumCopy(value, att->attbyval, att->attlen);
		MemoryContextSwitchTo(spi);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * Executes a SELECT; its rows go to dest, or to SPI_tuptable when that is NULL.
 */
static void
execute_select(const char *sql, ParamListInfo params, DestReceiver *dest)
{
	SPIExecuteOptions options = {0};
	int			ret;

	options.params = params;
	options.read_only = true;
	options.dest = dest;
	ret = SPI_execute_extended(sql, &options);
	if (ret != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_extended failed: %s", SPI_result_code_string(ret));
}

/*
 * NULL where there are none: an empty list is not expected by everybody who
 * hooks into the planner (Citus).
 */
static ParamListInfo
make_params(int nargs, const Oid *types, const Datum *values, const char *nulls)
{
	ParamListInfo params;

	if (nargs == 0)
		return NULL;
	params = makeParamList(nargs);
	for (int i = 0; i < nargs; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = nulls[i] == 'n';
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	return params;
}

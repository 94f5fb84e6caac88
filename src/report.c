/*-------------------------------------------------------------------------
 *
 * report.c
 *		The reports.
 *
 * A report is an SQL text with places for what differs between entities.
 * Everything in it is qualified, so that no search_path can change it.  The
 * bounds and sort orders are those of the indexes of the sidecar tables: with
 * max_rows, the index stops the scan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_namespace.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "sidecar.h"

/* A percentage with two decimals; NULL of an empty whole */
#define PERCENT(part, whole) \
	"CASE WHEN " whole " OPERATOR(pg_catalog.>) 0 THEN " \
	"pg_catalog.round(100.0 OPERATOR(pg_catalog.*) " part " OPERATOR(pg_catalog./) " whole ", 2) END"

#define MASTER_JOIN_SIDECAR \
	"{sidecar} s ON m.{master_key} OPERATOR(pg_catalog.=) s.{key} "

/* What sidecar_status() counts, and how it sums up sidecar_objects() */
static const char orphan_count[] =
"SELECT pg_catalog.count(*) FROM {sidecar} s "
"WHERE NOT EXISTS (SELECT FROM {master} m WHERE m.{master_key} OPERATOR(pg_catalog.=) s.{key})";

static const char reject_count[] =
"SELECT pg_catalog.count(*) FROM " SIDECAR_SCHEMA "." SIDECAR_REJECTS " r "
"WHERE r.entity OPERATOR(pg_catalog.=) {entity}";

static const char object_summary[] =
"SELECT COALESCE(pg_catalog.array_agg(o.object ORDER BY o.position) FILTER (WHERE o.state OPERATOR(pg_catalog.<>) 'present' "
"AND o.kind OPERATOR(pg_catalog.=) ANY ('{primary key,index}')), '{}'), "
"COALESCE(pg_catalog.array_agg(pg_catalog.format('%s %s: %s', o.kind, o.object, "
"CASE WHEN o.state OPERATOR(pg_catalog.=) ANY ('{missing,replace}') THEN 'SELECT sidecar_install()' ELSE o.hint END) "
"ORDER BY o.position) FILTER (WHERE o.state OPERATOR(pg_catalog.<>) 'present' OR o.hint IS NOT NULL), '{}') "
"OPERATOR(pg_catalog.||) CASE WHEN $1 OPERATOR(pg_catalog.>) 0 THEN "
"ARRAY[pg_catalog.format('rows without a master: %s; delete them, or load their masters', $1)] END "
"OPERATOR(pg_catalog.||) CASE WHEN $2 OPERATOR(pg_catalog.>) 0 THEN "
"ARRAY[pg_catalog.format('records parked in " SIDECAR_SCHEMA "." SIDECAR_REJECTS ": %s; see their errors, then SELECT * FROM sidecar_retry_rejects()', $2)] END "
"OPERATOR(pg_catalog.||) CASE WHEN $3 IS NOT NULL THEN ARRAY[$3] END "
"FROM {schema}.sidecar_objects() o "
"WHERE o.entity OPERATOR(pg_catalog.=) {entity}";

static void report_of_entity(FunctionCallInfo fcinfo, int entity, const char *template,
							 int nargs, const Oid *types, const char *const *names);
static void require_argument(FunctionCallInfo fcinfo, int i, const char *name);
static void summarize_statistics(FunctionCallInfo fcinfo, const SidecarTable *table, bool rejects, Datum *thresholds);
static void read_times(Oid sidecar, Datum *values, char *nulls);
static Datum estimated_rows(const char *sql);
static bool counts_are_enough(const SidecarBinding *binding);
static SidecarTable *open_to_read(const SidecarEntity *entity);
static bool rejects_readable(SidecarError **error);

PG_FUNCTION_INFO_V1(sidecar_coverage);
PG_FUNCTION_INFO_V1(sidecar_summary);
PG_FUNCTION_INFO_V1(sidecar_field_coverage);
PG_FUNCTION_INFO_V1(sidecar_sources);
PG_FUNCTION_INFO_V1(sidecar_stale_companies);
PG_FUNCTION_INFO_V1(sidecar_stale_people);
PG_FUNCTION_INFO_V1(sidecar_low_confidence_companies);
PG_FUNCTION_INFO_V1(sidecar_low_confidence_people);
PG_FUNCTION_INFO_V1(sidecar_missing_companies);
PG_FUNCTION_INFO_V1(sidecar_missing_people);
PG_FUNCTION_INFO_V1(sidecar_status);

/*
 * sidecar_coverage() RETURNS TABLE (entity, total, enriched,
 * enrichment_coverage_pct)
 *
 * The plain coverage query for each entity.  Where every sidecar row is known
 * to have its master, two counts answer it, without sorting or joining.
 * An entity that has no master yet has NULLs.
 */
Datum
sidecar_coverage(PG_FUNCTION_ARGS)
{
	(void) sidecar_begin_rows(fcinfo, 0, NULL, 0, NULL);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		SidecarTable *table = open_to_read(&sidecar_entities[i]);
		const SidecarBinding *binding = table->binding;
		const char *from;

		if (!OidIsValid(binding->master))
			from = "(VALUES (CAST(NULL AS pg_catalog.int8), CAST(NULL AS pg_catalog.int8))) c (total, enriched)";
		else if (counts_are_enough(binding))
			from = "(SELECT {master_count} AS total FROM {master} m) m, "
				"(SELECT pg_catalog.count(*) AS enriched FROM {sidecar} s) s";
		else
			from = "(SELECT pg_catalog.count(m.{master_key}) AS total, pg_catalog.count(s.{key}) AS enriched "
				"FROM {master} m LEFT JOIN " MASTER_JOIN_SIDECAR ") c";
		sidecar_query(fcinfo,
					  sidecar_expand(psprintf("SELECT CAST({entity} AS pg_catalog.text), total, enriched, "
											  PERCENT("enriched", "total") " FROM %s", from),
									 binding),
					  0, NULL, NULL, NULL);
		sidecar_close(table);
	}
	return (Datum) 0;
}

/*
 * sidecar_summary(older_than, below, exact) RETURNS TABLE (entity, total,
 * enriched, enrichment_coverage_pct, stale, low_confidence, undated, rejected,
 * oldest_enrichment, latest_enrichment, statistics_at)
 *
 * A row per entity, of one pass over each table, or, unless exact, of none:
 * see summarize_statistics().  stale and low_confidence are
 * the numbers of rows that those reports have, undated that of rows without
 * last_enriched_at, rejected that of parked records, NULL for a role that may
 * not read them.  What speaks of masters is NULL while there is none.
 *
 * Error: an argument is NULL (22004).
 */
Datum
sidecar_summary(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INTERVALOID, NUMERICOID, BOOLOID};
	static const char *const names[] = {"older_than", "below", "exact"};
	static const char of_rows[] =
	"pg_catalog.count(*) FILTER (WHERE s.last_enriched_at OPERATOR(pg_catalog.<) (SELECT pg_catalog.now() OPERATOR(pg_catalog.-) $1)) AS stale, "
	"pg_catalog.count(*) FILTER (WHERE s.confidence_score OPERATOR(pg_catalog.<) $2) AS low_confidence, "
	"pg_catalog.count(s.last_enriched_at) AS dated, "
	"pg_catalog.min(s.last_enriched_at) AS oldest, pg_catalog.max(s.last_enriched_at) AS latest";
	Datum		values[2];
	SidecarError *error;
	bool		rejects;

	(void) sidecar_begin_rows(fcinfo, lengthof(types), types, 0, NULL);
	for (int i = 0; i < lengthof(names); i++)
		require_argument(fcinfo, i, names[i]);
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	rejects = rejects_readable(&error);
	if (error != NULL && error->sqlstate == ERRCODE_DATATYPE_MISMATCH)
		sidecar_raise(error);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		SidecarTable *table = open_to_read(&sidecar_entities[i]);
		const SidecarBinding *binding = table->binding;
		const char *rejected = rejects ? reject_count : "CAST(NULL AS pg_catalog.int8)";
		char	   *from;

		if (!PG_GETARG_BOOL(2))
		{
			summarize_statistics(fcinfo, table, rejects, values);
			sidecar_close(table);
			continue;
		}
		if (!OidIsValid(binding->master))
			from = psprintf("(SELECT CAST(NULL AS pg_catalog.int8) AS total, pg_catalog.count(*) AS present, CAST(NULL AS pg_catalog.int8) AS enriched, %s FROM {sidecar} s) c",
							of_rows);
		else if (counts_are_enough(binding))
			from = psprintf("(SELECT {master_count} AS total FROM {master} m) m, "
							"(SELECT pg_catalog.count(*) AS present, pg_catalog.count(*) AS enriched, %s FROM {sidecar} s) s", of_rows);
		else
			from = psprintf("(SELECT pg_catalog.count(m.{master_key}) AS total, pg_catalog.count(s.{key}) AS present, pg_catalog.count(s.{key}) AS enriched, %s "
							"FROM {master} m LEFT JOIN " MASTER_JOIN_SIDECAR ") c", of_rows);
		sidecar_query(fcinfo,
					  sidecar_expand(psprintf("SELECT CAST({entity} AS pg_catalog.text), total, enriched, "
											  PERCENT("enriched", "total") ", stale, low_confidence, present OPERATOR(pg_catalog.-) dated, (%s), "
											  "CAST(oldest AS pg_catalog.timestamp), CAST(latest AS pg_catalog.timestamp), CAST(NULL AS pg_catalog.timestamptz) FROM %s",
											  rejected, from),
									 binding),
					  2, types, values, "  ");
		sidecar_close(table);
	}
	return (Datum) 0;
}

/*
 * A row of sidecar_summary() for which no table is read: the planner's own
 * estimates, from the statistics that ANALYZE gathered, and the first and the
 * last time in them.  statistics_at is when the older of the two tables was
 * analyzed, NULL if one never was.
 */
static void
summarize_statistics(FunctionCallInfo fcinfo, const SidecarTable *table, bool rejects, Datum *thresholds)
{
	const SidecarBinding *binding = table->binding;
	static const Oid types[] = {INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPOID, TIMESTAMPOID};
	const char *queries[] = {
		OidIsValid(binding->master) ? "{master} m" : NULL,
		OidIsValid(binding->master) ? "{sidecar} s" : NULL,
		psprintf("{sidecar} s WHERE s.last_enriched_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) CAST(%s AS pg_catalog.interval))",
				 quote_literal_cstr(DatumGetCString(DirectFunctionCall1(interval_out, thresholds[0])))),
		psprintf("{sidecar} s WHERE s.confidence_score OPERATOR(pg_catalog.<) CAST(%s AS pg_catalog.numeric)",
				 quote_literal_cstr(DatumGetCString(DirectFunctionCall1(numeric_out, thresholds[1])))),
		"{sidecar} s WHERE s.last_enriched_at IS NULL",
		rejects ? SIDECAR_SCHEMA "." SIDECAR_REJECTS " r WHERE r.entity OPERATOR(pg_catalog.=) {entity}" : NULL
	};
#define ANALYZED "GREATEST(pg_catalog.pg_stat_get_last_analyze_time(%u), pg_catalog.pg_stat_get_last_autoanalyze_time(%u))"
	static const char row[] =
	"SELECT CAST({entity} AS pg_catalog.text), $1, e.enriched, " PERCENT("e.enriched", "$1") ", $3, $4, $5, $6, $7, $8, "
	"CASE WHEN a.sidecar IS NOT NULL AND a.master IS NOT NULL THEN LEAST(a.sidecar, a.master) END "
	"FROM (SELECT CASE WHEN $2 OPERATOR(pg_catalog.>) $1 THEN $1 ELSE $2 END) e (enriched), "
	"(SELECT " ANALYZED ", " ANALYZED ") a (sidecar, master)";
	Oid			master = OidIsValid(binding->master) ? binding->master : binding->sidecar;
	Datum		values[lengthof(types)] = {0};
	char		nulls[lengthof(types)];
	char	   *sql = sidecar_expand(psprintf(row, binding->sidecar, binding->sidecar, master, master), binding);

	memset(nulls, 'n', sizeof(nulls));
	for (int i = 0; i < lengthof(queries); i++)
	{
		if (queries[i] != NULL)
			queries[i] = sidecar_expand(psprintf("EXPLAIN SELECT FROM %s", queries[i]), binding);
	}
	read_times(binding->sidecar, &values[6], &nulls[6]);
	for (int i = 0; i < lengthof(queries); i++)
	{
		if (queries[i] == NULL)
			continue;
		nulls[i] = ' ';
		values[i] = estimated_rows(queries[i]);
	}
	sidecar_query(fcinfo, sql, lengthof(types), types, values, nulls);
}

/*
 * Reads the first and the last last_enriched_at that the table's statistics
 * have, as pg_stats shows them: to those who may see every row's.  values and
 * nulls, which are 'n' before, have two elements.
 */
static void
read_times(Oid sidecar, Datum *values, char *nulls)
{
	static const int kinds[] = {STATISTIC_KIND_HISTOGRAM, STATISTIC_KIND_MCV};
	AttrNumber	attnum = get_attnum(sidecar, SIDECAR_COL_TIME);
	Timestamp	first = 0;
	Timestamp	last = 0;
	bool		found = false;

	if ((pg_class_aclcheck(sidecar, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		 pg_attribute_aclcheck(sidecar, attnum, GetUserId(), ACL_SELECT) != ACLCHECK_OK) ||
		check_enable_rls(sidecar, InvalidOid, true) == RLS_ENABLED)
		return;

	/* those of the table, and those of its partitions */
	for (int inherited = 0; inherited < 2; inherited++)
	{
		HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(sidecar),
											Int16GetDatum(attnum), BoolGetDatum(inherited));

		if (!HeapTupleIsValid(tuple))
			continue;
		for (int k = 0; k < lengthof(kinds); k++)
		{
			AttStatsSlot slot;

			if (!get_attstatsslot(&slot, tuple, kinds[k], InvalidOid, ATTSTATSSLOT_VALUES))
				continue;
			for (int i = 0; i < slot.nvalues; i++)
			{
				/*
				 * a number: its Datum goes with the slot where it is a
				 * pointer
				 */
				Timestamp	time = DatumGetTimestamp(getBaseType(slot.valuetype) != TIMESTAMPTZOID ? slot.values[i] :
													 DirectFunctionCall1(timestamptz_timestamp, slot.values[i]));

				first = found ? Min(first, time) : time;
				last = found ? Max(last, time) : time;
				found = true;
			}
			free_attstatsslot(&slot);
		}
		ReleaseSysCache(tuple);
	}
	if (found)
	{
		values[0] = TimestampGetDatum(first);
		values[1] = TimestampGetDatum(last);
		nulls[0] = nulls[1] = ' ';
	}
}

/*
 * How many rows the planner expects, by the first line of an EXPLAIN: int8.
 */
static Datum
estimated_rows(const char *sql)
{
	int64		rows = 0;
	char	   *line;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(sql, false, 0) != SPI_OK_UTILITY || SPI_processed == 0)
		elog(ERROR, "SPI_execute failed");
	line = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

	/* the last one, because names come before it */
	while ((line = strstr(line, " rows=")) != NULL)
		rows = strtoi64(line += strlen(" rows="), NULL, 10);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return Int64GetDatum(rows);
}

/*
 * sidecar_field_coverage() RETURNS TABLE (entity, field, filled, filled_pct)
 *
 * For every column of the sidecar tables but key, created_at and updated_at,
 * in the table's order: how many masters have it filled (not NULL).  One pass
 * over each table.
 */
Datum
sidecar_field_coverage(PG_FUNCTION_ARGS)
{
	(void) sidecar_begin_rows(fcinfo, 0, NULL, 0, NULL);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		SidecarTable *table = open_to_read(&sidecar_entities[i]);
		const SidecarBinding *binding = table->binding;
		TupleDesc	columns = RelationGetDescr(table->rel);
		bool		join = OidIsValid(binding->master) && !counts_are_enough(binding);
		StringInfoData counts;
		StringInfoData fields;
		StringInfoData sql;

		initStringInfo(&counts);
		initStringInfo(&fields);
		for (int c = 0; c < columns->natts; c++)
		{
			Form_pg_attribute att = TupleDescAttr(columns, c);
			const char *name = NameStr(att->attname);

			if (att->attisdropped || strcmp(name, binding->entity->key) == 0 ||
				strcmp(name, SIDECAR_COL_CREATED) == 0 || strcmp(name, SIDECAR_COL_UPDATED) == 0)
				continue;
			appendStringInfo(&counts, "%spg_catalog.count(s.%s) AS c%d",
							 counts.len > 0 ? ", " : "", quote_identifier(name), c);
			appendStringInfo(&fields, "%s(%d, CAST(%s AS pg_catalog.text), c%d)",
							 fields.len > 0 ? ", " : "", c, quote_literal_cstr(name), c);
		}

		/* users' names are appended to what has been expanded */
		initStringInfo(&sql);
		appendStringInfoString(&sql, sidecar_expand("SELECT CAST({entity} AS pg_catalog.text), f.field, f.filled, "
													PERCENT("f.filled", "m.total") " FROM (SELECT ", binding));
		appendStringInfoString(&sql, counts.data);
		appendStringInfoString(&sql, sidecar_expand(join ? " FROM {master} m JOIN " MASTER_JOIN_SIDECAR : " FROM {sidecar} s", binding));
		appendStringInfoString(&sql, sidecar_expand(OidIsValid(binding->master) ?
													") s, (SELECT {master_count} AS total FROM {master} m) m, " :
													") s, (SELECT CAST(NULL AS pg_catalog.int8) AS total) m, ", binding));
		appendStringInfo(&sql, "LATERAL (VALUES %s) f (position, field, filled) ORDER BY f.position", fields.data);
		sidecar_query(fcinfo, sql.data, 0, NULL, NULL, NULL);
		sidecar_close(table);
	}
	return (Datum) 0;
}

/*
 * sidecar_sources() RETURNS TABLE (entity, enrichment_source,
 * total_enrichments, avg_confidence, latest_enrichment)
 *
 * What each source sent, per entity; a source without any score comes last.
 */
Datum
sidecar_sources(PG_FUNCTION_ARGS)
{
	(void) sidecar_begin_rows(fcinfo, 0, NULL, 0, NULL);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		SidecarTable *table = open_to_read(&sidecar_entities[i]);

		sidecar_query(fcinfo,
					  sidecar_expand("SELECT CAST({entity} AS pg_catalog.text), CAST(s.enrichment_source AS pg_catalog.text), "
									 "pg_catalog.count(*), pg_catalog.avg(s.confidence_score) AS avg_confidence, "
									 "CAST(pg_catalog.max(s.last_enriched_at) AS pg_catalog.timestamp) "
									 "FROM {sidecar} s GROUP BY s.enrichment_source "
									 "ORDER BY avg_confidence DESC NULLS LAST",
									 table->binding),
					  0, NULL, NULL, NULL);
		sidecar_close(table);
	}
	return (Datum) 0;
}

/*
 * sidecar_stale_*(older_than, max_rows): days are whole days
 * of 24 hours.
 */
static const char stale[] =
"SELECT CAST(s.{key} AS pg_catalog.text), CAST({name} AS pg_catalog.text), CAST(s.enrichment_source AS pg_catalog.text), "
"CAST(s.last_enriched_at AS pg_catalog.timestamp), "
"EXTRACT(DAY FROM pg_catalog.now() OPERATOR(pg_catalog.-) s.last_enriched_at) "
"FROM {master} m JOIN " MASTER_JOIN_SIDECAR
"WHERE s.last_enriched_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) $1) "
"ORDER BY s.last_enriched_at LIMIT $2";
static const Oid stale_types[] = {INTERVALOID, INT8OID};
static const char *const stale_names[] = {"older_than", "max_rows"};

Datum
sidecar_stale_companies(PG_FUNCTION_ARGS)
{
	report_of_entity(fcinfo, SIDECAR_COMPANY, stale, 2, stale_types, stale_names);
	return (Datum) 0;
}

Datum
sidecar_stale_people(PG_FUNCTION_ARGS)
{
	report_of_entity(fcinfo, SIDECAR_PEOPLE, stale, 2, stale_types, stale_names);
	return (Datum) 0;
}

/*
 * sidecar_low_confidence_*(below, max_rows): below, not at, the threshold.
 */
static const char low_confidence[] =
"SELECT CAST(s.{key} AS pg_catalog.text), CAST({name} AS pg_catalog.text), CAST(s.enrichment_source AS pg_catalog.text), "
"CAST(s.confidence_score AS pg_catalog.numeric), CAST(s.last_enriched_at AS pg_catalog.timestamp) "
"FROM {master} m JOIN " MASTER_JOIN_SIDECAR
"WHERE s.confidence_score OPERATOR(pg_catalog.<) $1 "
"ORDER BY s.confidence_score LIMIT $2";
static const Oid low_confidence_types[] = {NUMERICOID, INT8OID};
static const char *const low_confidence_names[] = {"below", "max_rows"};

Datum
sidecar_low_confidence_companies(PG_FUNCTION_ARGS)
{
	report_of_entity(fcinfo, SIDECAR_COMPANY, low_confidence, 2, low_confidence_types,
					 low_confidence_names);
	return (Datum) 0;
}

Datum
sidecar_low_confidence_people(PG_FUNCTION_ARGS)
{
	report_of_entity(fcinfo, SIDECAR_PEOPLE, low_confidence, 2, low_confidence_types,
					 low_confidence_names);
	return (Datum) 0;
}

/*
 * sidecar_missing_*(max_rows): masters without a sidecar row, in no order.
 */
static const char missing[] =
"SELECT CAST(m.{master_key} AS pg_catalog.text), CAST({name} AS pg_catalog.text) FROM {master} m "
"WHERE NOT EXISTS (SELECT FROM {sidecar} s WHERE s.{key} OPERATOR(pg_catalog.=) m.{master_key}) "
"LIMIT $1";
static const Oid missing_types[] = {INT8OID};
static const char *const missing_names[] = {"max_rows"};

Datum
sidecar_missing_companies(PG_FUNCTION_ARGS)
{
	report_of_entity(fcinfo, SIDECAR_COMPANY, missing, 1, missing_types, missing_names);
	return (Datum) 0;
}

Datum
sidecar_missing_people(PG_FUNCTION_ARGS)
{
	report_of_entity(fcinfo, SIDECAR_PEOPLE, missing, 1, missing_types, missing_names);
	return (Datum) 0;
}

/*
 * sidecar_status() RETURNS TABLE (entity, sidecar_table, master_table,
 * foreign_key_present, foreign_key_validated, orphan_rows, trigger_enabled,
 * missing_indexes, rejects_parked, to_do)
 *
 * Works whatever is missing; counts orphans by looking at every row, because a
 * validated key does not speak for rows written with triggers disabled.
 * rejects_parked is NULL for a role that may not read them.
 */
Datum
sidecar_status(PG_FUNCTION_ARGS)
{
	static const Oid columns[] = {TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID, INT8OID, BOOLOID, TEXTARRAYOID, INT8OID, TEXTARRAYOID};
	ReturnSetInfo *rsinfo = sidecar_begin_rows(fcinfo, 0, NULL, lengthof(columns), columns);
	SidecarError *error;
	bool		rejects = rejects_readable(&error);

	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		const SidecarBinding *binding = sidecar_lookup(&sidecar_entities[i]);
		bool		has_sidecar = OidIsValid(binding->sidecar);
		bool		has_master = OidIsValid(binding->master);
		bool		usable = sidecar_problem(binding) == NULL;
		static const Oid types[] = {INT8OID, INT8OID, TEXTOID};
		char		argnulls[3];
		Datum		args[3];
		bool		count_null[2];
		Datum		list[2];
		bool		list_null[2];
		Datum		values[lengthof(columns)];
		bool		nulls[lengthof(columns)] = {false};

		values[0] = CStringGetTextDatum(binding->entity->label);
		values[1] = has_sidecar ? CStringGetTextDatum(sidecar_relation_sql(binding->sidecar)) : (Datum) 0;
		values[2] = has_master ? CStringGetTextDatum(sidecar_relation_sql(binding->master)) : (Datum) 0;
		values[3] = BoolGetDatum(has_master);
		values[4] = BoolGetDatum(binding->key_validated);
		values[6] = BoolGetDatum(binding->trigger_enabled);
		nulls[1] = nulls[6] = !has_sidecar;
		nulls[2] = nulls[4] = !has_master;

		/* a table that cannot be used is not read either */
		sidecar_query_row(sidecar_expand(psprintf("SELECT (%s), (%s)",
												  has_master && usable ? orphan_count : "NULL",
												  rejects ? reject_count : "NULL"),
										 binding),
						  0, NULL, NULL, NULL, 2, args, count_null);
		values[5] = args[0];
		nulls[5] = count_null[0];
		values[8] = args[1];
		nulls[8] = count_null[1];
		args[2] = error && !error->is_absence ? CStringGetTextDatum(error->message) : (Datum) 0;
		for (int a = 0; a < lengthof(args); a++)
			argnulls[a] = (a < 2 ? count_null[a] : args[a] == (Datum) 0) ? 'n' : ' ';
		sidecar_query_row(sidecar_expand(object_summary, binding),
						  lengthof(types), types, args, argnulls, 2, list, list_null);
		values[7] = list[0];
		values[9] = list[1];
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Runs a report on one entity with the function's own arguments.
 *
 * The last argument is max_rows, which may be NULL: all rows.  Errors: another
 * argument is NULL (22004), no master yet (55000).
 */
static void
report_of_entity(FunctionCallInfo fcinfo, int entity, const char *template,
				 int nargs, const Oid *types, const char *const *names)
{
	SidecarTable *table;
	Datum		values[2];
	char		nulls[2];

	(void) sidecar_begin_rows(fcinfo, nargs, types, 0, NULL);
	for (int i = 0; i < nargs; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		if (i < nargs - 1)
			require_argument(fcinfo, i, names[i]);
	}

	table = open_to_read(&sidecar_entities[entity]);
	sidecar_require_master(table);
	sidecar_query(fcinfo, sidecar_expand(template, table->binding), nargs, types, values, nulls);
	sidecar_close(table);
}

/*
 * Raises 22004 if the function's argument is NULL.
 */
static void
require_argument(FunctionCallInfo fcinfo, int i, const char *name)
{
	if (PG_ARGISNULL(i))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

/*
 * True when counting either table by itself is the whole truth: every sidecar
 * row has its master, and no row security hides any from this role.
 */
static bool
counts_are_enough(const SidecarBinding *binding)
{
	return binding->key_validated &&
		check_enable_rls(binding->sidecar, InvalidOid, true) != RLS_ENABLED &&
		check_enable_rls(binding->master, InvalidOid, true) != RLS_ENABLED;
}

/*
 * Opens the entity's sidecar to read it and its master, which a report names.
 */
static SidecarTable *
open_to_read(const SidecarEntity *entity)
{
	return sidecar_open(entity, AccessShareLock, true);
}

/*
 * True when there is a table of parked records that the current role may count
 * by entity; *error tells what is wrong with it.
 */
static bool
rejects_readable(SidecarError **error)
{
	Oid			rejects = sidecar_find_rejects(error);

	return OidIsValid(rejects) &&
		sidecar_schema_aclcheck(get_rel_namespace(rejects), GetUserId(), ACL_USAGE) == ACLCHECK_OK &&
		(pg_class_aclcheck(rejects, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(rejects, get_attnum(rejects, "entity"), GetUserId(), ACL_SELECT) == ACLCHECK_OK);
}

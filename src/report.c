/*-------------------------------------------------------------------------
 *
 * report.c
 *		The reports.
 *
 * A report is an SQL text with places for what differs between entities.  It
 * is analyzed under a search_path of pg_catalog (query.c), so that only users'
 * names are qualified; they are appended to a text, or expanded in a constant,
 * and never looked at again.  The bounds and sort orders are those of the
 * indexes of the sidecar tables: with max_rows, the index stops the scan.
 *
 * No foreign key is believed: rows that were written with triggers off, or by
 * a subscription, have none looked at.  What speaks of masters joins them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "sidecar.h"

/* A report on one entity; the last argument is max_rows, which may be NULL */
typedef struct Report
{
	const char *sql;			/* for sidecar_expand() */
	int			nargs;			/* $1 and so on are the function's arguments */
	Oid			types[2];
	const char *names[2];
	bool		shows_columns;	/* of the sidecar, beside its key */
} Report;

/* The first and the last value of a column, in its statistics */
typedef struct Bounds
{
	Oid			type;			/* InvalidOid: not known */
	Datum		first;
	Datum		last;
} Bounds;

/* A row of sidecar_summary(), as far as it is made here; SIDECAR_UNKNOWN: NULL */
typedef struct Figures
{
	int64		total;
	int64		enriched;
	int64		stale;
	int64		low_confidence;
	int64		undated;
	int64		rejected;
	Bounds		times;
	Bounds		scores;
} Figures;

static const Figures nothing_known = {
	SIDECAR_UNKNOWN, SIDECAR_UNKNOWN, SIDECAR_UNKNOWN,
	SIDECAR_UNKNOWN, SIDECAR_UNKNOWN, SIDECAR_UNKNOWN
};

/* What estimates of a table rest on */
typedef struct TableSize
{
	bool		known;			/* all that has rows was analyzed, or vacuumed */
	bool		is_empty;
	List	   *relids;			/* the table or its partitions and children,
								 * as far as they have pages */
} TableSize;

/* Rows to be estimated, of which conditions choose some */
typedef struct Rows
{
	const SidecarTable *table;
	const char *from;			/* for sidecar_expand(), with a WHERE */
	ParamListInfo params;
} Rows;

/* A percentage with two decimals; NULL of an empty whole */
#define PERCENT(part, whole) \
	"CASE WHEN " whole " > 0 THEN round(100.0 * " part " / " whole ", 2) END "

#define MASTER_JOIN_SIDECAR \
	"{master} m JOIN {sidecar} s ON m.{master_key} = s.{key} "
#define MASTER_LEFT_JOIN_SIDECAR \
	"{master} m LEFT JOIN {sidecar} s ON m.{master_key} = s.{key} "

/*
 * sidecar_coverage().  Twice: what the plain query says, and what comes to the
 * same where keys_are_unique(), without sorting.
 */
#define COVERAGE(distinct) \
	"SELECT CAST({entity} AS text), c.total, c.enriched, " PERCENT("c.enriched", "c.total") \
	"FROM (SELECT count(" distinct "m.{master_key}) AS total, " \
	"count(" distinct "s.{key}) AS enriched " \
	"FROM " MASTER_LEFT_JOIN_SIDECAR ") c"

static const char coverage[] = COVERAGE("");
static const char coverage_distinct[] = COVERAGE("DISTINCT ");
static const char no_coverage[] =
"SELECT CAST({entity} AS text), CAST(NULL AS int8), CAST(NULL AS int8), CAST(NULL AS numeric)";

/*
 * sidecar_summary(): $1 older_than, $2 below, $3 rejected.  What is said of
 * rows counts those that the reports on them return.
 */
#define SUMMARY(distinct) \
	"SELECT CAST({entity} AS text), c.total, c.enriched, " PERCENT("c.enriched", "c.total") ", " \
	"c.stale, c.low_confidence, c.undated, $3, " \
	"CAST(c.oldest AS timestamp), CAST(c.latest AS timestamp), CAST(NULL AS timestamptz) " \
	"FROM (SELECT count(" distinct "m.{master_key}) AS total, " \
	"count(" distinct "s.{key}) AS enriched, " \
	"count(*) FILTER (WHERE s.last_enriched_at < (SELECT now() - $1)) AS stale, " \
	"count(*) FILTER (WHERE s.confidence_score < $2) AS low_confidence, " \
	"count(s.{key}) FILTER (WHERE s.last_enriched_at IS NULL) AS undated, " \
	"min(s.last_enriched_at) AS oldest, " \
	"max(s.last_enriched_at) AS latest " \
	"FROM " MASTER_LEFT_JOIN_SIDECAR ") c"

static const char summary[] = SUMMARY("");
static const char summary_distinct[] = SUMMARY("DISTINCT ");

/*
 * The same row of Figures: $1 to $6 in their order, $7 and $8 the bounds of
 * times, $9 the first score, $10 older_than, $11 below, $12 and $13 the tables.
 *
 * What lies before all that ANALYZE saw is nothing.  The planner believes the
 * index instead, in which a single row, or one deleted, makes it hundreds.
 */
static const char summary_of_figures[] =
"SELECT CAST({entity} AS text), $1, $2, " PERCENT("$2", "$1") ", "
"CASE WHEN $7 >= (now() - $10) THEN 0 ELSE $3 END, "
"CASE WHEN $9 >= $11 THEN 0 ELSE $4 END, "
"$5, $6, CAST($7 AS timestamp), CAST($8 AS timestamp), "
"CASE WHEN a.sidecar IS NOT NULL AND a.master IS NOT NULL THEN LEAST(a.sidecar, a.master) END "
"FROM (SELECT "
"GREATEST(pg_stat_get_last_analyze_time($12), pg_stat_get_last_autoanalyze_time($12)), "
"GREATEST(pg_stat_get_last_analyze_time($13), pg_stat_get_last_autoanalyze_time($13))) "
"a (sidecar, master)";

static const char sources[] =
"SELECT CAST({entity} AS text), CAST(s.enrichment_source AS text), count(*), "
"avg(s.confidence_score) AS avg_confidence, "
"CAST(max(s.last_enriched_at) AS timestamp) "
"FROM {sidecar} s "
"GROUP BY s.enrichment_source "
"ORDER BY avg_confidence DESC NULLS LAST, s.enrichment_source";

/* sidecar_stale_*(older_than, max_rows): days are whole days of 24 hours */
static const Report stale = {
	"SELECT CAST(s.{key} AS text), CAST({name} AS text), CAST(s.enrichment_source AS text), "
	"CAST(s.last_enriched_at AS timestamp), "
	"CASE WHEN isfinite(s.last_enriched_at) THEN EXTRACT(DAY FROM now() - s.last_enriched_at) END "
	"FROM " MASTER_JOIN_SIDECAR
	"WHERE s.last_enriched_at < (now() - $1) "
	"ORDER BY s.last_enriched_at "
	"LIMIT $2",
	2, {INTERVALOID, INT8OID}, {"older_than", "max_rows"}, true
};

/* sidecar_low_confidence_*(below, max_rows): below, not at, the threshold */
static const Report low_confidence = {
	"SELECT CAST(s.{key} AS text), CAST({name} AS text), CAST(s.enrichment_source AS text), "
	"CAST(s.confidence_score AS numeric), CAST(s.last_enriched_at AS timestamp) "
	"FROM " MASTER_JOIN_SIDECAR
	"WHERE s.confidence_score < $1 "
	"ORDER BY s.confidence_score "
	"LIMIT $2",
	2, {FLOAT8OID, INT8OID}, {"below", "max_rows"}, true
};

/* sidecar_missing_*(max_rows): masters without a sidecar row, in no order */
static const Report missing = {
	"SELECT CAST(m.{master_key} AS text), CAST({name} AS text) "
	"FROM {master} m "
	"WHERE NOT EXISTS (SELECT FROM {sidecar} s WHERE s.{key} = m.{master_key}) "
	"LIMIT $1",
	1, {INT8OID}, {"max_rows"}, false
};

/* What sidecar_status() counts */
static const char orphan_count[] =
"SELECT count(*) "
"FROM {sidecar} s "
"WHERE NOT EXISTS (SELECT FROM {master} m WHERE m.{master_key} = s.{key})";

/*
 * How it sums up sidecar_objects(): indexes that are not as they should be, and
 * what to do.  $1 rows without a master, $2 parked records, $3 their table; each
 * may be NULL.
 */
static const char object_summary[] =
"SELECT COALESCE(array_agg(o.object ORDER BY o.position) "
"FILTER (WHERE o.state <> 'present' AND o.kind = ANY ('{primary key,index}')), '{}'), "
"COALESCE(array_agg(format('%s %s: %s', o.kind, o.object, "
"CASE WHEN o.state = ANY ('{missing,replace}') THEN 'SELECT sidecar_install()' ELSE o.hint END) "
"ORDER BY o.position) FILTER (WHERE o.state <> 'present' OR o.hint IS NOT NULL), '{}') "
"|| CASE WHEN $1 > 0 THEN ARRAY[format("
"'rows without a master: %s; delete them, or load their masters', $1)] END "
"|| CASE WHEN $2 > 0 THEN ARRAY[format("
"'records parked in %s: %s; "
"see their errors, then SELECT * FROM sidecar_retry_rejects()', $3, $2)] END "
"FROM {schema}.sidecar_objects() o "
"WHERE o.entity = {entity}";

/* Rows of sidecar_status() that are of no entity */
static const char unbound[] =
"SELECT CAST(NULL AS text), u.sidecar_table, CAST(NULL AS text), CAST(NULL AS bool), "
"CAST(NULL AS bool), CAST(NULL AS int8), CAST(NULL AS bool), CAST(NULL AS text[]), "
"CAST(NULL AS int8), CAST(NULL AS text), ARRAY[u.to_do] "
"FROM {schema}.sidecar_unbound_tables() u "
"UNION ALL "
"SELECT NULL, CASE WHEN o.kind = 'table' THEN o.object END, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, "
"ARRAY[format('%s %s: %s', o.kind, o.object, "
"CASE WHEN o.state = 'missing' THEN 'SELECT sidecar_install()' ELSE o.hint END)] "
"FROM {schema}.sidecar_objects() o "
"WHERE o.entity IS NULL AND (o.state <> 'present' OR o.hint IS NOT NULL) "
"AND NOT (o.kind = 'schema' AND o.state = 'missing')";

static void query_table(FunctionCallInfo fcinfo, const SidecarTable *table, const char *sql,
						ParamListInfo params);
static Datum report_of_entity(FunctionCallInfo fcinfo, int entity, const Report *report);
static Datum get_threshold(const SidecarTable *table, Datum value);
static void require_argument(FunctionCallInfo fcinfo, int i, const char *name);
static void require_columns(const SidecarTable *table);
static void put_figures(FunctionCallInfo fcinfo, const SidecarBinding *binding,
						const Figures *figures, const Datum *thresholds);
static void estimate_figures(Figures *figures, const SidecarTable *table, Datum *thresholds);
static void estimate_parts(Figures *figures, const Rows *rows, const TableSize *size, int64 present);
static int64 estimate(const Rows *rows, const char *condition);
static int64 estimate_part(const Rows *rows, const char *part, const char *other, int64 whole);
static int64 at_most(int64 figure, int64 limit);
static int64 estimate_rejects(Relation rejects, const SidecarEntity *entity);
static TableSize look_at_size(Oid relid);
static bool has_statistics(const TableSize *size, const char *column);
static bool is_filtered(Oid relid);
static void read_bounds(Bounds *bounds, Oid sidecar, const char *column, const TableSize *size);
static bool may_see_all(Oid relid, const char *column);
static void widen_bounds(Bounds *bounds, const AttStatsSlot *slot);
static void append_field_coverage(StringInfo sql, const SidecarTable *table);
static void tell_tables(Datum *values, bool *nulls, const SidecarEntity *entity);
static void sum_up_objects(Datum *values, bool *nulls, const SidecarBinding *binding, Relation rejects);
static int64 count_rows(const char *sql, List *relids);
static bool keys_are_unique(const SidecarTable *table);
static bool has_unique_key(Relation rel, AttrNumber key);
static bool is_unique_on(Relation index, AttrNumber key);
static List *relids_of(const SidecarTable *table);
static Relation open_readable_rejects(void);
static int64 count_rejects(Relation rejects, const SidecarEntity *entity);

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
 * The plain coverage query for each entity; an entity that has no sidecar
 * table or no master has NULLs.
 */
Datum
sidecar_coverage(PG_FUNCTION_ARGS)
{
	(void) sidecar_begin_rows(fcinfo, 0, NULL, 0, NULL);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		const SidecarEntity *entity = &sidecar_entities[i];
		SidecarTable *table = sidecar_open_if_there(entity, true);
		const SidecarBinding *binding = table ? table->binding : sidecar_lookup(entity);
		const char *sql = table == NULL || !OidIsValid(binding->master) ? no_coverage :
		keys_are_unique(table) ? coverage : coverage_distinct;

		if (table != NULL)
			query_table(fcinfo, table, sidecar_expand(sql, binding), NULL);
		else
			sidecar_query(fcinfo, sidecar_expand(sql, binding), NULL, NIL);
		if (table != NULL)
			sidecar_close(table);
	}
	return (Datum) 0;
}

/*
 * sidecar_summary(older_than, below, exact) RETURNS TABLE (entity, total,
 * enriched, enrichment_coverage_pct, stale, low_confidence, undated, rejected,
 * oldest_enrichment, latest_enrichment, statistics_at)
 *
 * A row per entity, of one pass over both tables, or, unless exact, of none:
 * see estimate_figures().  stale and low_confidence are the numbers of rows
 * that those reports have, undated that of masters' rows without
 * last_enriched_at, rejected that of parked records, NULL for a role that may
 * not read them.  Of an entity that has no sidecar table, no master, or an
 * unknown time zone, only rejected is known.
 *
 * Errors: an argument is NULL (22004), the table of parked records has columns
 * of other types (42804).
 */
Datum
sidecar_summary(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INTERVALOID, FLOAT8OID, BOOLOID};
	static const char *const names[] = {"older_than", "below", "exact"};
	static const Oid param_types[] = {INTERVALOID, NUMERICOID, INT8OID};
	const SidecarError *error;
	Relation	rejects;

	(void) sidecar_begin_rows(fcinfo, lengthof(types), types, 0, NULL);
	for (int i = 0; i < lengthof(names); i++)
		require_argument(fcinfo, i, names[i]);
	/* open to the end, as the tables are: it is named again for each entity */
	rejects = open_readable_rejects();
	error = sidecar_lookup(&sidecar_entities[SIDECAR_PARKED])->error;
	if (error != NULL && error->sqlstate == ERRCODE_DATATYPE_MISMATCH)
		sidecar_raise(error);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		const SidecarEntity *entity = &sidecar_entities[i];
		SidecarTable *table = sidecar_open_if_there(entity, true);
		const SidecarBinding *binding = table ? table->binding : sidecar_lookup(entity);
		bool		is_whole = table != NULL && OidIsValid(binding->master) && binding->zone != NULL;
		bool		exact = PG_GETARG_BOOL(2);
		Figures		figures = nothing_known;
		Datum		params[] = {PG_GETARG_DATUM(0), (Datum) 0, (Datum) 0};
		bool		nulls[lengthof(params)] = {false, false, rejects == NULL};

		if (rejects != NULL)
			figures.rejected = exact ? count_rejects(rejects, entity) :
				estimate_rejects(rejects, entity);
		/* an error that names the column instead of one about our statement */
		if (is_whole)
			require_columns(table);
		params[1] = get_threshold(is_whole ? table : NULL, PG_GETARG_DATUM(1));
		if (is_whole && exact)
		{
			const char *sql = keys_are_unique(table) ? summary : summary_distinct;

			/*
			 * as a parameter: a scalar subquery would be planned for each
			 * group
			 */
			params[2] = Int64GetDatum(figures.rejected);
			query_table(fcinfo, table, sidecar_expand(sql, binding),
						sidecar_params(lengthof(params), param_types, params, nulls));
		}
		else if (is_whole)
		{
			int			nestlevel = sidecar_enter_zone(table);

			estimate_figures(&figures, table, params);
			put_figures(fcinfo, binding, &figures, params);
			sidecar_leave_zone(nestlevel);
		}
		else
			put_figures(fcinfo, binding, &figures, params);
		if (table != NULL)
			sidecar_close(table);
	}
	if (rejects != NULL)
		table_close(rejects, NoLock);
	return (Datum) 0;
}

/*
 * Puts out a row of sidecar_summary() with these figures.
 */
static void
put_figures(FunctionCallInfo fcinfo, const SidecarBinding *binding, const Figures *figures,
			const Datum *thresholds)
{
	const Bounds *times = &figures->times;
	const Bounds *scores = &figures->scores;
	bool		no_times = !OidIsValid(times->type);
	Oid			time_type = no_times ? TIMESTAMPOID : times->type;

	/* statistics are of two tables whose times mean something, or of none */
	bool		no_tables = !OidIsValid(binding->sidecar) || !OidIsValid(binding->master) || binding->zone == NULL;
#define FIGURE(figure) {Int64GetDatum(figure), INT8OID, (figure) == SIDECAR_UNKNOWN}
	const struct
	{
		Datum		value;
		Oid			type;
		bool		isnull;
	}			row[] = {
		FIGURE(figures->total),
		FIGURE(figures->enriched),
		FIGURE(figures->stale),
		FIGURE(figures->low_confidence),
		FIGURE(figures->undated),
		FIGURE(figures->rejected),
		{times->first, time_type, no_times},
		{times->last, time_type, no_times},
		{scores->first, NUMERICOID, !OidIsValid(scores->type)},
		{thresholds[0], INTERVALOID, false},
		{thresholds[1], NUMERICOID, false},
		{ObjectIdGetDatum(binding->sidecar), OIDOID, no_tables},
		{ObjectIdGetDatum(binding->master), OIDOID, no_tables},
	};
	Oid			types[lengthof(row)];
	Datum		values[lengthof(row)];
	bool		nulls[lengthof(row)];

	for (int i = 0; i < lengthof(row); i++)
	{
		types[i] = row[i].type;
		values[i] = row[i].value;
		nulls[i] = row[i].isnull;
	}
	sidecar_query(fcinfo, sidecar_expand(summary_of_figures, binding),
				  sidecar_params(lengthof(row), types, values, nulls), NIL);
}

/*
 * Figures that no table is read for: the planner's own estimates, from the
 * statistics that ANALYZE gathered, and the first and the last time in them.
 *
 * Unknown is what was never analyzed, and what somebody else reads (a foreign
 * table, Citus).  Row security is the planner's to guess, like any filter.
 * Guesses are made one by one, so they are made to agree: no more rows are
 * enriched than there are masters, and none is stale, undated or of low
 * confidence that is not enriched, nor both stale and undated.
 */
static void
estimate_figures(Figures *figures, const SidecarTable *table, Datum *thresholds)
{
	static const Oid types[] = {INTERVALOID, NUMERICOID};
	static const bool nulls[lengthof(types)] = {false};
	const SidecarBinding *binding = table->binding;
	ParamListInfo params = sidecar_params(lengthof(types), types, thresholds, nulls);
	TableSize	master = look_at_size(binding->master);
	TableSize	sidecar = look_at_size(binding->sidecar);
	Rows		masters = {table, "{master} m WHERE m.{master_key} IS NOT NULL", NULL};
	Rows		rows = {table, "{sidecar} s WHERE true", params};
	int64		present = SIDECAR_UNKNOWN;

	/* what row security hides of the masters, it hides of what they have */
	if (is_filtered(binding->master))
	{
		rows.from = MASTER_JOIN_SIDECAR "WHERE true";
		sidecar.known = sidecar.known && master.known;
	}
	/* NULL keys are no masters, as count(key) has it */
	if (master.known)
		figures->total = estimate(&masters, "true");
	if (sidecar.known)
		present = estimate(&rows, "true");

	/*
	 * the planner says 1 of nothing, and Citus has rows where there are no
	 * pages
	 */
	if (master.is_empty && figures->total != SIDECAR_UNKNOWN)
		figures->total = 0;
	/* of a part of what is not known nothing is known either */
	if (present == SIDECAR_UNKNOWN)
		return;

	/*
	 * orphans are estimated as well, but a coverage over 100 % is not
	 * believed
	 */
	figures->enriched = sidecar.is_empty ? 0 : at_most(present, figures->total);
	if (figures->enriched == 0)
	{
		/* ANALYZE leaves the statistics of an empty table as they were */
		figures->stale = figures->low_confidence = figures->undated = 0;
		return;
	}
	estimate_parts(figures, &rows, &sidecar, present);
}

/*
 * Estimates how many of the rows are stale and so on, of a table that has some.
 */
static void
estimate_parts(Figures *figures, const Rows *rows, const TableSize *size, int64 present)
{
	Oid			sidecar = rows->table->binding->sidecar;

	if (has_statistics(size, SIDECAR_COL_TIME))
	{
		figures->undated = estimate_part(rows, "s.last_enriched_at IS NULL",
										 "s.last_enriched_at IS NOT NULL", present);
		figures->stale = estimate_part(rows, "s.last_enriched_at < (now() - $1)",
									   "s.last_enriched_at >= (now() - $1)",
									   present - figures->undated);
		figures->undated = at_most(figures->undated, figures->enriched);
		figures->stale = at_most(figures->stale, figures->enriched - figures->undated);
		read_bounds(&figures->times, sidecar, SIDECAR_COL_TIME, size);
	}
	if (has_statistics(size, SIDECAR_COL_SCORE))
	{
		int64		scored = estimate(rows, "s.confidence_score IS NOT NULL");

		figures->low_confidence = estimate_part(rows, "s.confidence_score < $2",
												"s.confidence_score >= $2", scored);
		figures->low_confidence = at_most(figures->low_confidence, figures->enriched);
		read_bounds(&figures->scores, sidecar, SIDECAR_COL_SCORE, size);
	}
}

/*
 * The estimated number of those of the rows for which the condition, a
 * constant, is true.
 */
static int64
estimate(const Rows *rows, const char *condition)
{
	char	   *sql = psprintf("SELECT FROM %s AND %s", rows->from, condition);

	return sidecar_estimate(sidecar_expand(sql, rows->table->binding), rows->params,
							relids_of(rows->table));
}

/*
 * The estimated number of rows of one part, if the whole has two.
 *
 * The planner never says of a part that it has no rows, but 1, of each
 * partition.  It says so of the other part that this is the whole; so it is
 * the larger part that is believed.
 */
static int64
estimate_part(const Rows *rows, const char *part, const char *other, int64 whole)
{
	int64		part_rows = estimate(rows, part);
	int64		other_rows = estimate(rows, other);

	return part_rows > other_rows ? part_rows : Max(whole - other_rows, 0);
}

/*
 * The figure, but no more than the limit, if that is known.
 */
static int64
at_most(int64 figure, int64 limit)
{
	return limit == SIDECAR_UNKNOWN ? figure : Min(figure, limit);
}

/*
 * The estimated number of the entity's parked records.
 */
static int64
estimate_rejects(Relation rejects, const SidecarEntity *entity)
{
	TableSize	size = look_at_size(RelationGetRelid(rejects));
	List	   *relids = list_make1_oid(RelationGetRelid(rejects));
	char	   *table = sidecar_relation_sql(RelationGetRelid(rejects));
	const char *label = quote_literal_cstr(entity->label);
	int64		all;
	int64		own;
	int64		others;

	if (size.known && size.is_empty)
		return 0;
	if (!size.known || !has_statistics(&size, "entity"))
		return SIDECAR_UNKNOWN;

	/* as in estimate_part(), but the table's name must not be expanded */
	all = sidecar_estimate(psprintf("SELECT FROM %s r", table), NULL, relids);
	own = sidecar_estimate(psprintf("SELECT FROM %s r WHERE r.entity = %s", table, label),
						   NULL, relids);
	others = sidecar_estimate(psprintf("SELECT FROM %s r WHERE r.entity <> %s", table, label),
							  NULL, relids);
	return own > others ? own : Max(all - others, 0);
}

/*
 * What is known of a table's size without reading it; locks its partitions and
 * children.
 */
static TableSize
look_at_size(Oid relid)
{
	TableSize	size = {.known = true};
	double		rows = 0;
	ListCell   *lc;

	/* a partitioned table has no pages of its own */
	foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);

		/* another server's rows are counted there, if anywhere */
		if (rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			size.known = false;
		else if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind) && RelationGetNumberOfBlocks(rel) > 0)
		{
			BlockNumber pages;
			double		tuples;
			double		allvisible;

			/* what the planner does: rows per page then, times the pages now */
			estimate_rel_size(rel, NULL, &pages, &tuples, &allvisible);
			rows += tuples;
			size.known = size.known && rel->rd_rel->reltuples >= 0;
			size.relids = lappend_oid(size.relids, RelationGetRelid(rel));
		}
		table_close(rel, NoLock);
	}
	/* pages without rows: deleted, and not vacuumed away */
	size.is_empty = size.known && rows < 1;
	return size;
}

/*
 * True if ANALYZE has looked at the column, of all that has rows: VACUUM and
 * CREATE INDEX count rows too, and the planner guesses a third for the rest.
 */
static bool
has_statistics(const TableSize *size, const char *column)
{
	ListCell   *lc;

	foreach(lc, size->relids)
	{
		Oid			relid = lfirst_oid(lc);

		if (!SearchSysCacheExists3(STATRELATTINH, ObjectIdGetDatum(relid),
								   Int16GetDatum(get_attnum(relid, column)), BoolGetDatum(false)))
			return false;
	}
	return true;
}

/*
 * True if row security may hide rows of the table from this role.
 */
static bool
is_filtered(Oid relid)
{
	return check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED;
}

/*
 * Reads the first and the last value of the sidecar's column in the statistics
 * of what has rows, as pg_stats shows them: to those who may see all of them.
 */
static void
read_bounds(Bounds *bounds, Oid sidecar, const char *column, const TableSize *size)
{
	static const int kinds[] = {STATISTIC_KIND_HISTOGRAM, STATISTIC_KIND_MCV};
	ListCell   *lc;

	/* the first time is a value of a row that policies may hide */
	if (!may_see_all(sidecar, column))
		return;
	foreach(lc, size->relids)
	{
		Oid			relid = lfirst_oid(lc);
		HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid),
											Int16GetDatum(get_attnum(relid, column)),
											BoolGetDatum(false));

		/* never analyzed, or all of it is NULL */
		if (!HeapTupleIsValid(tuple))
			continue;
		for (int k = 0; k < lengthof(kinds); k++)
		{
			AttStatsSlot slot;

			if (!get_attstatsslot(&slot, tuple, kinds[k], InvalidOid, ATTSTATSSLOT_VALUES))
				continue;
			/* the histogram leaves out the most common values */
			widen_bounds(bounds, &slot);
			free_attstatsslot(&slot);
		}
		ReleaseSysCache(tuple);
	}
}

/*
 * True if the current role may read every row's value of the column.
 */
static bool
may_see_all(Oid relid, const char *column)
{
	AttrNumber	attnum = get_attnum(relid, column);
	Oid			role = GetUserId();

	return !is_filtered(relid) &&
		(pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(relid, attnum, role, ACL_SELECT) == ACLCHECK_OK);
}

/*
 * Takes the values of the slot into the bounds; copies, for they go with it.
 */
static void
widen_bounds(Bounds *bounds, const AttStatsSlot *slot)
{
	Oid			base = getBaseType(slot->valuetype);
	TypeCacheEntry *type = lookup_type_cache(base, TYPECACHE_CMP_PROC_FINFO);

	for (int i = 0; i < slot->nvalues; i++)
	{
		Datum		value = slot->values[i];
		bool		none = !OidIsValid(bounds->type);

		/* by the type's own order: a numeric is no number to C */
		if (none || DatumGetInt32(FunctionCall2(&type->cmp_proc_finfo, value, bounds->first)) < 0)
			bounds->first = datumCopy(value, type->typbyval, type->typlen);
		if (none || DatumGetInt32(FunctionCall2(&type->cmp_proc_finfo, value, bounds->last)) > 0)
			bounds->last = datumCopy(value, type->typbyval, type->typlen);
		bounds->type = base;
	}
}

/*
 * sidecar_field_coverage() RETURNS TABLE (entity, field, filled, filled_pct)
 *
 * For every column of the sidecar tables but key, created_at and updated_at,
 * in the table's order: how many masters have it filled (not NULL).  One pass
 * over the sidecar, and two over the masters' keys.  An entity without a
 * sidecar table has no rows, one without a master has NULLs.
 */
Datum
sidecar_field_coverage(PG_FUNCTION_ARGS)
{
	(void) sidecar_begin_rows(fcinfo, 0, NULL, 0, NULL);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		SidecarTable *table = sidecar_open_if_there(&sidecar_entities[i], true);
		StringInfoData sql;

		/* one entity that is not there takes nothing from the other */
		if (table == NULL)
			continue;
		initStringInfo(&sql);
		append_field_coverage(&sql, table);
		/* a sidecar may have been stripped to its key */
		if (sql.len > 0)
			query_table(fcinfo, table, sql.data, NULL);
		sidecar_close(table);
	}
	return (Datum) 0;
}

/*
 * Appends the statement that tells of the table's columns; nothing, if none is
 * to be told of:
 *
 *	SELECT CAST('company' AS text), f.field, f.filled, <percentage>
 *	FROM (SELECT count(m.key) AS total FROM master m) m,
 *	(SELECT count(s.ein_number) AS c2, ... FROM master m JOIN sidecar s ON ...) s,
 *	LATERAL (VALUES (2, CAST('ein_number' AS text), s.c2), ...) f (position, field, filled)
 *	ORDER BY f.position
 *
 * Where keys are not unique: count(DISTINCT s.key) FILTER (WHERE s.ein_number
 * IS NOT NULL), like the plain coverage query.
 */
static void
append_field_coverage(StringInfo sql, const SidecarTable *table)
{
	const SidecarBinding *binding = table->binding;
	TupleDesc	columns = RelationGetDescr(table->rel);
	bool		has_master = OidIsValid(binding->master);
	bool		unique = has_master && keys_are_unique(table);
	const char *key = quote_identifier(binding->entity->key);
	const char *total;
	const char *join;
	StringInfoData counts;
	StringInfoData fields;

	initStringInfo(&counts);
	initStringInfo(&fields);
	for (int c = 0; c < columns->natts; c++)
	{
		const char *name = NameStr(TupleDescAttr(columns, c)->attname);
		const char *column = quote_identifier(name);

		/* those that say nothing of enrichment: every row has them */
		if (TupleDescAttr(columns, c)->attisdropped || strcmp(name, binding->entity->key) == 0 ||
			strcmp(name, SIDECAR_COL_CREATED) == 0 || strcmp(name, SIDECAR_COL_UPDATED) == 0)
			continue;
		appendStringInfoString(&counts, counts.len > 0 ? ", " : "");
		if (!has_master)
			appendStringInfoString(&counts, "CAST(NULL AS int8)");
		else if (unique)
			appendStringInfo(&counts, "count(s.%s)", column);
		else
			appendStringInfo(&counts, "count(DISTINCT s.%s) "
							 "FILTER (WHERE s.%s IS DISTINCT FROM NULL)", key, column);
		/* by number: two users' names may differ in nothing that SQL sees */
		appendStringInfo(&counts, " AS c%d", c);
		appendStringInfo(&fields, "%s(%d, CAST(%s AS text), s.c%d)",
						 fields.len > 0 ? ", " : "", c, quote_literal_cstr(name), c);
	}
	/* VALUES must have a row */
	if (fields.len == 0)
		return;

	total = !has_master ? "FROM (SELECT CAST(NULL AS int8) AS total) m, " :
		unique ? "FROM (SELECT count(m.{master_key}) AS total FROM {master} m) m, " :
		"FROM (SELECT count(DISTINCT m.{master_key}) AS total FROM {master} m) m, ";
	join = has_master ? "FROM " MASTER_JOIN_SIDECAR : "";

	/* users' names are appended to what has been expanded */
	appendStringInfoString(sql, sidecar_expand("SELECT CAST({entity} AS text), f.field, f.filled, "
											   PERCENT("f.filled", "m.total"), binding));
	appendStringInfoString(sql, sidecar_expand(total, binding));
	appendStringInfo(sql, "(SELECT %s %s) s, ", counts.data, sidecar_expand(join, binding));
	appendStringInfo(sql, "LATERAL (VALUES %s) f (position, field, filled) ", fields.data);
	appendStringInfoString(sql, "ORDER BY f.position");
}

/*
 * sidecar_sources() RETURNS TABLE (entity, enrichment_source,
 * total_enrichments, avg_confidence, latest_enrichment)
 *
 * What each source sent, per entity; a source without any score comes last.
 * An entity without a sidecar table has no rows; masters are not asked.
 */
Datum
sidecar_sources(PG_FUNCTION_ARGS)
{
	(void) sidecar_begin_rows(fcinfo, 0, NULL, 0, NULL);
	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		SidecarTable *table = sidecar_open_if_there(&sidecar_entities[i], false);

		if (table == NULL)
			continue;
		require_columns(table);
		query_table(fcinfo, table, sidecar_expand(sources, table->binding), NULL);
		sidecar_close(table);
	}
	return (Datum) 0;
}

Datum
sidecar_stale_companies(PG_FUNCTION_ARGS)
{
	return report_of_entity(fcinfo, SIDECAR_COMPANY, &stale);
}

Datum
sidecar_stale_people(PG_FUNCTION_ARGS)
{
	return report_of_entity(fcinfo, SIDECAR_PEOPLE, &stale);
}

Datum
sidecar_low_confidence_companies(PG_FUNCTION_ARGS)
{
	return report_of_entity(fcinfo, SIDECAR_COMPANY, &low_confidence);
}

Datum
sidecar_low_confidence_people(PG_FUNCTION_ARGS)
{
	return report_of_entity(fcinfo, SIDECAR_PEOPLE, &low_confidence);
}

Datum
sidecar_missing_companies(PG_FUNCTION_ARGS)
{
	return report_of_entity(fcinfo, SIDECAR_COMPANY, &missing);
}

Datum
sidecar_missing_people(PG_FUNCTION_ARGS)
{
	return report_of_entity(fcinfo, SIDECAR_PEOPLE, &missing);
}

/*
 * sidecar_status() RETURNS TABLE (entity, sidecar_table, master_table,
 * foreign_key_present, foreign_key_validated, orphan_rows, trigger_enabled,
 * missing_indexes, rejects_parked, time_zone, to_do)
 *
 * Works whatever is missing; counts orphans by looking at every row, because a
 * validated key does not speak for rows written with triggers disabled.
 * rejects_parked is NULL for a role that may not read them.
 */
Datum
sidecar_status(PG_FUNCTION_ARGS)
{
	static const Oid columns[] = {
		TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID, INT8OID, BOOLOID,
		TEXTARRAYOID, INT8OID, TEXTOID, TEXTARRAYOID
	};
	ReturnSetInfo *rsinfo = sidecar_begin_rows(fcinfo, 0, NULL, lengthof(columns), columns);
	Relation	rejects = open_readable_rejects();

	for (int i = 0; i < SIDECAR_ENTITIES; i++)
	{
		Datum		values[lengthof(columns)] = {0};
		bool		nulls[lengthof(columns)] = {false};

		nulls[8] = rejects == NULL;
		if (!nulls[8])
			values[8] = Int64GetDatum(count_rejects(rejects, &sidecar_entities[i]));
		tell_tables(values, nulls, &sidecar_entities[i]);
		sum_up_objects(values, nulls, sidecar_lookup(&sidecar_entities[i]), rejects);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	if (rejects != NULL)
		table_close(rejects, NoLock);
	sidecar_query(fcinfo, sidecar_expand(unbound, sidecar_lookup(&sidecar_entities[0])), NULL, NIL);
	return (Datum) 0;
}

/*
 * Sets the columns of a row of sidecar_status() that tell of the entity's
 * tables.
 */
static void
tell_tables(Datum *values, bool *nulls, const SidecarEntity *entity)
{
	const SidecarBinding *binding = sidecar_lookup(entity);
	SidecarTable *table = NULL;

	/* a table that cannot be used is not read either */
	if (OidIsValid(binding->sidecar) && sidecar_problem(binding) == NULL)
		table = sidecar_open_if_there(entity, true);
	if (table != NULL)
		binding = table->binding;
	/* from here on as it is while it is open */
	values[0] = CStringGetTextDatum(entity->label);
	nulls[1] = nulls[6] = !OidIsValid(binding->sidecar);
	if (!nulls[1])
		values[1] = CStringGetTextDatum(sidecar_relation_sql(binding->sidecar));
	nulls[2] = nulls[4] = !OidIsValid(binding->master);
	if (!nulls[2])
		values[2] = CStringGetTextDatum(sidecar_relation_sql(binding->master));
	values[3] = BoolGetDatum(OidIsValid(binding->master));
	values[4] = BoolGetDatum(binding->key_validated);
	nulls[5] = table == NULL || table->master == NULL;
	if (!nulls[5])
		values[5] = Int64GetDatum(count_rows(sidecar_expand(orphan_count, binding), relids_of(table)));
	values[6] = BoolGetDatum(binding->trigger_enabled);
	nulls[9] = binding->zone == NULL;
	if (!nulls[9])
		values[9] = CStringGetTextDatum(binding->zone_name);
	if (table != NULL)
		sidecar_close(table);
}

/*
 * Sets missing_indexes and to_do of a row of sidecar_status(), by what its
 * other columns are.
 */
static void
sum_up_objects(Datum *values, bool *nulls, const SidecarBinding *binding, Relation rejects)
{
	static const Oid types[] = {INT8OID, INT8OID, TEXTOID};
	const Datum params[] = {
		values[5], values[8],
		rejects != NULL ? CStringGetTextDatum(sidecar_relation_sql(RelationGetRelid(rejects))) : (Datum) 0
	};
	const bool	paramnulls[] = {nulls[5], nulls[8], rejects == NULL};
	Datum		lists[2];
	bool		listnulls[2];

	/* the function that is asked has its own search_path */
	sidecar_query_row(sidecar_expand(object_summary, binding),
					  sidecar_params(lengthof(types), types, params, paramnulls), NIL,
					  lengthof(lists), lists, listnulls);
	values[7] = lists[0];
	nulls[7] = listnulls[0];
	values[10] = lists[1];
	nulls[10] = listnulls[1];
}

/*
 * Runs a query on an entity's tables, in the zone of its times; where that is
 * not known, in the session's: whose times matter has refused then.
 */
static void
query_table(FunctionCallInfo fcinfo, const SidecarTable *table, const char *sql, ParamListInfo params)
{
	int			nestlevel = table->binding->zone != NULL ? sidecar_enter_zone(table) : 0;

	sidecar_query(fcinfo, sql, params, relids_of(table));
	sidecar_leave_zone(nestlevel);
}

/*
 * Runs a report on one entity with the function's own arguments.
 *
 * Errors: an argument other than max_rows is NULL (22004), no master yet
 * (55000), times of an unknown zone (22023), and those of sidecar_open().
 */
static Datum
report_of_entity(FunctionCallInfo fcinfo, int entity, const Report *report)
{
	SidecarTable *table;
	Oid			types[lengthof(report->types)];
	Datum		values[lengthof(report->types)];
	bool		nulls[lengthof(report->types)];

	(void) sidecar_begin_rows(fcinfo, report->nargs, report->types, 0, NULL);
	for (int i = 0; i < report->nargs; i++)
	{
		/* max_rows may be NULL, which LIMIT takes for all */
		values[i] = PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i);
		types[i] = report->types[i];
		if (i < report->nargs - 1)
			require_argument(fcinfo, i, report->names[i]);
	}

	table = sidecar_open(&sidecar_entities[entity], AccessShareLock, true);
	sidecar_require_master(table);
	if (report->shows_columns)
	{
		require_columns(table);
		sidecar_require_zone(table);
	}
	for (int i = 0; i < report->nargs; i++)
	{
		if (types[i] != FLOAT8OID)
			continue;
		types[i] = NUMERICOID;
		values[i] = get_threshold(table, values[i]);
	}
	query_table(fcinfo, table, sidecar_expand(report->sql, table->binding),
				sidecar_params(report->nargs, types, values, nulls));
	sidecar_close(table);
	return (Datum) 0;
}

/*
 * A threshold as the table's scores are, if there is one: numeric, or no index of
 * theirs would be used, and rounded as they are.
 */
static Datum
get_threshold(const SidecarTable *table, Datum value)
{
	Datum		number = DirectFunctionCall1(float8_numeric, value);

	return table == NULL ? number :
		sidecar_round_score(sidecar_describe_column(sidecar_column(table, SIDECAR_COL_SCORE)), number);
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
 * Raises 42703 if the sidecar lacks one of the columns that reports speak of.
 */
static void
require_columns(const SidecarTable *table)
{
	(void) sidecar_column(table, SIDECAR_COL_SOURCE);
	(void) sidecar_column(table, SIDECAR_COL_SCORE);
	(void) sidecar_column(table, SIDECAR_COL_TIME);
}

/*
 * The answer of a query for one count.
 */
static int64
count_rows(const char *sql, List *relids)
{
	Datum		count;
	bool		isnull;

	sidecar_query_row(sql, NULL, relids, 1, &count, &isnull);
	return DatumGetInt64(count);
}

/*
 * True if no two rows of the sidecar, nor of the master, have equal keys, so
 * that a join of them counts each once.
 *
 * This is about rows, so a foreign key is no proof of it; and about equality as
 * the join and DISTINCT see it, which is that of the bytes in a deterministic
 * collation and in no other.
 */
static bool
keys_are_unique(const SidecarTable *table)
{
	const SidecarBinding *binding = table->binding;

	return has_unique_key(table->rel, get_attnum(binding->sidecar, binding->entity->key)) &&
		has_unique_key(table->master, binding->master_key);
}

/*
 * True if a query of the table sees each key once, as one of its unique indexes
 * ensures.
 */
static bool
has_unique_key(Relation rel, AttrNumber key)
{
	Oid			collation = TupleDescAttr(RelationGetDescr(rel), key - 1)->attcollation;
	List	   *indexes;
	ListCell   *lc;
	bool		found = false;

	/* an index is of one table: children by INHERITS have their own keys */
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE && has_subclass(RelationGetRelid(rel)))
		return false;
	/* unequal bytes may be equal keys there */
	if (!get_collation_isdeterministic(collation))
		return false;
	indexes = RelationGetIndexList(rel);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		/* all are opened, and closed: there are a handful */
		found = found || is_unique_on(index, key);
		index_close(index, NoLock);
	}
	list_free(indexes);
	return found;
}

/*
 * True if the index is proof that no two rows that the active snapshot sees
 * have the same text in that column.
 */
static bool
is_unique_on(Relation index, AttrNumber key)
{
	Form_pg_index form = index->rd_index;
	TransactionId made = HeapTupleHeaderGetXmin(index->rd_indextuple->t_data);

	/* not while a transaction may hold two rows, nor of some rows only */
	if (!form->indisunique || !form->indisvalid || !form->indimmediate ||
		form->indnkeyatts != 1 || form->indkey.values[0] != key ||
		RelationGetIndexPredicate(index) != NIL)
		return false;

	/* what equals to the index is what equals to the join */
	if (index->rd_rel->relam != BTREE_AM_OID ||
		get_opfamily_member(index->rd_opfamily[0], index->rd_opcintype[0], index->rd_opcintype[0],
							BTEqualStrategyNumber) != TextEqualOperator)
		return false;

	/*
	 * a snapshot that is older than it may see rows deleted before it was
	 * made
	 */
	return !TransactionIdIsCurrentTransactionId(made) &&
		!XidInMVCCSnapshot(made, GetActiveSnapshot());
}

/*
 * What a report on the entity names; no table: nothing.
 */
static List *
relids_of(const SidecarTable *table)
{
	if (table == NULL)
		return NIL;
	if (table->master == NULL)
		return list_make1_oid(RelationGetRelid(table->rel));
	return list_make2_oid(RelationGetRelid(table->rel), RelationGetRelid(table->master));
}

/*
 * The table of parked records, open, or NULL if there is none that the current
 * role may count by entity.
 */
static Relation
open_readable_rejects(void)
{
	const SidecarBinding *binding = sidecar_lookup(&sidecar_entities[SIDECAR_PARKED]);
	Oid			rejects = binding->sidecar;
	Oid			role = GetUserId();

	/* before the lock, as in sidecar_open() */
	if (binding->error != NULL ||
		sidecar_schema_aclcheck(get_rel_namespace(rejects), role, ACL_USAGE) != ACLCHECK_OK ||
		(pg_class_aclcheck(rejects, role, ACL_SELECT) != ACLCHECK_OK &&
		 pg_attribute_aclcheck(rejects, get_attnum(rejects, "entity"), role, ACL_SELECT) != ACLCHECK_OK))
		return NULL;
	return sidecar_open_rejects(AccessShareLock);
}

/*
 * How many of the entity's records are parked.
 */
static int64
count_rejects(Relation rejects, const SidecarEntity *entity)
{
	Oid			relid = RelationGetRelid(rejects);

	return count_rows(psprintf("SELECT count(*) FROM %s r WHERE r.entity = %s",
							   sidecar_relation_sql(relid), quote_literal_cstr(entity->label)),
					  list_make1_oid(relid));
}

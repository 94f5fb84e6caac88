/*-------------------------------------------------------------------------
 *
 * deparse.c
 *		The SQL that stores rows by a survivorship rule, and that compares them
 *		with what is stored.
 *
 * One statement decides by the rule and writes, so that no other session comes
 * in between.  Of a single record, of which key, EIN and time are given, that
 * is, under "newest":
 *
 *		INSERT INTO marketing.company_sidecar AS s
 *			(company_unique_id, ein_number, last_enriched_at)
 *		VALUES ($1, $2, $7)
 *		ON CONFLICT (company_unique_id) DO UPDATE
 *		SET ein_number = COALESCE(EXCLUDED.ein_number, s.ein_number),
 *			last_enriched_at = COALESCE(EXCLUDED.last_enriched_at, s.last_enriched_at)
 *		WHERE (s.last_enriched_at IS NULL OR EXCLUDED.last_enriched_at >= s.last_enriched_at)
 *		AND (EXCLUDED.last_enriched_at <> s.last_enriched_at
 *			OR record_image_ne(ROW(<what SET sets>), ROW(<what is stored>)))
 *		RETURNING s.xmax = 0, s.company_unique_id, s.tableoid
 *
 * A chunk of rows comes by SELECT ... FROM sidecar_chunk in the place of VALUES,
 * its columns by their numbers.
 *
 * Names and operators are qualified (not shown here): users' triggers run
 * inside these statements, under the search_path of the caller.  Nothing in DO
 * UPDATE, its WHERE or RETURNING is volatile, and a single record's statement
 * has equality on the key, so that a distributed table (Citus) takes it as one
 * query to one shard.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "sidecar.h"

/* Operators, qualified */
#define EQ " OPERATOR(pg_catalog.=) "
#define NE " OPERATOR(pg_catalog.<>) "
#define GE " OPERATOR(pg_catalog.>=) "
#define GT " OPERATOR(pg_catalog.>) "

static const char *master_key(const SidecarTable *table);
static void append_chunk(StringInfo sql, const SidecarColumns *columns);
static char *deparse_write(const SidecarTable *table, const SidecarRequest *request, const char *source);
static char *deparse_update(const SidecarTable *table, const SidecarRequest *request, char **values);
static void append_assignments(StringInfo sql, const SidecarRequest *request);
static void append_condition(StringInfo sql, const SidecarRequest *request);
static void append_rule(StringInfo sql, const SidecarRequest *request);
static void append_names(StringInfo sql, const char *prefix, const SidecarRequest *request, int start);
static char *survivor(const SidecarRequest *request, int c);
static char *same(const SidecarRequest *request, char **values);

/*
 * A statement on one row: each column that is given is the parameter of its
 * number.
 */
char	   *
sidecar_deparse_row(const SidecarTable *table, const SidecarRequest *request)
{
	const SidecarColumns *columns = request->columns;
	StringInfoData source;
	char	  **values = palloc(sizeof(char *) * columns->n);
	int			c = -1;

	initStringInfo(&source);
	while ((c = bms_next_member(request->given, c)) >= 0)
	{
		/* by the column's number, whatever else is given: one list of types */
		values[c] = psprintf("$%d", c + 1);
		appendStringInfo(&source, "%s%s", source.len > 0 ? ", " : "VALUES (", values[c]);
	}
	appendStringInfoChar(&source, ')');
	if (request->statement == SIDECAR_ORPHAN)
		return psprintf("SELECT WHERE NOT EXISTS (SELECT FROM %s s WHERE s.%s" EQ "$1) "
						"AND NOT EXISTS (SELECT FROM %s m WHERE m.%s" EQ "$1)",
						sidecar_relation_sql(RelationGetRelid(table->rel)), columns->columns[0]->name_sql,
						sidecar_relation_sql(table->binding->master), master_key(table));
	if (request->statement == SIDECAR_LOCK)
		return psprintf("SELECT FROM %s s WHERE s.%s" EQ "$1 FOR NO KEY UPDATE",
						sidecar_relation_sql(RelationGetRelid(table->rel)), columns->columns[0]->name_sql);
	if (request->statement == SIDECAR_UPDATE)
		return deparse_update(table, request, values);
	/* equality on the key, by which Citus finds the one shard to ask */
	if (request->statement == SIDECAR_COMPARE)
		return psprintf("SELECT FROM %s s WHERE s.%s" EQ "$1 AND %s",
						sidecar_relation_sql(RelationGetRelid(table->rel)),
						columns->columns[0]->name_sql, same(request, values));
	return deparse_write(table, request, source.data);
}

/*
 * A statement that writes the rows of the chunk.
 */
char	   *
sidecar_deparse_chunk(const SidecarTable *table, const SidecarRequest *request)
{
	StringInfoData source;
	int			c = -1;

	initStringInfo(&source);
	while ((c = bms_next_member(request->given, c)) >= 0)
		appendStringInfo(&source, "%s b.c%d", source.len > 0 ? "," : "SELECT", c);
	append_chunk(&source, request->columns);
	return deparse_write(table, request, source.data);
}

/*
 * The query that finds the rows of the chunk which the stored row says already,
 * and, if look_for_masters, those that have no master:
 *
 *		SELECT b.position, s.company_unique_id IS NULL
 *		FROM sidecar_chunk b (c0, c1, ..., position, time_given)
 *		LEFT JOIN LATERAL (SELECT * FROM marketing.company_sidecar s
 *			WHERE s.company_unique_id = b.c0 OFFSET 0) s ON true
 *		LEFT JOIN LATERAL (SELECT m.company_unique_id FROM marketing.company_master m
 *			WHERE s.company_unique_id IS NULL
 *			AND m.company_unique_id = b.c0 OFFSET 0) m ON true
 *		WHERE CASE WHEN s.company_unique_id IS NOT NULL
 *			THEN record_image_eq(ROW(<what would survive>), ROW(<what is stored>))
 *			ELSE m.company_unique_id IS NULL END
 *
 * The second column tells which it is.  Of rows that have been "written", and
 * were left alone, those that are not stored are found instead of those that
 * have no master.  A time that was not given is now; that makes a row another
 * one only if now_is_news.
 */
char	   *
sidecar_deparse_look_up(const SidecarTable *table, const SidecarRequest *request,
						bool written, bool now_is_news, bool look_for_masters)
{
	const SidecarBinding *binding = table->binding;
	const SidecarColumns *columns = request->columns;
	const char *key = columns->columns[0]->name_sql;
	char	  **values = palloc(sizeof(char *) * columns->n);
	StringInfoData sql;
	int			c = -1;

	while ((c = bms_next_member(request->given, c)) >= 0)
		values[c] = psprintf(c == columns->time && !now_is_news ?
							 "CASE WHEN b.time_given THEN b.c%d END" : "b.c%d", c);

	/*
	 * OFFSET 0 makes each a look-up by the key's index, row by row: the
	 * planner knows nothing of a chunk, and would read the whole table for
	 * one row.
	 */
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT b.position, s.%s IS NULL", key);
	append_chunk(&sql, columns);
	appendStringInfo(&sql,
					 " LEFT JOIN LATERAL (SELECT * FROM %s s "
					 "WHERE s.%s" EQ "b.c0 OFFSET 0) s ON true ",
					 sidecar_relation_sql(binding->sidecar), key);
	if (written)
		appendStringInfo(&sql, "WHERE s.%s IS NULL OR %s", key, same(request, values));
	else if (look_for_masters)
	{
		const char *master = sidecar_relation_sql(binding->master);
		const char *own_key = master_key(table);

		/* only for rows that are new: the others have had a master */
		appendStringInfo(&sql,
						 "LEFT JOIN LATERAL (SELECT m.%s FROM %s m WHERE s.%s IS NULL "
						 "AND m.%s" EQ "b.c0 OFFSET 0) m ON true "
						 "WHERE CASE WHEN s.%s IS NULL THEN m.%s IS NULL ELSE %s END",
						 own_key, master, key, own_key,
						 key, own_key, same(request, values));
	}
	else
		appendStringInfo(&sql, "WHERE s.%s IS NOT NULL AND %s", key, same(request, values));
	return sql.data;
}

static const char *
master_key(const SidecarTable *table)
{
	return quote_identifier(get_attname(table->binding->master, table->binding->master_key, false));
}

/*
 * The chunk, as "b", with names of ours for its columns: c and their number,
 * where a row stands, and whether its time was given.
 */
static void
append_chunk(StringInfo sql, const SidecarColumns *columns)
{
	appendStringInfoString(sql, " FROM " SIDECAR_CHUNK_NAME " b (");
	for (int c = 0; c < columns->n; c++)
		appendStringInfo(sql, "c%d, ", c);
	appendStringInfoString(sql, "position, time_given)");
}

/*
 * True of a table whose rows tell a new one from an updated one by xmax.
 */
bool
sidecar_returns_xmax(const SidecarTable *table)
{
	return table->rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE;
}

/*
 * The statement that decides and writes the rows that the source yields.  It
 * returns a row per row that it wrote: whether that is new, its key, and the
 * table where it is.
 *
 * Of a table that does not tell a new row by xmax no row of BY_RULE says that
 * it is new: IF_NEW has to be run first.
 */
static char *
deparse_write(const SidecarTable *table, const SidecarRequest *request, const char *source)
{
	const char *key = request->columns->columns[0]->name_sql;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS s (",
					 sidecar_relation_sql(RelationGetRelid(table->rel)));
	append_names(&sql, "", request, -1);
	appendStringInfo(&sql, ") %s ON CONFLICT (%s) ", source, key);
	if (request->statement == SIDECAR_IF_NEW)
		appendStringInfo(&sql, "DO NOTHING RETURNING true, s.%s, s.tableoid", key);
	else
	{
		appendStringInfoString(&sql, "DO UPDATE SET ");
		append_assignments(&sql, request);
		appendStringInfoString(&sql, " WHERE ");
		append_condition(&sql, request);
		appendStringInfo(&sql, " RETURNING %s, s.%s, s.tableoid",
						 sidecar_returns_xmax(table) ? "s.xmax" EQ "0" : "false", key);
	}
	return sql.data;
}

/*
 * The statement that changes a stored row as the other would:
 *
 *		UPDATE marketing.company_sidecar AS s SET <as above>
 *		FROM (SELECT CAST($1 AS varchar(50)) AS company_unique_id, ...) AS excluded
 *		WHERE s.company_unique_id = $1 AND <what the rule asks>
 *		AND NOT record_image_eq(ROW(<what would survive>), ROW(<what is stored>))
 *		RETURNING false, s.company_unique_id, s.tableoid
 */
static char *
deparse_update(const SidecarTable *table, const SidecarRequest *request, char **values)
{
	const char *key = request->columns->columns[0]->name_sql;
	const char *comma = "";
	StringInfoData sql;
	int			c = -1;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS s SET ", sidecar_relation_sql(RelationGetRelid(table->rel)));
	append_assignments(&sql, request);
	appendStringInfoString(&sql, " FROM (SELECT ");
	while ((c = bms_next_member(request->given, c)) >= 0)
	{
		/* as the column has it: a score is rounded before it is compared */
		appendStringInfo(&sql, "%sCAST(%s AS %s) AS %s", comma, values[c],
						 request->columns->columns[c]->type_sql, request->columns->columns[c]->name_sql);
		comma = ", ";
	}
	appendStringInfo(&sql, ") AS excluded WHERE s.%s" EQ "$1 AND ", key);
	append_rule(&sql, request);
	/* "fill" has something to fill, then */
	if (request->rule == SIDECAR_FILL)
		appendStringInfoString(&sql, "true");
	else
		appendStringInfo(&sql, "NOT %s", same(request, values));
	appendStringInfo(&sql, " RETURNING false, s.%s, s.tableoid", key);
	return sql.data;
}

static void
append_assignments(StringInfo sql, const SidecarRequest *request)
{
	const char *comma = "";
	int			c = 0;			/* not the key */

	while ((c = bms_next_member(request->given, c)) >= 0)
	{
		appendStringInfo(sql, "%s%s = %s", comma, request->columns->columns[c]->name_sql,
						 survivor(request, c));
		comma = ", ";
	}
}

/*
 * The condition under which the stored row is changed: the rule lets it, and it
 * would be another one.
 *
 * Rows are compared by their bytes, which works for values of every type; not
 * at all where the time tells that they differ, as it mostly does.
 */
static void
append_condition(StringInfo sql, const SidecarRequest *request)
{
	const char *other_time = "EXCLUDED." SIDECAR_COL_TIME NE "s." SIDECAR_COL_TIME;
	const char *comma = "";
	int			c = 0;			/* not the key */

	if (request->statement == SIDECAR_IF_OTHER_TIME)
	{
		appendStringInfoString(sql, other_time);
		return;
	}
	/* the time first: what differs in that need not be compared */
	append_rule(sql, request);
	appendStringInfo(sql, "(%s OR pg_catalog.record_image_ne(ROW(", other_time);
	while ((c = bms_next_member(request->given, c)) >= 0)
	{
		appendStringInfo(sql, "%s%s", comma, survivor(request, c));
		comma = ", ";
	}
	appendStringInfoString(sql, "), ROW(");
	append_names(sql, "s.", request, 0);
	appendStringInfoString(sql, ")))");
}

/*
 * What the rule asks, with an AND after it; nothing if it always lets a record
 * change the stored row.
 */
static void
append_rule(StringInfo sql, const SidecarRequest *request)
{
	StringInfoData fillable;
	bool		scored = false;
	int			c = 0;			/* not the key */

	initStringInfo(&fillable);
	while ((c = bms_next_member(request->given, c)) >= 0)
	{
		const SidecarColumn *column = request->columns->columns[c];

		if (bms_is_member(c, request->cleared))
			continue;
		if (strcmp(column->name, SIDECAR_COL_SCORE) == 0)
			scored = true;
		/* a row of NULLs is a value; IS NULL says that it is none */
		appendStringInfo(&fillable, "%ss.%s IS NOT DISTINCT FROM NULL "
						 "AND EXCLUDED.%s IS DISTINCT FROM NULL",
						 fillable.len > 0 ? " OR " : "", column->name_sql, column->name_sql);
	}
	switch (request->rule)
	{
		case SIDECAR_OVERWRITE:
			break;
		case SIDECAR_NEWEST:
			/* of the same time it is not older: it may correct the stored row */
			appendStringInfoString(sql, "(s." SIDECAR_COL_TIME " IS NULL "
								   "OR EXCLUDED." SIDECAR_COL_TIME GE "s." SIDECAR_COL_TIME ") AND ");
			break;
		case SIDECAR_NEWER:
			appendStringInfoString(sql, "(s." SIDECAR_COL_TIME " IS NULL "
								   "OR EXCLUDED." SIDECAR_COL_TIME GT "s." SIDECAR_COL_TIME ") AND ");
			break;
		case SIDECAR_MOST_CONFIDENT:
			/* a record without a score is less than any that has one */
			appendStringInfoString(sql, scored ?
								   "(s." SIDECAR_COL_SCORE " IS NULL "
								   "OR EXCLUDED." SIDECAR_COL_SCORE GE "s." SIDECAR_COL_SCORE ") AND " :
								   "s." SIDECAR_COL_SCORE " IS NULL AND ");
			break;
		case SIDECAR_FILL:
			appendStringInfo(sql, "(%s) AND ", fillable.len > 0 ? fillable.data : "false");
			break;
	}
}

/*
 * The names of the given columns after start, each with the prefix.
 */
static void
append_names(StringInfo sql, const char *prefix, const SidecarRequest *request, int start)
{
	const char *comma = "";
	int			c = start;

	while ((c = bms_next_member(request->given, c)) >= 0)
	{
		appendStringInfo(sql, "%s%s%s", comma, prefix, request->columns->columns[c]->name_sql);
		comma = ", ";
	}
}

/*
 * What the column of that number becomes.  A value that is NULL was not given,
 * unless the column is cleared, or a trigger of the user's has taken it away.
 */
static char *
survivor(const SidecarRequest *request, int c)
{
	const SidecarColumn *column = request->columns->columns[c];
	const char *name = column->name_sql;
	bool		cleared = bms_is_member(c, request->cleared);

	if (request->rule == SIDECAR_FILL && cleared)
		return psprintf("s.%s", name);
	/* all columns of the statement are given, and no trigger takes one away */
	if (cleared || request->statement == SIDECAR_IF_OTHER_TIME)
		return psprintf("EXCLUDED.%s", name);
	if (request->rule == SIDECAR_FILL)
		return psprintf("COALESCE(s.%s, EXCLUDED.%s)", name, name);
	return psprintf("COALESCE(EXCLUDED.%s, s.%s)", name, name);
}

/*
 * The condition under which the stored row "s" says all that is given.  values
 * has an expression for each given column, NULL where a row does not give it.
 */
static char *
same(const SidecarRequest *request, char **values)
{
	StringInfoData stored;
	StringInfoData merged;
	int			c = 0;			/* not the key */

	initStringInfo(&stored);
	initStringInfo(&merged);
	while ((c = bms_next_member(request->given, c)) >= 0)
	{
		const SidecarColumn *column = request->columns->columns[c];
		const char *comma = stored.len > 0 ? ", " : "";

		if (bms_is_member(c, request->cleared))
			appendStringInfo(&merged, "%sCAST(NULL AS %s)", comma, column->type_sql);
		else
			appendStringInfo(&merged, "%sCOALESCE(CAST(%s AS %s), s.%s)", comma, values[c],
							 column->type_sql, column->name_sql);

		/*
		 * rows are compared of the same types only, and a domain is another
		 * one
		 */
		appendStringInfo(&stored, "%sCAST(s.%s AS %s)", comma, column->name_sql, column->type_sql);
	}
	return psprintf("pg_catalog.record_image_eq(ROW(%s), ROW(%s))", merged.data, stored.data);
}

/*-------------------------------------------------------------------------
 *
 * record.c
 *		What a record is made of, what its values must be like, and the SQL
 *		that stores records by a survivorship rule.
 *
 * One statement per rule decides and writes:
 *
 *		INSERT ... ON CONFLICT DO UPDATE ... WHERE <rule, and a difference>
 *
 * Nothing in DO UPDATE, its WHERE or RETURNING is volatile; now() comes as a
 * value.  A single record's statement has equality on the key, so that a
 * distributed table (Citus) takes it as one query to one shard.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "sidecar.h"

static const char *const rule_names[SIDECAR_RULES] = {
	"overwrite", "newest", "most_confident", "fill"
};

static const char *rule_sql(SidecarRule rule, SidecarColumn **columns, int ncolumns);
static bool is_provenance(const SidecarColumn *column);

/*
 * The rule that a value of on_conflict names; NULL is overwrite.  Error: no
 * such rule (22023).
 */
SidecarRule
sidecar_rule(const text *on_conflict)
{
	char	   *name;

	if (on_conflict == NULL)
		return SIDECAR_OVERWRITE;
	name = text_to_cstring(on_conflict);
	for (int rule = 0; rule < SIDECAR_RULES; rule++)
	{
		if (strcmp(name, rule_names[rule]) == 0)
			return rule;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown on_conflict \"%s\"", name),
			 errhint("Valid values are \"%s\", \"%s\", \"%s\" and \"%s\".",
					 rule_names[SIDECAR_OVERWRITE], rule_names[SIDECAR_NEWEST],
					 rule_names[SIDECAR_MOST_CONFIDENT], rule_names[SIDECAR_FILL])));
}

/*
 * The value of on_conflict that names the rule.
 */
const char *
sidecar_rule_name(SidecarRule rule)
{
	return rule_names[rule];
}

/*
 * Describes a column of the sidecar table, in the caller's memory context.
 */
SidecarColumn *
sidecar_describe_column(Form_pg_attribute att)
{
	SidecarColumn *column = palloc(sizeof(SidecarColumn));
	int32		typmod = att->atttypmod;
	Oid			base = getBaseTypeAndTypmod(att->atttypid, &typmod);

	column->name = pstrdup(NameStr(att->attname));
	column->name_sql = quote_identifier(column->name);

	/* of the base type: a domain's constraints are the write's business */
	column->type_sql = format_type_extended(base, typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	column->given_type = sidecar_given_type(base, &typmod);
	column->given_typmod = column->given_type == base && strcmp(column->name, SIDECAR_COL_SCORE) != 0 ? typmod : -1;
	column->max_chars = base == VARCHAROID && typmod > VARHDRSZ ? typmod - VARHDRSZ : 0;
	return column;
}

/*
 * Raises what the column would, but naming it (22001), and what no column type
 * knows: a score outside 0 to 100 (22003), an infinite time (22008).  The
 * value is of the column's given_type; a score is not rounded yet.
 */
void
sidecar_check_value(const SidecarColumn *column, Datum value)
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
 * The statement that decides by the rule and writes.  It returns a row per row
 * that it wrote: whether that is new, and its key.
 *
 * Unless the table returns xmax, no row of a rule's statement says that it is
 * new: SIDECAR_KEEP's has to be run first, which stores only new rows.
 *
 * columns are those that the statement stores, the key first; source is the
 * VALUES or SELECT that yields them in this order.  Rows are compared by their
 * bytes, which works for values of every type; not at all where the time tells
 * that they differ, as it mostly does.  A value that is NULL was not given, or
 * a trigger of the user's has taken it away.
 */
char	   *
sidecar_write_sql(const SidecarTable *table, SidecarRule rule,
				  SidecarColumn **columns, int ncolumns, const char *source)
{
	const char *sidecar = sidecar_relation_sql(RelationGetRelid(table->rel));
	StringInfoData names;
	StringInfoData set;
	StringInfoData stored;
	StringInfoData merged;

	initStringInfo(&names);
	initStringInfo(&set);
	initStringInfo(&stored);
	initStringInfo(&merged);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", columns[i]->name_sql);
	if (rule == SIDECAR_KEEP)
		return psprintf("INSERT INTO %s AS s (%s) %s ON CONFLICT (%s) DO NOTHING RETURNING true, s.%s",
						sidecar, names.data, source, columns[0]->name_sql, columns[0]->name_sql);

	for (int i = 1; i < ncolumns; i++)
	{
		const char *name = columns[i]->name_sql;
		const char *comma = i > 1 ? ", " : "";
		char	   *value;

		if (rule == SIDECAR_FILL && !is_provenance(columns[i]))
			value = psprintf("COALESCE(s.%s, EXCLUDED.%s)", name, name);
		else if (rule == SIDECAR_OVERWRITE_OTHER_TIME)
			value = psprintf("EXCLUDED.%s", name);
		else
			value = psprintf("COALESCE(EXCLUDED.%s, s.%s)", name, name);
		appendStringInfo(&set, "%s%s = %s", comma, name, value);
		appendStringInfo(&merged, "%s%s", comma, value);
		appendStringInfo(&stored, "%ss.%s", comma, name);
	}
	return psprintf("INSERT INTO %s AS s (%s) %s ON CONFLICT (%s) DO UPDATE SET %s "
					"WHERE %s(EXCLUDED." SIDECAR_COL_TIME " OPERATOR(pg_catalog.<>) s." SIDECAR_COL_TIME "%s) "
					"RETURNING %s, s.%s",
					sidecar, names.data, source, columns[0]->name_sql, set.data,
					rule_sql(rule, columns, ncolumns),
					rule == SIDECAR_OVERWRITE_OTHER_TIME ? "" :
					psprintf(" OR pg_catalog.record_image_ne(ROW(%s), ROW(%s))", merged.data, stored.data),
					sidecar_returns_xmax(table) ? "s.xmax OPERATOR(pg_catalog.=) 0" : "false", columns[0]->name_sql);
}

/*
 * The condition under which the rule lets a record change the stored row, with
 * an AND after it; empty if it always does.
 */
static const char *
rule_sql(SidecarRule rule, SidecarColumn **columns, int ncolumns)
{
	StringInfoData fillable;
	bool		scored = false;

	initStringInfo(&fillable);
	for (int i = 1; i < ncolumns; i++)
	{
		const char *name = columns[i]->name_sql;

		if (strcmp(columns[i]->name, SIDECAR_COL_SCORE) == 0)
			scored = true;
		if (!is_provenance(columns[i]))
			appendStringInfo(&fillable, "%ss.%s IS NULL AND EXCLUDED.%s IS NOT NULL",
							 fillable.len > 0 ? " OR " : "", name, name);
	}
	switch (rule)
	{
		case SIDECAR_NEWEST:
			return "(s." SIDECAR_COL_TIME " IS NULL OR EXCLUDED." SIDECAR_COL_TIME
				" OPERATOR(pg_catalog.>=) s." SIDECAR_COL_TIME ") AND ";
		case SIDECAR_MOST_CONFIDENT:
			return scored ? "(s." SIDECAR_COL_SCORE " IS NULL OR EXCLUDED." SIDECAR_COL_SCORE
				" OPERATOR(pg_catalog.>=) s." SIDECAR_COL_SCORE ") AND " :
				"s." SIDECAR_COL_SCORE " IS NULL AND ";
		case SIDECAR_FILL:
			return psprintf("(%s) AND ", fillable.len > 0 ? fillable.data : "false");
		default:
			return "";
	}
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
 * True of a table with triggers that see a row before it is inserted, and may
 * change it.
 */
bool
sidecar_has_insert_triggers(const SidecarTable *table)
{
	return table->rel->trigdesc != NULL && table->rel->trigdesc->trig_insert_before_row;
}

/*
 * The SELECT that yields a chunk's rows.
 */
char	   *
sidecar_chunk_sql(SidecarColumn **columns, int ncolumns)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&sql, "%s b.%s", i > 0 ? "," : "SELECT", columns[i]->name_sql);
	appendStringInfoString(&sql, " FROM " SIDECAR_CHUNK_NAME " b");
	return sql.data;
}

/*
 * The condition under which the stored row "s" says all that is given: an SQL
 * expression.  values has an expression for each column, NULL where it is not
 * given; the first, the key, is left out.
 */
char	   *
sidecar_same_sql(SidecarColumn **columns, int ncolumns, char **values)
{
	StringInfoData stored;
	StringInfoData merged;

	initStringInfo(&stored);
	initStringInfo(&merged);
	for (int i = 1; i < ncolumns; i++)
	{
		const SidecarColumn *column = columns[i];
		const char *comma = i > 1 ? ", " : "";

		appendStringInfo(&merged, "%sCOALESCE(CAST(%s AS %s), s.%s)", comma, values[i],
						 column->type_sql, column->name_sql);

		/*
		 * rows are compared of the same types only, and a domain is another
		 * one
		 */
		appendStringInfo(&stored, "%sCAST(s.%s AS %s)", comma, column->name_sql, column->type_sql);
	}
	return psprintf("pg_catalog.record_image_eq(ROW(%s), ROW(%s))", merged.data, stored.data);
}

/*
 * True of the columns that tell where the others came from: under "fill" they
 * move only with them.
 */
static bool
is_provenance(const SidecarColumn *column)
{
	return strcmp(column->name, SIDECAR_COL_SOURCE) == 0 ||
		strcmp(column->name, SIDECAR_COL_SCORE) == 0 ||
		strcmp(column->name, SIDECAR_COL_TIME) == 0;
}

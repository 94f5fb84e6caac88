/*-------------------------------------------------------------------------
 *
 * record.c
 *		What a record is made of, what its values must be like, and the words
 *		for what may be done with it and what became of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "sidecar.h"

/* sidecar.on_conflict */
static int	default_rule = SIDECAR_OVERWRITE;

static const int default_unknown_keys = SIDECAR_UNKNOWN_REJECT;

const SidecarChoice sidecar_on_conflict = {
	"on_conflict", &default_rule, SIDECAR_RULES, {"overwrite", "newest", "most_confident", "fill"}
};

const SidecarChoice sidecar_unknown_keys = {
	"unknown_keys", &default_unknown_keys, SIDECAR_UNKNOWN_KEYS, {"reject", "payload", "ignore"}
};

static const char *const outcome_names[] = {
	[SIDECAR_INSERTED] = "inserted",
	[SIDECAR_UPDATED] = "updated",
	[SIDECAR_UNCHANGED] = "unchanged",
	[SIDECAR_SKIPPED] = "skipped",
	[SIDECAR_REJECTED] = "rejected"
};

static void check_value(const SidecarColumn *column, Datum value);
static void check_time(const SidecarColumn *column, TimestampTz value);
static void check_length(const SidecarColumn *column, text *string);
static void check_score(const SidecarColumn *column, Datum score);

/*
 * Defines sidecar.on_conflict.
 */
void
sidecar_record_init(void)
{
	/* kept by the setting, and ends with an empty one */
	static struct config_enum_entry rules[SIDECAR_RULES + 1];

	for (int i = 0; i < SIDECAR_RULES; i++)
	{
		rules[i].name = sidecar_on_conflict.words[i];
		rules[i].val = i;
	}
	DefineCustomEnumVariable("sidecar.on_conflict",
							 "The survivorship rule of calls and inbox rows that name none.",
							 NULL, &default_rule, SIDECAR_OVERWRITE, rules,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

/*
 * Which of its words the argument is; NULL is the default.  Error: none (22023).
 */
int
sidecar_choose(const SidecarChoice *choice, const text *value)
{
	char	   *word;
	int			number;
	StringInfoData words;

	if (value == NULL)
		return *choice->standard;
	word = text_to_cstring(value);
	number = sidecar_find_word(choice, word);
	if (number >= 0)
		return number;
	initStringInfo(&words);
	for (int i = 0; i < choice->n; i++)
		appendStringInfo(&words, "%s\"%s\"",
						 i == 0 ? "" : i < choice->n - 1 ? ", " : " and ", choice->words[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown %s \"%s\"", choice->argument, word),
			 errhint("Valid values are %s.", words.data)));
}

/*
 * The number of that word, or -1.
 */
int
sidecar_find_word(const SidecarChoice *choice, const char *word)
{
	for (int i = 0; i < choice->n; i++)
	{
		if (strcmp(word, choice->words[i]) == 0)
			return i;
	}
	return -1;
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

	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->name_length = (int) strlen(column->name);
	column->name_sql = quote_identifier(column->name);

	/* of the base type: a domain's constraints are the write's business */
	column->type_sql = format_type_extended(base, typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	/* text for varchar, say, so that its length is ours to complain about */
	column->given_type = sidecar_given_type(base, &typmod);
	column->given_typmod = column->given_type == base && strcmp(column->name, SIDECAR_COL_SCORE) != 0 ? typmod : -1;
	if (OidIsValid(get_element_type(base)))
		column->form = SIDECAR_LIST;
	else if (base == JSONBOID || base == JSONOID)
		column->form = SIDECAR_DOCUMENT;
	else if (base == TIMESTAMPOID || base == TIMESTAMPTZOID)
		column->form = SIDECAR_TIME;
	else if (strcmp(column->name, SIDECAR_COL_SCORE) == 0)
		column->form = SIDECAR_SCORE;
	else
		column->form = SIDECAR_PLAIN;
	column->has_scale = base == NUMERICOID && typmod >= (int32) VARHDRSZ;
	/* as numerictypmodin() packs it, which nobody exports the reverse of */
	column->scale = column->has_scale ? (((typmod - VARHDRSZ) & 0x7ff) ^ 0x400) - 0x400 : 0;
	column->max_chars = base == VARCHAROID && typmod > VARHDRSZ ? typmod - VARHDRSZ : 0;
	return column;
}

/*
 * The word for what became of a record.
 */
const char *
sidecar_outcome_name(SidecarOutcome outcome)
{
	return outcome_names[outcome];
}

/*
 * True of a text of nothing but space, which is never a value.
 */
bool
sidecar_is_blank(const char *string, int length)
{
	for (int i = 0; i < length; i++)
	{
		if (!scanner_isspace(string[i]))
			return false;
	}
	return true;
}

/*
 * The number of the column of that name, or -1.
 */
int
sidecar_find_column(const SidecarColumns *columns, const char *name, int length)
{
	for (int c = 0; c < columns->n; c++)
	{
		const SidecarColumn *column = columns->columns[c];

		if (column->name_length == length && memcmp(column->name, name, length) == 0)
			return c;
	}
	return -1;
}

/*
 * Notes that a column, which the row does not give, becomes NULL; returns its
 * number.  Errors: there is no such column, it is given as well, or it is one
 * that always has a value (22023).
 */
int
sidecar_clear_column(const SidecarColumns *columns, SidecarRow *row, const char *name, int length)
{
	int			c = sidecar_find_column(columns, name, length);

	if (c < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%.*s\" is not a column that can be cleared", length, name)));
	/* the time is what the rules go by */
	if (c == 0 || c == columns->time)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" cannot be cleared", columns->columns[c]->name)));
	if (bms_is_member(c, row->given) && !bms_is_member(c, row->cleared))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" is both given and cleared", columns->columns[c]->name)));
	row->given = bms_add_member(row->given, c);
	row->cleared = bms_add_member(row->cleared, c);
	return c;
}

/*
 * Raises what is wrong with a row: no key (22004), or with one of its values,
 * naming the column: what the column itself would raise (22001), and what no
 * type knows: a score outside 0 to 100 (22003), an infinite time (22008).
 */
void
sidecar_check_row(const SidecarColumns *columns, const SidecarRow *row)
{
	if (row->nulls[0])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", columns->columns[0]->name)));
	for (int i = 0; i < columns->n; i++)
	{
		if (!row->nulls[i])
			check_value(columns->columns[i], row->values[i]);
	}
}

/*
 * Notes whether the row says when it is of, and if not, that it is of now.
 */
void
sidecar_set_time(const SidecarColumns *columns, SidecarRow *row, TimestampTz now)
{
	row->time_given = !row->nulls[columns->time];
	if (!row->time_given)
	{
		/* a value, because Citus takes no now() in DO UPDATE */
		row->values[columns->time] = TimestampTzGetDatum(now);
		row->nulls[columns->time] = false;
		row->given = bms_add_member(row->given, columns->time);
	}
}

static void
check_value(const SidecarColumn *column, Datum value)
{
	if (column->max_chars > 0)
		check_length(column, DatumGetTextPP(value));
	else if (strcmp(column->name, SIDECAR_COL_SCORE) == 0)
		check_score(column, value);
	else if (strcmp(column->name, SIDECAR_COL_TIME) == 0)
		check_time(column, DatumGetTimestampTz(value));
}

/*
 * A time far ahead would win under "newest" for ever; a day is for clocks and
 * zones that are wrong.
 */
static void
check_time(const SidecarColumn *column, TimestampTz value)
{
	if (TIMESTAMP_NOT_FINITE(value))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be finite", column->name)));
	if (value > GetCurrentTransactionStartTimestamp() + USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("%s must not be more than a day ahead", column->name),
				 errdetail("It is %s.", timestamptz_to_str(value))));
}

static void
check_length(const SidecarColumn *column, text *string)
{
	int			bytes = VARSIZE_ANY_EXHDR(string);
	int			chars;

	/* characters are counted only where there may be too many */
	if (bytes <= column->max_chars)
		return;
	chars = pg_mbstrlen_with_len(VARDATA_ANY(string), bytes);
	if (chars > column->max_chars)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("value too long for column \"%s\"", column->name),
				 errdetail("It has %d characters; the column takes %d.", chars, column->max_chars)));
}

/*
 * The number as the column will have it, but for its size.
 */
Datum
sidecar_round_score(const SidecarColumn *column, Datum score)
{
	return column->has_scale ? DirectFunctionCall2(numeric_round, score, Int32GetDatum(column->scale)) : score;
}

static void
check_score(const SidecarColumn *column, Datum score)
{
	Datum		rounded = sidecar_round_score(column, score);
	Datum		least = NumericGetDatum(int64_to_numeric(0));
	Datum		most = NumericGetDatum(int64_to_numeric(100));

	/* NaN is greater than any other number */
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, rounded, least)) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, rounded, most)))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s must be between 0 and 100", column->name),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(numeric_out, score)))));
}

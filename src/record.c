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
#include "utils/array.h"
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

static SidecarForm type_form(Oid type);
static int	space_length(const char *string);
static void check_value(const SidecarColumn *column, Datum value);
static void check_time(const SidecarColumn *column, TimestampTz value);
static void check_lengths(const SidecarColumn *column, Datum list);
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
	column->type = att->atttypid;
	column->name = pstrdup(NameStr(att->attname));
	column->name_length = (int) strlen(column->name);
	column->name_sql = quote_identifier(column->name);

	/* of the base type: a domain's constraints are the write's business */
	column->type_sql = format_type_extended(base, typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	/* text for varchar, say, so that its length is ours to complain about */
	column->given_type = sidecar_given_type(base, &typmod);
	column->given_typmod = column->given_type == base && strcmp(column->name, SIDECAR_COL_SCORE) != 0 ? typmod : -1;
	column->form = type_form(base);
	column->element_form = column->form == SIDECAR_LIST ? type_form(get_element_type(base)) : SIDECAR_PLAIN;
	if (column->form == SIDECAR_PLAIN && strcmp(column->name, SIDECAR_COL_SCORE) == 0)
		column->form = SIDECAR_SCORE;
	column->is_timestamp = base == TIMESTAMPOID;
	column->has_scale = base == NUMERICOID && typmod >= (int32) VARHDRSZ;
	/* as numerictypmodin() packs it, which nobody exports the reverse of */
	column->scale = column->has_scale ? (((typmod - VARHDRSZ) & 0x7ff) ^ 0x400) - 0x400 : 0;
	column->max_chars = (base == VARCHAROID || base == VARCHARARRAYOID) && typmod > VARHDRSZ ? typmod - VARHDRSZ : 0;
	return column;
}

/*
 * How values of the type may be written.
 */
static SidecarForm
type_form(Oid type)
{
	switch (getBaseType(type))
	{
		case JSONBOID:
		case JSONOID:
			return SIDECAR_DOCUMENT;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return SIDECAR_TIME;
		default:
			return OidIsValid(get_element_type(type)) ? SIDECAR_LIST : SIDECAR_PLAIN;
	}
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
 * How many bytes of white space the string begins with.
 */
int
sidecar_blank_length(const char *string, int length)
{
	int			blank = 0;

	while (blank < length && !SIDECAR_IS_PRINTED(string[blank]))
	{
		int			n = space_length(string + blank);

		if (n == 0)
			break;
		blank += n;
	}
	return blank;
}

/*
 * A copy of the string without the white space around it.
 */
char	   *
sidecar_trimmed(const char *string, int length)
{
	int			start = sidecar_blank_length(string, length);

	while (length > start)
	{
		int			last = length - 1;

		if (SIDECAR_IS_PRINTED(string[last]))
			break;
		/* where its last character begins, if that is of several bytes */
		while (last > start && ((unsigned char) string[last] & 0xc0) == 0x80)
			last--;
		if (space_length(string + last) != length - last)
			break;
		length = last;
	}
	return pnstrdup(string + start, length - start);
}

/*
 * The bytes of a character of white space, or 0 of any other: PostgreSQL's, and
 * in UTF8 what web pages and spreadsheets have, seen or not.
 */
static int
space_length(const char *string)
{
	if (!IS_HIGHBIT_SET(*string))
		return scanner_isspace(*string) ? 1 : 0;
	if (GetDatabaseEncoding() != PG_UTF8)
		return 0;
	switch (utf8_to_unicode((const unsigned char *) string))
	{
		case 0x00a0:			/* no break */
			return 2;
		case 0x1680:			/* Ogham */
		case 0x2000:			/* of all widths, down to none */
		case 0x2001:
		case 0x2002:
		case 0x2003:
		case 0x2004:
		case 0x2005:
		case 0x2006:
		case 0x2007:
		case 0x2008:
		case 0x2009:
		case 0x200a:
		case 0x200b:
		case 0x2028:			/* ends of lines and paragraphs */
		case 0x2029:
		case 0x202f:			/* narrow, no break */
		case 0x205f:			/* of mathematics */
		case 0x2060:			/* no width, no break */
		case 0x3000:			/* ideographic */
		case 0xfeff:			/* byte order mark */
			return 3;
		default:
			return 0;
	}
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
	if (column->max_chars > 0 && column->form == SIDECAR_LIST)
		check_lengths(column, value);
	else if (column->max_chars > 0)
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
check_lengths(const SidecarColumn *column, Datum list)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(list), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			check_length(column, DatumGetTextPP(elements[i]));
	}
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

/*
 * A value of the given type as the column will have it, of its base type.
 */
Datum
sidecar_stored_value(const SidecarColumn *column, Datum value)
{
	if (column->is_timestamp)
		return DirectFunctionCall1(timestamptz_timestamp, value);
	return sidecar_round_score(column, value);
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

/*-------------------------------------------------------------------------
 *
 * field.c
 *		A field of a record as exports and scrapers write it, in the form that
 *		its column's type reads.
 *
 * Whatever way a record comes in, its fields come through here; what is in that
 * form already stays as it is, and PostgreSQL's own input functions do the rest
 * (convert.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "batch.h"

/* Numbers from here on are milliseconds: as seconds they are of the year 5138 */
#define FIRST_MILLISECONDS 1e11

/* A number below it is no time of the user's, but a year, or digits of a date */
#define FIRST_SECONDS 1e8

/* Texts of fewer digits are dates, 20260131 */
#define LEAST_EPOCH_DIGITS 9

/* And of more, these are numbers; others are neither */
#define SECONDS_DIGITS 10
#define MILLISECONDS_DIGITS 13

static const JsonbValue *read_list(const SidecarColumn *column, const JsonbValue *value, pg_tz *session_zone);
static bool stays(const SidecarColumn *column, const JsonbValue *list);
static void push_elements(const SidecarColumn *column, JsonbParseState **state, const JsonbValue *list,
						  bool nested, pg_tz *session_zone);
static JsonbValue read_element(const SidecarColumn *column, const JsonbValue *element, pg_tz *session_zone);
static bool element_says_something(const JsonbValue *element);
static const JsonbValue *read_list_text(const SidecarColumn *column, const JsonbValue *value, pg_tz *session_zone);
static const JsonbValue *read_array(const SidecarColumn *column, char *list, const JsonbValue *value, pg_tz *session_zone);
static const JsonbValue *split_words(const SidecarColumn *column, const char *string, pg_tz *session_zone);
static char *read_quoted(const char **rest, const char *end);
static const JsonbValue *read_document(const JsonbValue *value, bool from_text);
static const JsonbValue *read_time(const SidecarColumn *column, const JsonbValue *value, pg_tz *session_zone);
static void drop_comment(char *string);
static void check_digits(char *string);
static void drop_zone(const char *string, char *offset);
static char *read_zone(char *string, pg_tz *session_zone);
static const JsonbValue *read_score(const JsonbValue *value);
static bool is_array(const JsonbValue *value);
static bool is_blank(const JsonbValue *value);
static bool is_empty(const JsonbValue *value);
static bool is_empty_text(const JsonbValue *value);
static char *trimmed(const JsonbValue *value);
static bool looks_like_epoch(const char *string);
static JsonbValue *parse_json(const char *string);
static JsonbValue *string_value(char *string);
static const JsonbValue *text_value(char *string, const JsonbValue *value);

/*
 * Reads a field: the value itself if that is as the type reads it, another one,
 * or NULL if it gives no value.  from_text: it came as text, as of a CSV, where
 * JSON cannot be told from a string.
 *
 * A blank text is no value, nor are an empty list and an empty object, which
 * scrapers write for "nothing found".  A list is a JSON array, {a,b}, "a, b" or
 * one word; a time also a number, of seconds or milliseconds since 1970; a
 * score also "95%"; JSON also its text.  A list's times are read as times are.
 *
 * A time that tells no zone is one of TimeZone, which is the table's here; what a
 * client's own timestamptz has become has an abbreviation of the session's zone.
 */
const JsonbValue *
sidecar_read_field(const SidecarColumn *column, const JsonbValue *value, bool from_text, pg_tz *session_zone)
{
	if (!sidecar_says_something(value) || is_empty_text(value))
		return NULL;
	switch (column->form)
	{
		case SIDECAR_LIST:
			return read_list(column, value, session_zone);
		case SIDECAR_DOCUMENT:
			value = read_document(value, from_text);
			return sidecar_says_something(value) ? value : NULL;
		case SIDECAR_TIME:
			return read_time(column, value, session_zone);
		case SIDECAR_SCORE:
			return read_score(value);
		case SIDECAR_PLAIN:
			break;
	}
	return value;
}

/*
 * Reads an argument of a function; false if it gives no value.  Its type has
 * read it already, so that an empty list or object is one; but a blank text is
 * none here either, and JSON may have been made into text.
 */
bool
sidecar_read_argument(const SidecarColumn *column, Datum *value)
{
	if (column->given_type == TEXTOID)
	{
		text	   *string = DatumGetTextPP(*value);

		return !sidecar_is_blank(VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
	}
	if (column->given_type == JSONBOID)
	{
		Jsonb	   *json = DatumGetJsonbP(*value);
		JsonbValue	scalar;
		const JsonbValue *read;

		if (!JsonbExtractScalar(&json->root, &scalar))
			return true;
		read = read_document(&scalar, false);
		if (read->type == jbvNull || is_blank(read))
			return false;
		if (read != &scalar)
			*value = JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, read)));
	}
	return true;
}

/*
 * True if a value says more than "nothing found".
 */
bool
sidecar_says_something(const JsonbValue *value)
{
	return value->type != jbvNull && !is_blank(value) && !is_empty(value);
}

/*
 * A list without what says nothing.  Nested ones, which are PostgreSQL's arrays of
 * several dimensions, keep their form: what says nothing there is null.
 */
static const JsonbValue *
read_list(const SidecarColumn *column, const JsonbValue *value, pg_tz *session_zone)
{
	JsonbParseState *state = NULL;
	JsonbValue	element;

	if (value->type == jbvString)
		return read_list_text(column, value, session_zone);
	/* a number, say: a list of one */
	if (value->type != jbvBinary)
	{
		element = read_element(column, value, session_zone);
		(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		(void) pushJsonbValue(&state, WJB_ELEM, &element);
		return pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	/* an object: the type's input says what is wrong with it */
	if (!is_array(value) || stays(column, value))
		return value;
	if (!element_says_something(value))
		return NULL;
	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	push_elements(column, &state, value, false, session_zone);
	return pushJsonbValue(&state, WJB_END_ARRAY, NULL);
}

/*
 * True of a list whose elements are all as the type reads them: most are.
 */
static bool
stays(const SidecarColumn *column, const JsonbValue *list)
{
	JsonbIterator *it = JsonbIteratorInit(list->val.binary.data);
	JsonbValue	element;

	if (column->element_form == SIDECAR_TIME || is_empty(list))
		return false;
	(void) JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		if (is_array(&element) || !sidecar_says_something(&element))
			return false;
	}
	return true;
}

static void
push_elements(const SidecarColumn *column, JsonbParseState **state, const JsonbValue *list,
			  bool nested, pg_tz *session_zone)
{
	JsonbIterator *it = JsonbIteratorInit(list->val.binary.data);
	JsonbValue	element;

	/* what a scraper nests is as deep as it likes */
	check_stack_depth();
	(void) JsonbIteratorNext(&it, &element, true);
	while (JsonbIteratorNext(&it, &element, true) == WJB_ELEM)
	{
		if (!nested && !element_says_something(&element))
			continue;
		if (is_array(&element))
		{
			(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			push_elements(column, state, &element, true, session_zone);
			(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
			continue;
		}
		if (!sidecar_says_something(&element))
			element.type = jbvNull;
		else
			element = read_element(column, &element, session_zone);
		(void) pushJsonbValue(state, WJB_ELEM, &element);
	}
}

static JsonbValue
read_element(const SidecarColumn *column, const JsonbValue *element, pg_tz *session_zone)
{
	return column->element_form == SIDECAR_TIME ? *read_time(column, element, session_zone) : *element;
}

/*
 * True if a value does, or an element of it if it is a list.
 */
static bool
element_says_something(const JsonbValue *element)
{
	JsonbIterator *it;
	JsonbValue	inner;

	if (!is_array(element))
		return sidecar_says_something(element);
	check_stack_depth();
	it = JsonbIteratorInit(element->val.binary.data);
	(void) JsonbIteratorNext(&it, &inner, true);
	while (JsonbIteratorNext(&it, &inner, true) == WJB_ELEM)
	{
		if (element_says_something(&inner))
			return true;
	}
	return false;
}

static const JsonbValue *
read_list_text(const SidecarColumn *column, const JsonbValue *value, pg_tz *session_zone)
{
	char	   *string = trimmed(value);
	const JsonbValue *list;

	/* as of a JSON column */
	if (pg_strcasecmp(string, "null") == 0)
		return NULL;
	if (string[0] == '{')
		return read_array(column, string, value, session_zone);
	list = strchr("[\"", string[0]) != NULL ? parse_json(string) : NULL;
	if (string[0] == '[' && list == NULL)
		/* a word in brackets is nobody's, nor is half of one */
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("malformed list: \"%s\"", string),
				 errdetail("A list is a JSON array, {a,b}, or words with commas between them.")));

	/* what is in quotes is a word, unless it is the text of a list */
	if (list == NULL || (list->type == jbvString && (is_blank(list) || strchr("[{\"", *trimmed(list)) == NULL)))
		return split_words(column, string, session_zone);
	return read_list(column, list, session_zone);
}

/*
 * PostgreSQL's own form of a list, which stays as it is if its elements may.
 */
static const JsonbValue *
read_array(const SidecarColumn *column, char *list, const JsonbValue *value, pg_tz *session_zone)
{
	Datum		array = OidInputFunctionCall(F_ARRAY_IN, list, TEXTOID, -1);
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	bool		as_it_is = column->element_form != SIDECAR_TIME;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; as_it_is && i < n; i++)
	{
		text	   *element = nulls[i] ? NULL : DatumGetTextPP(elements[i]);

		as_it_is = element != NULL && !sidecar_is_blank(VARDATA_ANY(element), VARSIZE_ANY_EXHDR(element));
	}
	if (n == 0)
		return NULL;
	if (as_it_is)
		return value;
	return read_list(column, parse_json(TextDatumGetCString(DirectFunctionCall1(array_to_json, array))), session_zone);
}

/*
 * The words between commas, but for blank ones.
 */
static const JsonbValue *
split_words(const SidecarColumn *column, const char *string, pg_tz *session_zone)
{
	JsonbParseState *state = NULL;
	const char *rest = string;
	const char *end = string + strlen(string);
	const JsonbValue *list;
	bool		found = false;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (;;)
	{
		char	   *word = read_quoted(&rest, end);

		if (word == NULL)
		{
			size_t		length = strcspn(rest, ",");

			word = sidecar_trimmed(rest, (int) length);
			rest += length;
		}
		if (!sidecar_is_blank(word, (int) strlen(word)))
		{
			JsonbValue	element = read_element(column, string_value(word), session_zone);

			(void) pushJsonbValue(&state, WJB_ELEM, &element);
			found = true;
		}
		if (rest == end)
			break;
		rest++;
	}
	list = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return found ? list : NULL;
}

/*
 * The next word of a list, if it is in quotes as a cell of a CSV is, and sets
 * rest to where it ends; NULL, with rest as it was, if it is not.
 */
static char *
read_quoted(const char **rest, const char *end)
{
	const char *c = *rest + sidecar_blank_length(*rest, (int) (end - *rest));
	StringInfoData word;

	if (*c != '"')
		return NULL;
	initStringInfo(&word);
	for (c++; *c != '\0' && (*c != '"' || c[1] == '"'); c++)
	{
		/* two stand for one */
		c += *c == '"';
		appendStringInfoChar(&word, *c);
	}
	if (c == end)
		return NULL;
	c++;
	c += sidecar_blank_length(c, (int) (end - c));
	/* a quote like any character, as in 5" */
	if (c != end && *c != ',')
		return NULL;
	*rest = c;
	return word.data;
}

/*
 * JSON, or its text, which may have been made into text twice.
 */
static const JsonbValue *
read_document(const JsonbValue *value, bool from_text)
{
	const JsonbValue *result = value;

	while (result->type == jbvString)
	{
		const JsonbValue *inner = parse_json(trimmed(result));

		if (inner == NULL && from_text && result == value)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type %s", "json")));
		/* "95" is a string where it came as one, but "null" is nobody's text */
		if (inner == NULL ||
			(!from_text && inner->type != jbvBinary && inner->type != jbvString && inner->type != jbvNull))
			break;
		result = inner;
	}
	return result;
}

/*
 * A number is a time since 1970, never a date.  Errors: no number or text (22007),
 * and those of check_digits().
 */
static const JsonbValue *
read_time(const SidecarColumn *column, const JsonbValue *value, pg_tz *session_zone)
{
	char	   *string;
	double		seconds;

	if (value->type == jbvNumeric)
	{
		seconds = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow,
													 NumericGetDatum(value->val.numeric)));
		/* a year, or a date without its hyphens, in a column of the user's */
		if (fabs(seconds) < FIRST_SECONDS && strcmp(column->name, SIDECAR_COL_TIME) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("a number as small as %.0f may be a year or a date: give it as text", seconds)));
	}
	else if (value->type == jbvString)
	{
		string = trimmed(value);

		drop_comment(string);
		if (!looks_like_epoch(string))
		{
			check_digits(string);
			return text_value(read_zone(string, session_zone), value);
		}
		seconds = strtod(string, NULL);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
				 errmsg("a time must be a string or a number")));
	if (fabs(seconds) >= FIRST_MILLISECONDS)
		seconds /= 1000;
	return string_value(pstrdup(timestamptz_to_str(DatumGetTimestampTz(
																	   DirectFunctionCall1(float8_timestamptz, Float8GetDatum(seconds))))));
}

/*
 * Cuts off what stands in parentheses at the end of a time: the zone's name,
 * which its offset has told.
 */
static void
drop_comment(char *string)
{
	size_t		length = strlen(string);
	char	   *comment;

	if (length == 0 || string[length - 1] != ')' || (comment = strchr(string, '(')) == NULL)
		return;
	while (comment > string && comment[-1] == ' ')
		comment--;
	*comment = '\0';
}

/*
 * Looks at a time's digits where PostgreSQL reads something else in them than is
 * meant.  Error: so many in a row, that are no fraction, would be a date that
 * nobody means (22008).
 */
static void
check_digits(char *string)
{
	int			digits = 0;

	for (char *c = string; *c != '\0'; c++)
	{
		if (*c < '0' || *c > '9')
		{
			digits = 0;
			if ((*c == '+' || *c == '-') && c > string && isalpha((unsigned char) c[-1]))
				drop_zone(string, c);
		}
		else if (++digits == LEAST_EPOCH_DIGITS && (c - string < digits || c[-digits] != '.'))
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_FIELD_OVERFLOW),
					 errmsg("date/time field value out of range: \"%s\"", string),
					 errdetail("A number since 1970 has %d, %d or %d digits.",
							   LEAST_EPOCH_DIGITS, SECONDS_DIGITS, MILLISECONDS_DIGITS)));
	}
}

/*
 * Blanks out the zone's name before an offset that is east of it, as JavaScript
 * and Java have it: GMT+0100.  To PostgreSQL it is west of it, as POSIX has it,
 * and of a hundred hours.  Names of other zones are left to it, but not where
 * nobody can mean hours.
 */
static void
drop_zone(const char *string, char *offset)
{
	char	   *name = offset;
	bool		is_utc;

	while (name > string && isalpha((unsigned char) name[-1]))
		name--;
	/* a zone's own name: Etc/GMT+1 */
	if (name > string && name[-1] == '/')
		return;
	is_utc = offset - name == 3 && (pg_strncasecmp(name, "GMT", 3) == 0 || pg_strncasecmp(name, "UTC", 3) == 0);
	if (is_utc ? isdigit((unsigned char) offset[1]) : offset[1] == '0' && strspn(offset + 1, "0123456789") == 4)
		memset(name, ' ', offset - name);
}

/*
 * A time whose zone is an abbreviation that the session's zone has, which is what
 * that writes if DateStyle is not ISO.  Until PostgreSQL 18 another zone's comes
 * first: IST would be Israel's in India.
 */
static char *
read_zone(char *string, pg_tz *session_zone)
{
	char	   *zone = strrchr(string, ' ');
	Datum		local;
	pg_time_t	time = 0;
	long		offset;
	int			is_dst;

	if (zone == NULL || !pg_interpret_timezone_abbrev(zone + 1, &time, &offset, &is_dst, session_zone))
		return string;

	*zone = '\0';
	/* what it means is a matter of the time */
	local = DirectFunctionCall3(timestamp_in, CStringGetDatum(string), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	time = timestamptz_to_time_t(DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, CStringGetTextDatum(pg_get_timezone_name(session_zone)), local)));
	(void) pg_interpret_timezone_abbrev(zone + 1, &time, &offset, &is_dst, session_zone);
	return psprintf("%s %c%02ld:%02ld:%02ld", string, offset < 0 ? '-' : '+',
					labs(offset) / SECS_PER_HOUR, labs(offset) / SECS_PER_MINUTE % MINS_PER_HOUR,
					labs(offset) % SECS_PER_MINUTE);
}

static const JsonbValue *
read_score(const JsonbValue *value)
{
	char	   *string;
	size_t		length;

	if (value->type != jbvString)
		return value;
	string = trimmed(value);

	length = strlen(string);
	if (string[length - 1] == '%')
		string = sidecar_trimmed(string, (int) length - 1);

	return text_value(string, value);
}

/*
 * True of the text of [] or {}.
 */
static bool
is_empty_text(const JsonbValue *value)
{
	char	   *string;
	size_t		length;

	/* looked at first: there are millions of others */
	if (value->type != jbvString || (SIDECAR_IS_PRINTED(value->val.string.val[0]) &&
									 value->val.string.val[0] != '[' && value->val.string.val[0] != '{'))
		return false;
	string = trimmed(value);

	length = strlen(string);
	return length >= 2 && sidecar_is_blank(string + 1, (int) length - 2) &&
		((string[0] == '[' && string[length - 1] == ']') || (string[0] == '{' && string[length - 1] == '}'));
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static bool
is_blank(const JsonbValue *value)
{
	return value->type == jbvString && sidecar_is_blank(value->val.string.val, value->val.string.len);
}

/*
 * True of [] and {}.
 */
static bool
is_empty(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerSize(value->val.binary.data) == 0;
}

/*
 * A string without the space around it.
 */
static char *
trimmed(const JsonbValue *value)
{
	return sidecar_trimmed(value->val.string.val, value->val.string.len);
}

static bool
looks_like_epoch(const char *string)
{
	size_t		digits = strspn(string, "0123456789");

	if (digits < LEAST_EPOCH_DIGITS || (digits > SECONDS_DIGITS && digits != MILLISECONDS_DIGITS))
		return false;
	string += digits;
	if (*string == '.')
		string += 1 + strspn(string + 1, "0123456789");
	return *string == '\0';
}

/*
 * NULL if the text is not JSON.
 */
static JsonbValue *
parse_json(const char *string)
{
	JsonbValue *value;

	/* looked at first, without a sub-transaction */
	if (pg_parse_json(sidecar_json_lexer(string), &nullSemAction) != JSON_SUCCESS)
		return NULL;
	value = palloc(sizeof(JsonbValue));
	JsonbToJsonbValue(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(string))), value);
	/* a scalar is wrapped in an array */
	if (JsonContainerIsScalar(value->val.binary.data))
		(void) JsonbExtractScalar(value->val.binary.data, value);
	return value;
}

static JsonbValue *
string_value(char *string)
{
	JsonbValue *value = palloc(sizeof(JsonbValue));

	value->type = jbvString;
	value->val.string.val = string;

	value->val.string.len = (int) strlen(string);
	return value;
}

/*
 * The value itself, if that is its text.
 */
static const JsonbValue *
text_value(char *string, const JsonbValue *value)
{
	size_t		length = strlen(string);

	return length == value->val.string.len && memcmp(string, value->val.string.val, length) == 0 ? value : string_value(string);
}

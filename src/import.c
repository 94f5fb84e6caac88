/*-------------------------------------------------------------------------
 *
 * import.c
 *		Text into records: a JSON array, JSON Lines, or objects one after another.
 *
 * The text is cut before it is parsed, so that what jsonb refuses (\u0000, half
 * a surrogate) and what is not JSON costs one record.
 *
 * A record ends with the bracket that closes it, however it is laid out.  What
 * cannot be JSON is damaged: a string that does not end with its line, a bracket
 * that closes another kind, a value where none may be, a text that ends before
 * its brackets do.  A damaged record ends before the next line that begins an
 * object, is not indented more, and is not of a list inside of a record.
 *
 * Lines begin outside of strings.  So what was open where a record proved to be
 * damaged is damaged, too, and need not be read again: the time that it takes is
 * proportional to the text.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "batch.h"

#define BYTE_ORDER_MARK "\357\273\277"

/* Characters to pass over; \036 begins a record of RFC 7464, \357 a mark */
#define BLANKS " \t"
#define SPACE BLANKS "\r\n"
#define SEPARATORS SPACE ",\036\357"
#define SEPARATORS_IN_LINE BLANKS ",\036\357"

/* Where a text is being cut */
typedef struct Cutter
{
	const char *at;
	const char *begin;
	const char *end;
	bool		is_array;
	const char *damaged;		/* the damaged record that was last, or NULL */
	ptrdiff_t	indent;			/* of its line */
	const char **open;			/* the brackets that are open, outermost first */
	size_t		max_open;		/* how many there is room for */
	const char *damage;			/* where a record proved to be damaged, or
								 * NULL */
	size_t		ndamaged;		/* how many were open there: the first ones */
	const char *counted;		/* up to where lines were counted */
	int64		line;			/* that this is in */
} Cutter;

static bool is_text_of_object(const JsonbValue *value);
static int64 line_of(Cutter *cutter, const char *place);
static Cutter begin_cutting(text *input);
static bool cut(Cutter *cutter, const char **start, int *length);
static const char *end_of_record(Cutter *cutter, const char *start);
static const char *end_of_brackets(Cutter *cutter, const char *start);
static bool is_known_damaged(const Cutter *cutter, const char *start);
static const char *end_of_damage(Cutter *cutter, const char *start);
static bool begins_record(Cutter *cutter, const char *start, const char **seen);
static bool is_laid_out_flat(const Cutter *cutter, const char *start);
static ptrdiff_t indent_of(const Cutter *cutter, const char *place);
static const char *end_of_scalar(const char *start, const char *end);
static const char *end_of_line(const char *place, const char *end);
static const char *end_of_string(const char *start, const char *end);
static const char *skip(const char *at, const char *end, const char *set);
static void parse_record(void *arg, Record *record);

/*
 * The records of the text, each of which is a string of its own.
 */
Record	   *
sidecar_read_text(text *input, const Record *sent, int *nrecords)
{
	Cutter		cutter = begin_cutting(input);
	Record	   *records;
	const char *start;
	int			length;

	*nrecords = 0;
	while (cut(&cutter, &start, &length))
		(*nrecords)++;
	pfree(cutter.open);
	/* a million records are more than a palloc takes */
	records = MemoryContextAllocExtended(CurrentMemoryContext, sizeof(Record) * Max(*nrecords, 1),
										 MCXT_ALLOC_HUGE);
	cutter = begin_cutting(input);
	for (int i = 0; i < *nrecords && cut(&cutter, &start, &length); i++)
	{
		Record	   *record = &records[i];

		*record = *sent;
		record->position = i;
		record->line = line_of(&cutter, start);
		record->json.type = jbvString;
		record->json.val.string.val = unconstify(char *, start);
		record->json.val.string.len = length;
	}
	pfree(cutter.open);
	return records;
}

/*
 * Parses the records that are texts; unless it is all, only of objects.  One that
 * cannot be parsed is rejected, and stays a text.
 */
void
sidecar_parse_texts(Record *records, int nrecords, bool all)
{
	Record	  **texts = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Record *) * Max(nrecords, 1));
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "sidecar parse", ALLOCSET_DEFAULT_SIZES);
	int			ntexts = 0;

	for (int i = 0; i < nrecords; i++)
	{
		if (records[i].json.type == jbvString && (all || is_text_of_object(&records[i].json)))
			texts[ntexts++] = &records[i];
	}
	sidecar_try_each(CurrentMemoryContext, texts, ntexts, parse_record, NULL, scratch);
	pfree(texts);
	MemoryContextDelete(scratch);
}

/*
 * Parses the text that the record is, in a context that is no record's.
 */
static void
parse_record(void *arg, Record *record)
{
	MemoryContext scratch = arg;
	MemoryContext old = MemoryContextSwitchTo(scratch);
	JsonbValue	value = record->json;
	Jsonb	   *parsed = NULL;

	do
	{
		char	   *string = pnstrdup(value.val.string.val, value.val.string.len);

		parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(string)));
		JsonbToJsonbValue(parsed, &value);
		/* a scalar is wrapped in an array */
		if (JsonContainerIsScalar(value.val.binary.data))
			(void) JsonbExtractScalar(value.val.binary.data, &value);
		/* it may have been made into text twice */
	} while (is_text_of_object(&value));
	MemoryContextSwitchTo(old);
	/* what is no object is refused when its fields are read */
	JsonbToJsonbValue(memcpy(palloc(VARSIZE(parsed)), parsed, VARSIZE(parsed)), &record->json);
	MemoryContextReset(scratch);
}

static bool
is_text_of_object(const JsonbValue *value)
{
	const char *start;
	const char *end;

	if (value->type != jbvString)
		return false;
	end = value->val.string.val + value->val.string.len;
	start = skip(value->val.string.val, end, SPACE);
	return start < end && *start == '{';
}

/*
 * The line that a place of the text is in; each is asked for after those before
 * it.
 */
static int64
line_of(Cutter *cutter, const char *place)
{
	for (; cutter->counted < place; cutter->counted++)
	{
		/* a record begins at the place, so that there is a next character */
		if (*cutter->counted == '\n' || (*cutter->counted == '\r' && cutter->counted[1] != '\n'))
			cutter->line++;
	}
	return cutter->line;
}

static Cutter
begin_cutting(text *input)
{
	Cutter		cutter = {.line = 1,.max_open = 64};

	cutter.begin = cutter.at = cutter.counted = VARDATA_ANY(input);
	cutter.end = cutter.at + VARSIZE_ANY_EXHDR(input);
	cutter.at = skip(cutter.at, cutter.end, SEPARATORS);
	cutter.is_array = cutter.at < cutter.end && *cutter.at == '[';
	if (cutter.is_array)
		cutter.at++;
	cutter.open = palloc(sizeof(char *) * cutter.max_open);
	return cutter;
}

/*
 * Cuts the next record off; false if there is none.
 */
static bool
cut(Cutter *cutter, const char **start, int *length)
{
	const char *end;

	CHECK_FOR_INTERRUPTS();
	cutter->at = skip(cutter->at, cutter->end, SEPARATORS);
	/* an array may be followed by another one */
	while (cutter->is_array && cutter->at < cutter->end && *cutter->at == ']')
	{
		cutter->at = skip(cutter->at + 1, cutter->end, SEPARATORS);
		if (cutter->at < cutter->end && *cutter->at == '[')
			cutter->at = skip(cutter->at + 1, cutter->end, SEPARATORS);
	}
	if (cutter->at == cutter->end)
		return false;
	*start = cutter->at;
	end = cutter->at = end_of_record(cutter, *start);
	while (strchr(" \t\r\n,\036", end[-1]) != NULL && end[-1] != '\0')
		end--;
	*length = (int) (end - *start);
	return true;
}

/*
 * Where the record ends that begins there.
 */
static const char *
end_of_record(Cutter *cutter, const char *start)
{
	bool		has_brackets = *start == '{' || *start == '[';
	const char *end;
	const char *after;

	if (*start == '"' && (end = end_of_string(start, cutter->end)) != NULL)
	{
		/* a name is of an object that has lost its beginning */
		after = skip(end, cutter->end, SPACE);
		has_brackets = after < cutter->end && *after == ':';
	}
	if (!has_brackets)
		return cutter->is_array ? end_of_scalar(start, cutter->end) : end_of_line(start, cutter->end);
	end = end_of_brackets(cutter, start);
	if (end == NULL)
		return end_of_damage(cutter, start);
	/* of a line that goes on with something else, nothing is to be stored */
	after = skip(end, cutter->end, SEPARATORS_IN_LINE);
	if (cutter->is_array || after == cutter->end || strchr("\r\n{", *after) != NULL)
		return end;
	return end_of_damage(cutter, start);
}

/*
 * Where the array or object ends that begins there; NULL if it is damaged.
 */
static const char *
end_of_brackets(Cutter *cutter, const char *start)
{
	size_t		bottom;
	size_t		top;
	char		previous = ':';
	const char *at;

	if (is_known_damaged(cutter, start))
		return NULL;
	/* what is known to be damaged is kept as long as it may be asked for */
	bottom = top = start < cutter->damage ? cutter->ndamaged : 0;
	for (at = start; at < cutter->end; at++)
	{
		/* it may be as large as memory */
		if (((at - start) & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		if (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
			continue;
		if (*at == '{' || *at == '[' || *at == '"')
		{
			/* where may a value or a name begin? */
			if (previous != ':' && previous != ',' && previous != '{' && previous != '[')
				break;
			if (*at != '"' && top > bottom && *cutter->open[top - 1] != '[' && previous != ':')
				break;
		}
		if (*at == '{' || *at == '[' || at == start)
		{
			if (top == cutter->max_open)
			{
				cutter->max_open *= 2;
				cutter->open = repalloc_huge(cutter->open, sizeof(char *) * cutter->max_open);
			}
			cutter->open[top++] = at;
		}
		if (*at == '"')
		{
			const char *end = end_of_string(at, cutter->end);

			if (end == NULL)
				break;
			at = end - 1;
		}
		else if (*at == '}' || *at == ']')
		{
			if ((*cutter->open[top - 1] == '[') != (*at == ']'))
				break;
			if (--top == bottom)
				return at + 1;
		}
		previous = *at;
	}
	memmove(cutter->open, cutter->open + bottom, sizeof(char *) * (top - bottom));
	cutter->ndamaged = top - bottom;
	cutter->damage = at;
	return NULL;
}

/*
 * True of what was open where a record proved to be damaged.
 */
static bool
is_known_damaged(const Cutter *cutter, const char *start)
{
	size_t		low = 0;
	size_t		high = cutter->ndamaged;

	if (start >= cutter->damage)
		return false;
	while (low < high)
	{
		size_t		middle = (low + high) / 2;

		if (cutter->open[middle] < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low < cutter->ndamaged && cutter->open[low] == start;
}

/*
 * Where the record ends that begins there and is damaged: where the next one
 * begins, or with the text.
 */
static const char *
end_of_damage(Cutter *cutter, const char *start)
{
	ptrdiff_t	indent = indent_of(cutter, start);
	bool		is_indented = false;
	const char *seen = start + 1;

	cutter->damaged = start;
	cutter->indent = indent;
	while (seen < cutter->end)
	{
		const char *at = seen++;
		bool		may_begin = false;

		if (at[-1] == '\n' || at[-1] == '\r')
		{
			const char *line = at;

			CHECK_FOR_INTERRUPTS();
			at = skip(at, cutter->end, BLANKS);
			is_indented = at - line > indent;
			at = skip(at, cutter->end, SEPARATORS_IN_LINE);
			/* an array may begin, too */
			if (at < cutter->end && *at == '[')
				at = skip(at + 1, cutter->end, SEPARATORS_IN_LINE);
			may_begin = true;
		}
		else if (*at == ',' && cutter->is_array)
		{
			const char *name;

			at = skip(at + 1, cutter->end, BLANKS);
			name = skip(at + 1, cutter->end, SPACE);
			may_begin = at >= cutter->damage && name < cutter->end && *name == '"';
		}
		if (may_begin && !is_indented && at < cutter->end && *at == '{' && begins_record(cutter, at, &seen))
			return at;
	}
	return cutter->end;
}

/*
 * True of an object after damage that is a record, and not of a list inside of
 * one: what follows such a list is told by the text.
 *
 * seen becomes up to where the same is true of all objects.
 */
static bool
begins_record(Cutter *cutter, const char *start, const char **seen)
{
	bool		is_flat = is_laid_out_flat(cutter, start);
	const char *at = start;

	if (is_flat && !cutter->is_array)
	{
		/* between records there is no comma */
		while (strchr(SPACE, *--at) != NULL)
			;
		return *at == '}';
	}
	do
	{
		const char *end = end_of_brackets(cutter, at);

		*seen = at + 1;
		if (end == NULL)
			return !is_flat;
		*seen = at = skip(end, cutter->end, SEPARATORS);
	} while (at < cutter->end && *at == '{');
	if (at == cutter->end || *at != ']')
		return !is_flat;
	if (!cutter->is_array)
		return false;
	at = skip(at + 1, cutter->end, SPACE);
	return at == cutter->end || strchr(",]}", *at) == NULL;
}

/*
 * True of an object that is laid out over lines that are not indented: by that,
 * records cannot be told from what is inside of them.
 */
static bool
is_laid_out_flat(const Cutter *cutter, const char *start)
{
	const char *next = skip(start + 1, cutter->end, BLANKS);

	if (next == cutter->end || (*next != '\r' && *next != '\n'))
		return false;
	next = skip(next, cutter->end, SPACE);
	return indent_of(cutter, next) <= indent_of(cutter, start);
}

/*
 * How far the line of the place is indented, at most: a bracket or comma before
 * its record counts.
 */
static ptrdiff_t
indent_of(const Cutter *cutter, const char *place)
{
	const char *line = place;

	while (line > cutter->begin && line[-1] != '\n' && line[-1] != '\r')
	{
		if (line-- == cutter->damaged)
			return cutter->indent;
	}
	return skip(line, cutter->end, BLANKS ",[") - line;
}

/*
 * Where the element of an array ends that begins there and has no brackets.
 */
static const char *
end_of_scalar(const char *start, const char *end)
{
	const char *at = start;

	do
	{
		const char *after = *at == '"' ? end_of_string(at, end) : at + 1;

		at = after == NULL ? end_of_line(at, end) : after;
	} while (at < end && strchr(",]\r\n", *at) == NULL);
	return at;
}

/*
 * Where the line ends that the place is in.
 */
static const char *
end_of_line(const char *place, const char *end)
{
	while (place < end && *place != '\n' && *place != '\r')
		place++;
	return place;
}

/*
 * Where the string ends that begins there; NULL if it does not end with its line.
 */
static const char *
end_of_string(const char *start, const char *end)
{
	for (const char *at = start + 1; at < end && *at != '\n' && *at != '\r'; at++)
	{
		if (*at == '"')
			return at + 1;
		if (*at == '\\' && at + 1 < end && (at[1] == '"' || at[1] == '\\'))
			at++;
	}
	return NULL;
}

/*
 * Passes over the characters of the set, which has the first byte of a byte order
 * mark if those are passed over.
 */
static const char *
skip(const char *at, const char *end, const char *set)
{
	while (at < end && strchr(set, *at) != NULL)
	{
		if (*at != *BYTE_ORDER_MARK)
			at++;
		else if (end - at >= 3 && memcmp(at, BYTE_ORDER_MARK, 3) == 0)
			at += 3;
		else
			break;
	}
	return at;
}

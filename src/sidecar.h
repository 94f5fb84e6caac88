/*-------------------------------------------------------------------------
 *
 * sidecar.h
 *		What the files of the module share.
 *
 * An entity (company, people) is a row of sidecar_entities[]: all code takes
 * the entity as an argument.  Which table carries the entity, which is its
 * master and what columns there are comes from the catalog (binding.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIDECAR_H
#define SIDECAR_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"
#include "nodes/params.h"
#include "pgtime.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/reltrigger.h"
#include "utils/tuplestore.h"

#include "compat.h"

/* The schema that sidecar_install() makes tables in and looks for masters in */
#define SIDECAR_SCHEMA "marketing"

/* The columns that every sidecar table has and the rules speak of */
#define SIDECAR_COL_PAYLOAD "enrichment_payload"
#define SIDECAR_COL_SOURCE "enrichment_source"
#define SIDECAR_COL_SCORE "confidence_score"
#define SIDECAR_COL_TIME "last_enriched_at"
#define SIDECAR_COL_CREATED "created_at"
#define SIDECAR_COL_UPDATED "updated_at"

#define SIDECAR_HINT_INSTALL "Run \"SELECT sidecar_install()\"."

/*
 * What is known of an entity before the catalog is asked.  Names are those of
 * schema SIDECAR_SCHEMA that sidecar_install() makes or looks for first.
 *
 * The table of parked records is found as a sidecar table is, and is the last
 * row, which is no entity: it has no label, and nothing from foreign_key on.
 */
typedef struct SidecarEntity
{
	const char *label;			/* what reports call it */
	const char *sidecar;		/* its sidecar table */
	const char *key;			/* the sidecar's key column */
	const char *trigger;		/* the updated_at trigger */
	const char *trigger_function;	/* and the function it calls: the mark by
									 * which the sidecar table is known */
	const char *foreign_key;	/* the sidecar's key to its master */
	const char *master;			/* the master table */
	const char *master_key;		/* the master's key column */
	const char *name;			/* the master's column that people read */
} SidecarEntity;

enum
{
	SIDECAR_COMPANY,
	SIDECAR_PEOPLE,
	SIDECAR_ENTITIES,
	SIDECAR_PARKED = SIDECAR_ENTITIES,
	SIDECAR_TABLES
};

/* An error that is raised by whoever comes to need what it is about */
typedef struct SidecarError
{
	int			sqlstate;
	bool		is_absence;		/* no more than that nothing is there yet */
	const char *message;
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
} SidecarError;

/*
 * What the catalog says of an entity: no names, which a session may change
 * even of what it has open.  It can be read until the end of the transaction
 * that got it; whether it is still true is another matter (binding.c).
 */
typedef struct SidecarBinding
{
	MemoryContext context;		/* of this, and of what is kept with it */
	const SidecarEntity *entity;
	uint64		generation;		/* another number: something has changed */
	Oid			schema;			/* of the extension's functions */
	Oid			sidecar;		/* InvalidOid: there is none */
	Oid			master;			/* InvalidOid: no foreign key yet */
	SidecarError *error;		/* why they cannot be used; NULL if they can */
	bool		trigger_enabled;	/* outside replication */
	const char *zone_name;		/* of its timestamp columns, as the trigger
								 * tells it */
	pg_tz	   *zone;			/* NULL: there is no such zone */
	bool		key_validated;	/* as pg_constraint says: no proof that every
								 * row has its master */
	bool		key_deferrable; /* it may look for masters at COMMIT only */
	Bitmapset  *demanded;		/* the columns that a new row has to give */
	bool		has_checks;		/* which a new row has to pass */
	AttrNumber	master_key;
	AttrNumber	name;			/* the master's column that people read, or
								 * InvalidAttrNumber */
	bool		name_is_text;
	struct UpsertFunction *functions;	/* what upsert.c has learnt */
	Oid			replayer;		/* the role whose last record was stored
								 * already; see store.c */
} SidecarBinding;

/*
 * An entity's tables, open: until sidecar_close() nobody changes them, so that
 * their binding stays true.
 */
typedef struct SidecarTable
{
	SidecarBinding *binding;
	Relation	rel;
	Relation	master;			/* NULL: there is none, or it was not asked
								 * for */
} SidecarTable;

/* What happens to a stored row: the values of on_conflict */
typedef enum SidecarRule
{
	SIDECAR_OVERWRITE,
	SIDECAR_NEWEST,
	SIDECAR_MOST_CONFIDENT,
	SIDECAR_FILL,
	SIDECAR_NEWER				/* newest, but of the same time what is stored
								 * stays: of parked records, no word for it */
} SidecarRule;

#define SIDECAR_RULES (SIDECAR_FILL + 1)

/* What happens to keys that are no columns: the values of unknown_keys */
typedef enum SidecarUnknownKeys
{
	SIDECAR_UNKNOWN_REJECT,
	SIDECAR_UNKNOWN_PAYLOAD,	/* they go into the payload */
	SIDECAR_UNKNOWN_IGNORE
} SidecarUnknownKeys;

#define SIDECAR_UNKNOWN_KEYS (SIDECAR_UNKNOWN_IGNORE + 1)

/* An argument that is one of a few words, by their number */
typedef struct SidecarChoice
{
	const char *argument;
	const int  *standard;		/* what NULL is */
	int			n;
	const char *words[SIDECAR_RULES];
} SidecarChoice;

/* What became of a record: the words that functions answer with */
typedef enum SidecarOutcome
{
	SIDECAR_PENDING,			/* nothing yet: has no word */
	SIDECAR_INSERTED,
	SIDECAR_UPDATED,
	SIDECAR_UNCHANGED,			/* the stored row says all that is given */
	SIDECAR_SKIPPED,			/* the rule, or a trigger, kept it away */
	SIDECAR_REJECTED			/* it cannot be stored */
} SidecarOutcome;

/* The statements that are made for rows of a sidecar table */
typedef enum SidecarStatement
{
	SIDECAR_BY_RULE,			/* stores what is new, and what the rule lets
								 * change the stored row */
	SIDECAR_IF_NEW,				/* stores what is new */
	SIDECAR_IF_OTHER_TIME,		/* overwrites, but only what has another time */
	SIDECAR_LOCK,				/* yields the stored row, locked */
	SIDECAR_UPDATE,				/* lets the rule change the stored row */
	SIDECAR_COMPARE,			/* yields a row where the stored one says all
								 * that is given */
	SIDECAR_ORPHAN				/* yields a row where there is neither a
								 * stored one nor a master */
} SidecarStatement;

/* How a column's values may be written (field.c) */
typedef enum SidecarForm
{
	SIDECAR_PLAIN,
	SIDECAR_LIST,
	SIDECAR_DOCUMENT,			/* JSON */
	SIDECAR_TIME,
	SIDECAR_SCORE
} SidecarForm;

/* A column of a record */
typedef struct SidecarColumn
{
	AttrNumber	attnum;
	Oid			type;			/* a domain, perhaps */
	SidecarForm form;
	SidecarForm element_form;	/* of a list: its elements' */
	char	   *name;
	int			name_length;
	const char *name_sql;		/* quoted */
	const char *type_sql;		/* what the column's type is made of */
	Oid			given_type;		/* of a value before it is stored:
								 * sidecar_given_type() */
	int32		given_typmod;	/* none of what is checked before it is
								 * rounded or cut */
	int			max_chars;		/* of it, or of an element; 0: no limit */
	bool		is_timestamp;	/* which is given as timestamptz */
	bool		has_scale;		/* a number that is rounded, to this */
	int			scale;
} SidecarColumn;

/* The columns that rows of one origin may give */
typedef struct SidecarColumns
{
	Oid			function;		/* whose arguments they are; InvalidOid: rows
								 * come as chunks */
	int			n;
	SidecarColumn **columns;	/* the key first */
	int			time;			/* which of them is last_enriched_at */
} SidecarColumns;

/* A row to store, of such columns */
typedef struct SidecarRow
{
	Datum	   *values;			/* of the columns' given types */
	bool	   *nulls;
	Bitmapset  *given;			/* which columns are; the others are NULL */
	Bitmapset  *cleared;		/* which of these become NULL */
	bool		time_given;		/* else last_enriched_at is now */
	bool		absent;			/* it was left alone, and there is no other of
								 * its key: a trigger kept it away */
	SidecarOutcome outcome;
} SidecarRow;

/* What a statement is made for */
typedef struct SidecarRequest
{
	SidecarStatement statement;
	SidecarRule rule;
	const SidecarColumns *columns;
	const Bitmapset *given;		/* as of its rows */
	const Bitmapset *cleared;
} SidecarRequest;

/*
 * Rows that one statement stores, as a table of its own: how many, and what it
 * is called.
 */
#define SIDECAR_CHUNK 1000
#define SIDECAR_CHUNK_NAME "sidecar_chunk"

/* A plan of the caller's connection to SPI; sql is NULL if there is none */
typedef struct SidecarPrepared
{
	char	   *sql;
	SPIPlanPtr	plan;
} SidecarPrepared;

/* Who stores chunks of rows */
typedef struct SidecarStore
{
	SidecarTable *table;
	SidecarColumns columns;
	TupleDesc	desc;			/* of a chunk: columns, position, time given */
	Oid			collation;		/* of keys: C, unless some are equal to others */
	bool		look_for_masters;	/* this role may read them */
	bool		keep;			/* what is stored stays, whatever the rule */
	MemoryContext spi_context;	/* of the caller's connection to SPI */
	SidecarPrepared prepared[2];	/* to lock and to update single rows */
} SidecarStore;

/* An estimate of what nothing is known of */
#define SIDECAR_UNKNOWN (-1)

/* in entity.c */
extern PGDLLIMPORT const SidecarEntity sidecar_entities[SIDECAR_TABLES];
extern const SidecarEntity *sidecar_entity(const char *label);
sidecar_noreturn extern void sidecar_refuse_call(FunctionCallInfo fcinfo);
extern ReturnSetInfo *sidecar_begin_rows(FunctionCallInfo fcinfo, int nargs, const Oid *types,
										 int ncolumns, const Oid *columns);

/* in binding.c */
extern void sidecar_binding_init(void);
extern uint64 sidecar_changes(void);
extern SidecarBinding *sidecar_lookup(const SidecarEntity *entity);
extern SidecarTable *sidecar_open(const SidecarEntity *entity, LOCKMODE lockmode, bool with_master);
extern SidecarTable *sidecar_open_if_there(const SidecarEntity *entity, bool with_master);
extern void sidecar_close(SidecarTable *table);
extern void sidecar_require_right(Oid relid, LOCKMODE lockmode);
extern void sidecar_require_master(const SidecarTable *table);
extern Form_pg_attribute sidecar_column(const SidecarTable *table, const char *name);
extern char *sidecar_relation_sql(Oid relid);
extern const char *sidecar_problem(const SidecarBinding *binding);
extern Oid	sidecar_given_type(Oid type, int32 *typmod);
extern SidecarError *sidecar_wrong_type(Oid relid, Form_pg_attribute att, Oid type, bool exactly);
extern SidecarError *sidecar_error(int sqlstate, const char *message, const char *detail, const char *hint);
sidecar_noreturn extern void sidecar_raise(const SidecarError *error);

/* in field.c */
extern bool sidecar_read_argument(const SidecarColumn *column, Datum *value);

/* in inbox.c */
extern void sidecar_inbox_init(void);

/* in query.c */
extern char *sidecar_expand(const char *template, const SidecarBinding *binding);
extern ParamListInfo sidecar_params(int nargs, const Oid *types, const Datum *values,
									const bool *nulls);
extern void sidecar_query(FunctionCallInfo fcinfo, const char *sql, ParamListInfo params,
						  List *relids);
extern void sidecar_query_row(const char *sql, ParamListInfo params, List *relids,
							  int ncolumns, Datum *results, bool *resultnulls);
extern int64 sidecar_estimate(const char *sql, ParamListInfo params, List *relids);

/* in reject.c */
extern Relation sidecar_open_rejects(LOCKMODE lockmode);

/* in record.c */
extern void sidecar_record_init(void);
extern PGDLLIMPORT const SidecarChoice sidecar_on_conflict;
extern PGDLLIMPORT const SidecarChoice sidecar_unknown_keys;
extern int	sidecar_choose(const SidecarChoice *choice, const text *value);
extern int	sidecar_find_word(const SidecarChoice *choice, const char *word);
extern const char *sidecar_outcome_name(SidecarOutcome outcome);
extern SidecarColumn *sidecar_describe_column(Form_pg_attribute att);

extern int	sidecar_blank_length(const char *string, int length);
extern char *sidecar_trimmed(const char *string, int length);
extern int	sidecar_find_column(const SidecarColumns *columns, const char *name, int length);
extern int	sidecar_clear_column(const SidecarColumns *columns, SidecarRow *row, const char *name, int length);
extern void sidecar_check_row(const SidecarColumns *columns, const SidecarRow *row);
extern Datum sidecar_round_score(const SidecarColumn *column, Datum score);
extern Datum sidecar_stored_value(const SidecarColumn *column, Datum value);
extern void sidecar_set_time(const SidecarColumns *columns, SidecarRow *row, TimestampTz now);

/* in deparse.c */
extern bool sidecar_returns_xmax(const SidecarTable *table);
extern char *sidecar_deparse_row(const SidecarTable *table, const SidecarRequest *request);
extern char *sidecar_deparse_chunk(const SidecarTable *table, const SidecarRequest *request);
extern char *sidecar_deparse_look_up(const SidecarTable *table, const SidecarRequest *request,
									 bool written, bool now_is_news, bool look_for_masters);

/* in store.c */
extern bool sidecar_must_look_up(const SidecarTable *table);
extern bool sidecar_has_insert_triggers(const SidecarTable *table);
extern bool sidecar_may_look_up(const SidecarTable *table);
extern char *sidecar_no_master(const SidecarTable *table, const char *key);
extern SidecarOutcome sidecar_store_row(const SidecarTable *table, const SidecarColumns *columns,
										SidecarRule rule, SidecarRow *row);
extern TupleDesc sidecar_chunk_desc(const SidecarColumns *columns);
extern bool sidecar_write_rows(const SidecarStore *store, SidecarRule rule, SidecarRow **rows, int nrows);
extern bool sidecar_update_row(SidecarStore *store, SidecarRule rule, SidecarRow *row);
extern Bitmapset *sidecar_look_up_rows(const SidecarStore *store, SidecarRule rule,
									   SidecarRow **rows, int nrows, bool written);

/* in zone.c */
extern const char *sidecar_zone_name(const Trigger *trigger);
extern pg_tz *sidecar_find_zone(const char *name);
sidecar_noreturn extern void sidecar_refuse_zone(const char *name, Oid relid);
extern void sidecar_require_zone(const SidecarTable *table);
extern int	sidecar_enter_zone(const SidecarTable *table);
extern void sidecar_leave_zone(int nestlevel);

/* True of most first bytes of texts: none of white space */
#define SIDECAR_IS_PRINTED(byte) ((byte) > ' ' && !IS_HIGHBIT_SET(byte))

/*
 * True of a text of nothing but white space, which is never a value.  It is asked
 * of every field.
 */
static inline bool
sidecar_is_blank(const char *string, int length)
{
	return length == 0 ||
		(!SIDECAR_IS_PRINTED(*string) && sidecar_blank_length(string, length) == length);
}

#endif							/* SIDECAR_H */

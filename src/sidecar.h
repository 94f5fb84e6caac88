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
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "nodes/params.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

#include "compat.h"

/* The schema that sidecar_install() makes tables in and looks for masters in */
#define SIDECAR_SCHEMA "marketing"

/* The table of that schema in which records wait that could not be stored */
#define SIDECAR_REJECTS "sidecar_rejects"

/* The columns that every sidecar table has and the rules speak of */
#define SIDECAR_COL_SOURCE "enrichment_source"
#define SIDECAR_COL_SCORE "confidence_score"
#define SIDECAR_COL_TIME "last_enriched_at"
#define SIDECAR_COL_CREATED "created_at"
#define SIDECAR_COL_UPDATED "updated_at"

#define SIDECAR_HINT_INSTALL "Run \"SELECT sidecar_install()\"."

/*
 * What is known of an entity before the catalog is asked.  Names are those of
 * schema SIDECAR_SCHEMA that sidecar_install() makes or looks for first.
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
	SIDECAR_ENTITIES
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
	bool		key_validated;	/* as pg_constraint says: no proof that every
								 * row has its master */
	AttrNumber	master_key;
	bool		master_key_not_null;
	AttrNumber	name;			/* the master's column that people read, or
								 * InvalidAttrNumber */
	bool		name_is_text;
	struct UpsertFunction *functions;	/* what upsert.c has learnt */
} SidecarBinding;

/*
 * An entity's sidecar table, open: until sidecar_close() nobody changes it, so
 * that its binding stays true.
 */
typedef struct SidecarTable
{
	SidecarBinding *binding;
	Relation	rel;
} SidecarTable;

/* What happens to a stored row: the values of on_conflict */
typedef enum SidecarRule
{
	SIDECAR_OVERWRITE,
	SIDECAR_NEWEST,
	SIDECAR_MOST_CONFIDENT,
	SIDECAR_FILL,
	SIDECAR_RULES,

	/* What else a statement may do with it */
	SIDECAR_KEEP = SIDECAR_RULES,	/* nothing: only new rows are stored */
	SIDECAR_OVERWRITE_OTHER_TIME	/* as overwrite, if it has another time;
									 * of records that give all columns, and
									 * without insert_triggers */
} SidecarRule;

/* A column of a record */
typedef struct SidecarColumn
{
	char	   *name;
	const char *name_sql;		/* quoted */
	const char *type_sql;		/* what the column's type is made of */
	Oid			given_type;		/* of a value before it is stored:
								 * sidecar_given_type() */
	int32		given_typmod;	/* none of what is checked before it is
								 * rounded or cut */
	int			max_chars;		/* 0: no limit */
} SidecarColumn;

/* A plan that the session keeps, and its text */
typedef struct SidecarPlan
{
	char	   *sql;
	SPIPlanPtr	plan;
} SidecarPlan;

/*
 * Records that one statement stores, as a table of its own: how many, what it
 * is called, and a column beside those of the records.
 */
#define SIDECAR_CHUNK 1000
#define SIDECAR_CHUNK_NAME "sidecar_chunk"
#define SIDECAR_CHUNK_POSITION "sidecar position"

/* An estimate of what nothing is known of */
#define SIDECAR_UNKNOWN (-1)

/* in sidecar.c */
extern PGDLLIMPORT const SidecarEntity sidecar_entities[SIDECAR_ENTITIES];
extern int	sidecar_entity_index(const char *label);
extern void sidecar_check_call(FunctionCallInfo fcinfo, int nargs, const Oid *types);
extern void sidecar_refuse_call(FunctionCallInfo fcinfo) pg_attribute_noreturn();
extern ReturnSetInfo *sidecar_begin_rows(FunctionCallInfo fcinfo, int nargs, const Oid *types,
										 int ncolumns, const Oid *columns);

/* in binding.c */
extern void sidecar_binding_init(void);
extern SidecarBinding *sidecar_lookup(const SidecarEntity *entity);
extern SidecarTable *sidecar_open(const SidecarEntity *entity, LOCKMODE lockmode);
extern void sidecar_close(SidecarTable *table);
extern void sidecar_require_master(const SidecarTable *table);
extern Form_pg_attribute sidecar_column(const SidecarTable *table, const char *name);
extern char *sidecar_relation_sql(Oid relid);
extern const char *sidecar_problem(const SidecarBinding *binding);
extern bool sidecar_is_trusted(const SidecarEntity *entity, Oid role);
extern Oid	sidecar_given_type(Oid type, int32 *typmod);
extern SidecarError *sidecar_wrong_type(Oid relid, Form_pg_attribute att, Oid type);
extern SidecarError *sidecar_error(int sqlstate, const char *message, const char *detail, const char *hint);
extern void sidecar_raise(const SidecarError *error) pg_attribute_noreturn();

/* in inbox.c */
extern void sidecar_inbox_init(void);

/* in query.c */
extern char *sidecar_expand(const char *template, const SidecarBinding *binding);
extern ParamListInfo sidecar_params(int nargs, const Oid *types, const Datum *values,
									const bool *nulls);
extern void sidecar_query(FunctionCallInfo fcinfo, const char *sql, ParamListInfo params);
extern void sidecar_query_row(const char *sql, ParamListInfo params,
							  int ncolumns, Datum *results, bool *resultnulls);
extern int64 sidecar_estimate(const char *sql, ParamListInfo params);
extern SPIPlanPtr sidecar_prepare(SidecarPlan *kept, const char *sql, int nargs, Oid *types);
extern void sidecar_register_chunk(Tuplestorestate *chunk, TupleDesc desc, int nrecords);

/* in reject.c */
extern Oid	sidecar_find_rejects(SidecarError **error);

/* in record.c */
extern SidecarRule sidecar_rule(const text *on_conflict);
extern const char *sidecar_rule_name(SidecarRule rule);
extern SidecarColumn *sidecar_describe_column(Form_pg_attribute att);
extern void sidecar_check_value(const SidecarColumn *column, Datum value);
extern char *sidecar_write_sql(const SidecarTable *table, SidecarRule rule,
							   SidecarColumn **columns, int ncolumns, const char *source);
extern bool sidecar_returns_xmax(const SidecarTable *table);
extern bool sidecar_has_insert_triggers(const SidecarTable *table);
extern char *sidecar_chunk_sql(SidecarColumn **columns, int ncolumns);
extern char *sidecar_same_sql(SidecarColumn **columns, int ncolumns, char **values);

#endif							/* SIDECAR_H */

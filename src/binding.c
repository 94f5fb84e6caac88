/*-------------------------------------------------------------------------
 *
 * binding.c
 *		Which table is an entity's sidecar, and which is its master; and which
 *		is that of parked records, which is found as a sidecar is.
 *
 * The bindings are PostgreSQL's own: a sidecar table is the one that carries
 * its updated_at trigger, its master the table that its foreign key
 * references.  RENAME and SET SCHEMA keep both, and pg_dump restores both.
 *
 * They are looked up once per session, and again when PostgreSQL says that
 * something changed.  Catalogs are read with their own snapshot (syscache,
 * relcache, systable scans), so that names and tables are of one moment even
 * in a transaction whose snapshot is older.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/readfuncs.h"
#include "nodes/value.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "rewrite/prs2lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "sidecar.h"

/* How many other relations may change between two calls and be told apart */
#define MAX_CHANGED 16

/*
 * Columns that statements, arguments and reports name, and what they are made
 * of.  Those that users add are converted by PostgreSQL's own rules.
 */
static const struct
{
	const char *name;
	Oid			type;
}			known_columns[] = {
	{"ein_number", TEXTOID},
	{"dun_and_bradstreet_number", TEXTOID},
	{"clay_tags", TEXTARRAYOID},
	{"clay_insight_summary", TEXTOID},
	{"clay_segments", TEXTARRAYOID},
	{"social_profiles", JSONBOID},
	{"enrichment_payload", JSONBOID},
	{SIDECAR_COL_TIME, TIMESTAMPOID},
	{SIDECAR_COL_SOURCE, TEXTOID},
	{SIDECAR_COL_SCORE, NUMERICOID},
	{SIDECAR_COL_CREATED, TIMESTAMPOID},
	{SIDECAR_COL_UPDATED, TIMESTAMPOID},
};

/* Those of the table of parked records: statements name them all */
static const struct
{
	const char *name;
	Oid			type;
}			parked_columns[] = {
	{"reject_id", UUIDOID},
	{"record_no", INT8OID},
	{"entity", TEXTOID},
	{"unique_id", TEXTOID},
	{"record", JSONBOID},
	{"on_conflict", TEXTOID},
	{"options", JSONBOID},
	{"origin", JSONBOID},
	{"error", TEXTOID},
	{"sqlstate", TEXTOID},
	{"attempts", INT4OID},
	{"rejected_at", TIMESTAMPTZOID},
	{"last_tried_at", TIMESTAMPTZOID},
};

/* A table that carries the mark */
typedef struct Candidate
{
	Oid			relid;
	enum
	{
		RANK_MISFIT,
		RANK_ELSEWHERE,
		RANK_DEFAULT_SCHEMA,
		RANK_DEFAULT_NAME
	}			rank;			/* what claim it has */
	SidecarError *misfit;		/* why its columns are not those of a sidecar */
} Candidate;

/* The last that was read of each entity; true as long as it is of "changes" */
static SidecarBinding *bindings[SIDECAR_TABLES];

/* Counts what may have made a binding untrue */
static uint64 changes = 1;

/* Relations that changed and are not bound: one may have got the trigger */
static Oid	changed[MAX_CHANGED];
static int	nchanged = 0;

static SidecarBinding *read_binding(const SidecarEntity *entity);
static Oid	extension_schema(void);
static Oid	trigger_function(const SidecarEntity *entity, Oid schema);
static List *tables_with_trigger(Oid function);
static void choose_sidecar(SidecarBinding *binding, Oid function);
static SidecarTable *open_tables(const SidecarEntity *entity, LOCKMODE lockmode, bool with_master);
static void require_right_to_park(Oid relid, LOCKMODE lockmode);
static bool may(Oid relid, AclMode mode);
static bool open_as(Relation *rel, Oid relid, LOCKMODE lockmode);
static bool look_at_candidate(Oid relid, const SidecarEntity *entity, Candidate *one);
static SidecarError *two_claim(const SidecarEntity *entity, Oid one, Oid other);
static SidecarError *none_claims(const SidecarBinding *binding, Oid distrusted);
static List *trusted_tables(List *tables, Oid function, Oid *distrusted);
static bool is_shard(Oid relid);
static SidecarError *misfit(Relation rel, const SidecarEntity *entity);
static bool has_rules(Relation rel);
static SidecarError *parked_misfit(Relation rel);
static void bind_sidecar(SidecarBinding *binding, Relation rel, Oid function);
static bool has_checks(Relation rel);
static void bind_master(SidecarBinding *binding, Relation rel);
static void look_at_master(SidecarBinding *binding);
static void notice_triggers(void);
static void relation_changed(Datum arg, Oid relid);
static void catalog_changed(Datum arg, int cacheid, uint32 hashvalue);

PG_FUNCTION_INFO_V1(sidecar_entity_bindings);
PG_FUNCTION_INFO_V1(sidecar_accepted_type);

/*
 * Registers the callbacks that invalidate the bindings.
 */
void
sidecar_binding_init(void)
{
	/* what an owner may do depends on his memberships, and on the database's */
	static const int caches[] = {NAMESPACEOID, PROCOID, AUTHOID, AUTHMEMROLEMEM, DATABASEOID};

	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	for (int i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], catalog_changed, (Datum) 0);
}

/*
 * A number that is another one when a name or a binding may be.
 */
uint64
sidecar_changes(void)
{
	return changes;
}

/*
 * Finds the entity's binding, whatever is missing of it or wrong with it.
 *
 * Takes no lock that lasts: it was true a moment ago.  It stays readable until
 * the end of the transaction, whatever is looked up meanwhile.  Error: the
 * library is not the installed version's (55000).
 */
SidecarBinding *
sidecar_lookup(const SidecarEntity *entity)
{
	SidecarBinding **kept = &bindings[entity - sidecar_entities];

	notice_triggers();
	if (*kept == NULL || (*kept)->generation != changes)
	{
		SidecarBinding *binding = read_binding(entity);

		/* somebody further up may be using the old one */
		if (*kept != NULL)
			MemoryContextSetParent((*kept)->context, TopTransactionContext);
		/* it is whole, and ours: nothing from here on can fail */
		MemoryContextSetParent(binding->context, CacheMemoryContext);
		*kept = binding;
	}
	return *kept;
}

/*
 * Opens the entity's sidecar table, with that lock, and, if with_master, its
 * master, to read it, if there is one.
 *
 * Until sidecar_close() other sessions cannot change them, nor this one, whose
 * user code may run meanwhile: PostgreSQL refuses to alter what is open.  So
 * what the binding says stays true, but for names, which a session may change
 * of what it has open: they are read when a text is made of them.
 *
 * Errors: no sidecar table (42P01), two of them (42710), one whose columns are
 * of other types (42804), and those of sidecar_lookup().
 */
SidecarTable *
sidecar_open(const SidecarEntity *entity, LOCKMODE lockmode, bool with_master)
{
	SidecarTable *table = open_tables(entity, lockmode, with_master);

	if (table->binding->error != NULL)
		sidecar_raise(table->binding->error);
	return table;
}

/*
 * The same to read them, but NULL if there is no sidecar table.  What is
 * there and cannot be used is an error still.
 */
SidecarTable *
sidecar_open_if_there(const SidecarEntity *entity, bool with_master)
{
	SidecarTable *table = open_tables(entity, AccessShareLock, with_master);
	const SidecarError *error = table->binding->error;

	if (error != NULL && !error->is_absence)
		sidecar_raise(error);
	if (error != NULL)
		pfree(table);
	return error != NULL ? NULL : table;
}

/*
 * Opens what there is; the binding's error tells if that is not what was asked
 * for.
 */
static SidecarTable *
open_tables(const SidecarEntity *entity, LOCKMODE lockmode, bool with_master)
{
	SidecarTable *table = palloc0(sizeof(SidecarTable));

	/*
	 * Whoever waits for a lock hears of all changes made before it, so after
	 * each wait we look again.  Locked is what the catalog says before and
	 * after, and that ends the loop even if every look makes us look again
	 * (debug_discard_caches).
	 */
	do
	{
		table->binding = sidecar_lookup(entity);

		/* before the lock: who has no right shall not keep others waiting */
		if (OidIsValid(table->binding->sidecar) && entity->label == NULL)
			require_right_to_park(table->binding->sidecar, lockmode);
		else if (OidIsValid(table->binding->sidecar))
			sidecar_require_right(table->binding->sidecar, lockmode);
		if (with_master && lockmode == AccessShareLock && OidIsValid(table->binding->master))
			sidecar_require_right(table->binding->master, AccessShareLock);
	} while (!open_as(&table->rel, table->binding->sidecar, lockmode) ||
			 (with_master && !open_as(&table->master, table->binding->master, AccessShareLock)));
	return table;
}

/*
 * Raises 42501 for a role that cannot be meaning to do what the lock is for:
 * that may not read, or not write, any column.  What else it may not do is told
 * by the statement.
 */
void
sidecar_require_right(Oid relid, LOCKMODE lockmode)
{
	static const AclMode reading[] = {ACL_SELECT, 0};
	static const AclMode writing[] = {ACL_INSERT, ACL_UPDATE, 0};

	/* both to write: an upsert may do either */
	for (const AclMode *mode = lockmode == AccessShareLock ? reading : writing; *mode != 0; mode++)
	{
		if (!may(relid, *mode))
			aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
	}
}

/*
 * The same of the table of parked records, where a writer only inserts, and
 * whoever tries them again need not.
 */
static void
require_right_to_park(Oid relid, LOCKMODE lockmode)
{
	bool		can = lockmode == AccessShareLock ? may(relid, ACL_SELECT) :
	may(relid, ACL_INSERT) || may(relid, ACL_UPDATE);

	if (!can)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(relid));
}

/*
 * True of a role that may do that with any of the columns.
 */
static bool
may(Oid relid, AclMode mode)
{
	return pg_class_aclcheck(relid, GetUserId(), mode) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, GetUserId(), mode, ACLMASK_ANY) == ACLCHECK_OK;
}

/*
 * Makes *rel that relation, open; none, if that is InvalidOid.  Returns true if
 * it was that already, so that nothing has changed since it was found.
 */
static bool
open_as(Relation *rel, Oid relid, LOCKMODE lockmode)
{
	if ((*rel == NULL && !OidIsValid(relid)) ||
		(*rel != NULL && RelationGetRelid(*rel) == relid))
		return true;
	if (*rel != NULL)
		table_close(*rel, lockmode);

	/* NULL if it was dropped while we waited */
	*rel = OidIsValid(relid) ? try_table_open(relid, lockmode) : NULL;
	return false;
}

/*
 * Closes what sidecar_open() opened; the locks stay until the transaction ends.
 */
void
sidecar_close(SidecarTable *table)
{
	if (table->master != NULL)
		table_close(table->master, NoLock);
	table_close(table->rel, NoLock);
	pfree(table);
}

/*
 * Raises 55000 unless the sidecar has its foreign key, and thereby its master.
 */
void
sidecar_require_master(const SidecarTable *table)
{
	const SidecarEntity *entity = table->binding->entity;
	Oid			schema;

	if (OidIsValid(table->binding->master))
		return;

	/* a master that is there needs only to be attached */
	schema = get_namespace_oid(SIDECAR_SCHEMA, true);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sidecar table %s has no foreign key to its master yet",
					sidecar_relation_sql(table->binding->sidecar)),
			 OidIsValid(schema) && OidIsValid(get_relname_relid(entity->master, schema)) ?
			 errhint(SIDECAR_HINT_INSTALL) :
			 errhint("Create %s.%s with a unique column %s and run \"SELECT sidecar_install()\", or run \"SELECT sidecar_create_masters()\".",
					 SIDECAR_SCHEMA, entity->master, entity->master_key)));
}

/*
 * The sidecar table's column of that name.  Error: there is none (42703).
 */
Form_pg_attribute
sidecar_column(const SidecarTable *table, const char *name)
{
	TupleDesc	desc = RelationGetDescr(table->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("sidecar table %s has no column \"%s\"",
					sidecar_relation_sql(table->binding->sidecar), name),
			 errhint(SIDECAR_HINT_INSTALL)));
}

/*
 * The relation's name as it is now, qualified and quoted.  Error: it has gone
 * (42P01).
 */
char	   *
sidecar_relation_sql(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema = name ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	return quote_qualified_identifier(schema, name);
}

/*
 * The type in which a column's values are given to a statement: what the
 * column is made of, domains looked through; but text for varchar, so that
 * sidecar_check_value() sees it whole, and timestamptz for timestamp, so that
 * an offset is honoured.  typmod is the column's, and then the base type's.
 */
Oid
sidecar_given_type(Oid type, int32 *typmod)
{
	type = getBaseTypeAndTypmod(type, typmod);
	return type == VARCHAROID ? TEXTOID :
		type == VARCHARARRAYOID ? TEXTARRAYOID :
		type == TIMESTAMPOID ? TIMESTAMPTZOID : type;
}

/*
 * sidecar_accepted_type(type oid) RETURNS oid
 *
 * The same, for the SQL part of the extension.  NULL if there is no such type.
 */
Datum
sidecar_accepted_type(PG_FUNCTION_ARGS)
{
	Oid			type = PG_GETARG_OID(0);
	int32		typmod = -1;

	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type)))
		PG_RETURN_NULL();
	PG_RETURN_OID(sidecar_given_type(type, &typmod));
}

/*
 * The error (42804) if the column is not made of what the type is made of; NULL
 * if it is.  What has the same given type will do, unless it must be exactly
 * that type.
 */
SidecarError *
sidecar_wrong_type(Oid relid, Form_pg_attribute att, Oid type, bool exactly)
{
	int32		typmod = -1;

	if (exactly ? getBaseType(att->atttypid) == type :
		sidecar_given_type(att->atttypid, &typmod) == sidecar_given_type(type, &typmod))
		return NULL;
	return sidecar_error(ERRCODE_DATATYPE_MISMATCH,
						 psprintf("column \"%s\" of %s is of type %s, not %s", NameStr(att->attname),
								  sidecar_relation_sql(relid), format_type_be(att->atttypid), format_type_be(type)),
						 NULL,
						 psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s.", sidecar_relation_sql(relid),
								  quote_identifier(NameStr(att->attname)), format_type_be(type)));
}

/*
 * An error to be raised by whoever comes to need what it is about.  The texts
 * are not copied.
 */
SidecarError *
sidecar_error(int sqlstate, const char *message, const char *detail, const char *hint)
{
	SidecarError *error = palloc0(sizeof(SidecarError));

	error->sqlstate = sqlstate;
	error->message = message;
	error->detail = detail;
	error->hint = hint;
	return error;
}

/*
 * Raises an error that was kept.
 */
void
sidecar_raise(const SidecarError *error)
{
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg("%s", error->message),
			 error->detail ? errdetail("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
}

/*
 * sidecar_entity_bindings() RETURNS TABLE (entity, sidecar_name, ...)
 *
 * The descriptor and the bindings as rows, for the SQL part of the extension;
 * the columns are those of the SQL declaration.  The table of parked records
 * has NULL for what only entities have.  NULL also where nothing is bound, or
 * the zone is not known.
 * problem says why what is there cannot be used.  Errors: those of
 * sidecar_lookup().
 */
Datum
sidecar_entity_bindings(PG_FUNCTION_ARGS)
{
	static const Oid columns[] = {
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		REGCLASSOID, REGCLASSOID, TEXTOID, TEXTOID
	};
	ReturnSetInfo *rsinfo = sidecar_begin_rows(fcinfo, 0, NULL, lengthof(columns), columns);

	for (int i = 0; i < SIDECAR_TABLES; i++)
	{
		const SidecarEntity *entity = &sidecar_entities[i];
		const SidecarBinding *binding = sidecar_lookup(entity);
		const char *const texts[] = {
			entity->label, entity->sidecar, entity->key, entity->trigger, entity->trigger_function,
			entity->foreign_key, entity->master, entity->master_key
		};
		const int	ntexts = lengthof(texts);
		const char *problem = sidecar_problem(binding);
		Datum		values[lengthof(columns)];
		bool		nulls[lengthof(columns)];

		for (int c = 0; c < ntexts; c++)
		{
			nulls[c] = texts[c] == NULL;
			values[c] = nulls[c] ? (Datum) 0 : CStringGetTextDatum(texts[c]);
		}
		values[ntexts] = ObjectIdGetDatum(binding->sidecar);
		nulls[ntexts] = !OidIsValid(binding->sidecar);
		values[ntexts + 1] = ObjectIdGetDatum(binding->master);
		nulls[ntexts + 1] = !OidIsValid(binding->master);
		nulls[ntexts + 2] = binding->zone == NULL || entity->label == NULL;
		values[ntexts + 2] = nulls[ntexts + 2] ? (Datum) 0 : CStringGetTextDatum(binding->zone_name);
		values[ntexts + 3] = problem ? CStringGetTextDatum(problem) : (Datum) 0;
		nulls[ntexts + 3] = problem == NULL;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Why the entity's tables cannot be used, in one line; NULL if they can, or if
 * there are simply none.
 */
const char *
sidecar_problem(const SidecarBinding *binding)
{
	const SidecarError *error = binding->error;

	/* absence is what sidecar_install() is for, and what objects tell */
	if (error == NULL || error->is_absence)
		return NULL;
	return error->detail == NULL ? error->message :
		psprintf("%s: %s", error->message, error->detail);
}

/*
 * Reads the entity's binding from the catalog, into a context of its own, which
 * is the caller's child.
 */
static SidecarBinding *
read_binding(const SidecarEntity *entity)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "sidecar binding",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	SidecarBinding *binding = palloc0(sizeof(SidecarBinding));
	Oid			function;
	Relation	rel;

	binding->context = context;
	binding->entity = entity;

	/* before we look: what changes while we do makes the next one look again */
	binding->generation = changes;
	/* raises, if library and extension do not fit each other */
	binding->schema = extension_schema();
	/* by its name in our schema, where a migration may not have put another */
	function = trigger_function(entity, binding->schema);
	choose_sidecar(binding, function);
	if (OidIsValid(binding->sidecar))
	{
		rel = try_table_open(binding->sidecar, AccessShareLock);
		if (rel != NULL)
		{
			bind_sidecar(binding, rel, function);
			if (entity->master != NULL)
				bind_master(binding, rel);
			table_close(rel, AccessShareLock);
		}
		/* else dropped since we looked, of which we will hear */
	}
	else
		/* we will not hear of a table that stops to be in the way: look again */
		binding->generation = 0;
	MemoryContextSwitchTo(old);
	return binding;
}

/*
 * The schema of the extension's functions.  Raises 55000 when this library is
 * of another version than the extension in this database: they would disagree
 * on signatures.
 */
static Oid
extension_schema(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	Oid			extension = get_extension_oid("sidecar", false);
	Oid			schema = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		char	   *version = TextDatumGetCString(heap_getattr(tuple,
															   Anum_pg_extension_extversion,
															   RelationGetDescr(rel), &isnull));

		/* between the installation of files and ALTER EXTENSION UPDATE */
		if (strcmp(version, SIDECAR_VERSION) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("extension \"sidecar\" is version %s, but its library is version %s",
							version, SIDECAR_VERSION),
					 errhint("Run \"ALTER EXTENSION sidecar UPDATE\" if the library is the newer one; otherwise install the library of version %s and reconnect.",
							 version)));
		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return schema;
}

/*
 * The entity's trigger function, or InvalidOid.
 */
static Oid
trigger_function(const SidecarEntity *entity, Oid schema)
{
	oidvector  *noargs = buildoidvector(NULL, 0);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(entity->trigger_function),
						   PointerGetDatum(noargs),
						   ObjectIdGetDatum(schema));
}

/*
 * The tables that have a trigger calling the function before an update of a
 * row; a partition whose trigger is its parent's does not count.
 */
static List *
tables_with_trigger(Oid function)
{
	List	   *tables = NIL;
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	Relation	trigger = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	/* what depends on the function, by the index for that: triggers do */
	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(function));
	scan = systable_beginscan(depend, DependReferenceIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ScanKeyData key;
		SysScanDesc trigger_scan;
		HeapTuple	trigger_tuple;

		if (form->classid != TriggerRelationId)
			continue;
		ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(form->objid));
		trigger_scan = systable_beginscan(trigger, TriggerOidIndexId, true, NULL, 1, &key);
		trigger_tuple = systable_getnext(trigger_scan);
		if (HeapTupleIsValid(trigger_tuple))
		{
			Form_pg_trigger trig = (Form_pg_trigger) GETSTRUCT(trigger_tuple);

			/* of another kind the function only raises an error */
			if (!OidIsValid(trig->tgparentid) && TRIGGER_FOR_ROW(trig->tgtype) &&
				TRIGGER_FOR_BEFORE(trig->tgtype) && TRIGGER_FOR_UPDATE(trig->tgtype))
				tables = list_append_unique_oid(tables, trig->tgrelid);
		}
		systable_endscan(trigger_scan);
	}
	systable_endscan(scan);
	table_close(trigger, AccessShareLock);
	table_close(depend, AccessShareLock);
	/* so that of two the error always names the same one first */
	list_sort(tables, list_oid_cmp);
	return tables;
}

/*
 * Decides which table is the entity's sidecar: of those that carry the mark
 * and belong to somebody who was given it,
 *
 *	1. the one of the default name, in the default schema, also when its columns
 *	   do not fit: another must not take its place in silence;
 *	2. or the only one that fits in that schema, or else anywhere;
 *	3. or none, and the error tells why.
 */
static void
choose_sidecar(SidecarBinding *binding, Oid function)
{
	const SidecarEntity *entity = binding->entity;
	Oid			distrusted = InvalidOid;
	List	   *tables = trusted_tables(tables_with_trigger(function), function, &distrusted);
	Candidate	best = {.relid = InvalidOid};
	Candidate	rival = {.relid = InvalidOid};
	ListCell   *lc;

	foreach(lc, tables)
	{
		Candidate	one;

		if (!look_at_candidate(lfirst_oid(lc), entity, &one))
			continue;
		if (!OidIsValid(best.relid) || one.rank > best.rank)
		{
			/* what came before is no rival: it has less of a claim */
			best = one;
			rival.relid = InvalidOid;
		}
		else if (one.rank == best.rank && one.misfit == NULL)
			rival = one;
	}
	if (OidIsValid(rival.relid))
		binding->error = two_claim(entity, best.relid, rival.relid);
	else if (OidIsValid(best.relid))
	{
		binding->sidecar = best.relid;
		binding->error = best.misfit;
	}
	else
		binding->error = none_claims(binding, distrusted);
}

/*
 * Tells what claim a table has; false if it has gone since we looked.
 */
static bool
look_at_candidate(Oid relid, const SidecarEntity *entity, Candidate *one)
{
	Relation	rel = try_table_open(relid, AccessShareLock);

	if (rel == NULL)
		return false;
	one->relid = relid;
	one->misfit = misfit(rel, entity);
	if (RelationGetNamespace(rel) != get_namespace_oid(SIDECAR_SCHEMA, true))
		one->rank = RANK_ELSEWHERE;
	else if (strcmp(RelationGetRelationName(rel), entity->sidecar) == 0)
		one->rank = RANK_DEFAULT_NAME;
	else
		one->rank = RANK_DEFAULT_SCHEMA;

	/* perhaps it has the trigger because it has an updated_at */
	if (one->misfit != NULL && one->rank != RANK_DEFAULT_NAME)
		one->rank = RANK_MISFIT;
	table_close(rel, AccessShareLock);
	return true;
}

static SidecarError *
two_claim(const SidecarEntity *entity, Oid one, Oid other)
{
	return sidecar_error(ERRCODE_DUPLICATE_OBJECT,
						 entity->label == NULL ?
						 "two tables claim to be the one for parked records" :
						 psprintf("two tables claim to be the sidecar table of entity \"%s\"",
								  entity->label),
						 psprintf("Both %s and %s have a trigger that calls %s(), "
								  "and neither is %s.%s.",
								  sidecar_relation_sql(one), sidecar_relation_sql(other),
								  entity->trigger_function, SIDECAR_SCHEMA, entity->sidecar),
						 "Drop the trigger from the table that is not the right one.");
}

/*
 * distrusted is a table that lacks no more than a trusted owner, if there is
 * one.
 */
static SidecarError *
none_claims(const SidecarBinding *binding, Oid distrusted)
{
	const SidecarEntity *entity = binding->entity;
	const char *function = entity->trigger_function;
	const char *message = entity->label == NULL ? "there is no table for parked records" :
	psprintf("there is no sidecar table for entity \"%s\"", entity->label);
	SidecarError *error;

	if (OidIsValid(distrusted))
		return sidecar_error(ERRCODE_UNDEFINED_TABLE, message,
							 psprintf("The owner of %s may not execute %s().",
									  sidecar_relation_sql(distrusted), function),
							 psprintf("If it shall be the right one: "
									  "GRANT EXECUTE ON FUNCTION %s.%s() TO its owner.",
									  quote_identifier(get_namespace_name(binding->schema)),
									  function));
	error = sidecar_error(ERRCODE_UNDEFINED_TABLE, message,
						  psprintf("No table has a trigger that calls %s().", function),
						  SIDECAR_HINT_INSTALL);
	error->is_absence = true;
	return error;
}

/*
 * Those of the tables that may count: a mark is a right, which the table's
 * owner has to hold, not only whoever made the trigger.  distrusted is one that
 * lacks no more than that.
 */
static List *
trusted_tables(List *tables, Oid function, Oid *distrusted)
{
	List	   *trusted = NIL;
	ListCell   *lc;

	foreach(lc, tables)
	{
		Oid			relid = lfirst_oid(lc);
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
		bool		is_table;
		Oid			owner;

		if (!HeapTupleIsValid(tuple))
			continue;
		is_table = (((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_RELATION ||
					((Form_pg_class) GETSTRUCT(tuple))->relkind == RELKIND_PARTITIONED_TABLE) &&
			((Form_pg_class) GETSTRUCT(tuple))->relpersistence != RELPERSISTENCE_TEMP;
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);

		/* a temporary table is seen by one session, and a view stores nothing */
		if (!is_table || is_shard(relid))
			continue;
		if (sidecar_proc_aclcheck(function, owner, ACL_EXECUTE) == ACLCHECK_OK)
			trusted = lappend_oid(trusted, relid);
		else
			*distrusted = relid;
	}
	return trusted;
}

/*
 * True of a shard of a distributed table (Citus): the trigger was copied to it.
 */
static bool
is_shard(Oid relid)
{
	Oid			argtypes[] = {REGCLASSOID};
	Oid			function = LookupFuncName(list_make2(makeString("pg_catalog"),
													 makeString("relation_is_a_known_shard")),
										  lengthof(argtypes), argtypes, true);

	return OidIsValid(function) && DatumGetBool(OidFunctionCall1(function, ObjectIdGetDatum(relid)));
}

/*
 * Why the table's columns are not those of the entity's sidecar; NULL if they
 * are.  One that is missing is no reason, unless it is the key.
 */
static SidecarError *
misfit(Relation rel, const SidecarEntity *entity)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool		has_key = false;

	/* from the parked ones records are taken, too */
	if (entity->label == NULL ? rel->rd_rules != NULL : has_rules(rel))
		return sidecar_error(ERRCODE_WRONG_OBJECT_TYPE,
							 psprintf("table %s has rules", sidecar_relation_sql(RelationGetRelid(rel))),
							 NULL, "Drop them: a trigger can do the same.");
	if (entity->label == NULL)
		return parked_misfit(rel);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		SidecarError *error = NULL;

		if (att->attisdropped)
			continue;
		/* compared with the master's, by the operator of text */
		if (strcmp(NameStr(att->attname), entity->key) == 0)
		{
			has_key = true;
			error = sidecar_wrong_type(RelationGetRelid(rel), att, TEXTOID, false);
		}
		for (int c = 0; c < lengthof(known_columns) && error == NULL; c++)
		{
			if (strcmp(NameStr(att->attname), known_columns[c].name) == 0)
				error = sidecar_wrong_type(RelationGetRelid(rel), att, known_columns[c].type, false);
		}
		if (error != NULL)
			return error;
	}
	if (!has_key)
		return sidecar_error(ERRCODE_UNDEFINED_COLUMN,
							 psprintf("sidecar table %s has no column \"%s\"",
									  sidecar_relation_sql(RelationGetRelid(rel)), entity->key),
							 NULL, NULL);
	return NULL;
}

/*
 * True of a table with rules by which something else happens than what is
 * written, or nothing; ON CONFLICT refuses them, too.
 */
static bool
has_rules(Relation rel)
{
	for (int i = 0; rel->rd_rules != NULL && i < rel->rd_rules->numLocks; i++)
	{
		if (rel->rd_rules->rules[i]->event == CMD_INSERT || rel->rd_rules->rules[i]->event == CMD_UPDATE)
			return true;
	}
	return false;
}

/*
 * Why records cannot be parked in the table; NULL if they can.
 */
static SidecarError *
parked_misfit(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	SidecarError *missing = NULL;

	for (int c = 0; c < lengthof(parked_columns); c++)
	{
		AttrNumber	attnum = get_attnum(relid, parked_columns[c].name);
		Oid			type = parked_columns[c].type;
		SidecarError *error;

		if (attnum == InvalidAttrNumber)
		{
			missing = sidecar_error(ERRCODE_UNDEFINED_COLUMN,
									psprintf("table %s has no column \"%s\"",
											 sidecar_relation_sql(relid), parked_columns[c].name),
									NULL, SIDECAR_HINT_INSTALL);
			missing->is_absence = true;
			continue;
		}
		/* a time without zone would be another one in every session */
		error = sidecar_wrong_type(relid, TupleDescAttr(RelationGetDescr(rel), attnum - 1),
								   type, type == TIMESTAMPTZOID);
		if (error != NULL)
			return error;
	}
	return missing;
}

/*
 * What is said of the sidecar table itself.
 */
static void
bind_sidecar(SidecarBinding *binding, Relation rel, Oid function)
{
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];
		bool		enabled = trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN ||
		trigger->tgenabled == TRIGGER_FIRES_ALWAYS;

		/* whatever the trigger is called: it may have been renamed */
		if (trigger->tgfoid != function)
			continue;
		/* of several the last that fires is what updated_at becomes */
		if (binding->trigger_enabled && !enabled)
			continue;
		binding->trigger_enabled = enabled;
		binding->zone_name = pstrdup(sidecar_zone_name(trigger));
		binding->zone = sidecar_find_zone(binding->zone_name);
	}
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		/* a domain may refuse NULL, too */
		if (!att->attisdropped && !att->atthasdef && att->attidentity == '\0' &&
			(att->attnotnull || get_typtype(att->atttypid) == TYPTYPE_DOMAIN))
			binding->demanded = bms_add_member(binding->demanded, att->attnum);
	}
	binding->has_checks = has_checks(rel);
}

/*
 * True of a table with checks of the user's: on other columns than the score,
 * which alone ours is on.
 */
static bool
has_checks(Relation rel)
{
	AttrNumber	score = get_attnum(RelationGetRelid(rel), SIDECAR_COL_SCORE);
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		Bitmapset  *columns = NULL;

		pull_varattnos(stringToNode(constr->check[i].ccbin), 1, &columns);
		columns = bms_del_member(columns, score - FirstLowInvalidHeapAttributeNumber);
		if (!bms_is_empty(columns))
			return true;
	}
	return false;
}

/*
 * The master is what the foreign key on the sidecar's key column references;
 * of several such keys it is the one of the entity's own name.
 */
static void
bind_master(SidecarBinding *binding, Relation rel)
{
	const SidecarEntity *entity = binding->entity;
	AttrNumber	key = get_attnum(binding->sidecar, entity->key);
	bool		by_name = false;

	/* a copy: the list is the relcache's, which any look-up may renew */
	List	   *keys = copyObject(RelationGetFKeyList(rel));
	ListCell   *lc;

	foreach(lc, keys)
	{
		ForeignKeyCacheInfo *fk = lfirst_node(ForeignKeyCacheInfo, lc);
		HeapTuple	tuple;
		Form_pg_constraint con;

		/* a tenant's key of several columns says nothing of the key alone */
		if (fk->nkeys != 1 || fk->conkey[0] != key || by_name)
			continue;
		tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(fk->conoid));
		if (!HeapTupleIsValid(tuple))
			continue;			/* dropped since the list was made */
		con = (Form_pg_constraint) GETSTRUCT(tuple);

		/* a partitioned master repeats the key for each of its partitions */
		if (!OidIsValid(con->conparentid) && sidecar_is_enforced(con))
		{
			by_name = strcmp(NameStr(con->conname), entity->foreign_key) == 0;
			if (by_name || !OidIsValid(binding->master))
			{
				binding->master = fk->confrelid;
				binding->master_key = fk->confkey[0];
				binding->key_validated = con->convalidated;
				binding->key_deferrable = con->condeferrable;
			}
		}
		ReleaseSysCache(tuple);
	}
	list_free_deep(keys);
	if (OidIsValid(binding->master))
		look_at_master(binding);
}

/*
 * What is said of the master.  Its key must be text too: it is compared with
 * the sidecar's, and a cast in between could be the owner's own.
 */
static void
look_at_master(SidecarBinding *binding)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(binding->master),
										Int16GetDatum(binding->master_key));

	if (!HeapTupleIsValid(tuple))
		return;					/* dropped since we looked */
	if (binding->error == NULL)
		binding->error = sidecar_wrong_type(binding->master, (Form_pg_attribute) GETSTRUCT(tuple), TEXTOID, false);
	ReleaseSysCache(tuple);

	/* a master without it has no names to show, which is no error */
	binding->name = get_attnum(binding->master, binding->entity->name);
	if (binding->name != InvalidAttrNumber)
	{
		Oid			type = getBaseType(get_atttype(binding->master, binding->name));

		binding->name_is_text = type == TEXTOID || type == VARCHAROID;
	}
}

/*
 * A second table that gets the trigger tells only of itself, so look at what
 * changed: a relation without triggers, like the temporary tables that come
 * and go by the thousand, cannot be it.
 */
static void
notice_triggers(void)
{
	while (nchanged > 0)
	{
		/* taken out before the look-up, which may hear of further changes */
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(changed[--nchanged]));

		/* what was dropped is no second table any more */
		if (HeapTupleIsValid(tuple))
		{
			if (((Form_pg_class) GETSTRUCT(tuple))->relhastriggers)
				changes++;
			ReleaseSysCache(tuple);
		}
	}
}

/*
 * Relcache callback: must not read a catalog.
 */
static void
relation_changed(Datum arg, Oid relid)
{
	/* one table may be bound for several entities, and all must hear of it */
	for (int i = 0; i < SIDECAR_TABLES; i++)
	{
		if (!OidIsValid(relid) ||
			(bindings[i] != NULL && (relid == bindings[i]->sidecar || relid == bindings[i]->master)))
		{
			changes++;
			return;
		}
	}
	for (int i = 0; i < nchanged; i++)
	{
		if (changed[i] == relid)
			return;
	}
	if (nchanged < MAX_CHANGED)
		changed[nchanged++] = relid;
	else
	{
		/* too many to look at each */
		changes++;
		nchanged = 0;
	}
}

/*
 * Syscache callback: a schema may have another name, an upgrade of the
 * extension other functions, an owner another right.
 */
static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	changes++;
}

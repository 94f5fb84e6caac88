EXTENSION = sidecar
EXTVERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" sidecar.control)

MODULE_big = sidecar
OBJS = \
	src/batch.o \
	src/binding.o \
	src/convert.o \
	src/deferred.o \
	src/deparse.o \
	src/entity.o \
	src/field.o \
	src/import.o \
	src/inbox.o \
	src/query.o \
	src/record.o \
	src/reject.o \
	src/report.o \
	src/retry.o \
	src/sidecar.o \
	src/store.o \
	src/trigger.o \
	src/upsert.o \
	src/zone.o
PG_CPPFLAGS = -DSIDECAR_VERSION='"$(EXTVERSION)"'

DATA = $(wildcard sidecar--*.sql)
PGFILEDESC = "sidecar - enrichment data beside master data"

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test

TAP_TESTS = 1
PROVE_TESTS = $(wildcard $(srcdir)/test/t/*.pl)

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h) sidecar.control

# what the PGXN client installs, and PGXN takes; its versions have three numbers
DISTNAME = sidecar-$(EXTVERSION).0
dist:
	git archive --format=zip --prefix=$(DISTNAME)/ --output=$(DISTNAME).zip HEAD

.PHONY: dist

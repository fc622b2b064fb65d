# goflow: build, install and test.  See README.md.
EXTENSION = goflow
MODULE_big = goflow
EXTVERSION = 0.1.0

# These need no PostgreSQL to begin with: their scripts install what is missing
# and come back to this file.
SCRIPTED = check soak demo bench fuzz chaos setup

ifneq ($(filter $(SCRIPTED),$(MAKECMDGOALS)),)

.PHONY: $(MAKECMDGOALS)
check: ; @test/check $(TESTS)
soak: ; @SOAK_SECONDS=$(or $(SECONDS),1800) test/check 033_soak
demo: ; @demo/run
bench: ; @test/bench/run
fuzz: ; @test/fuzz/run
chaos: ; @VERBOSE=1 FAULTS=$${FAULTS:-1000} test/check 030_chaos
setup: ; @tools/setup
$(filter-out $(SCRIPTED),$(MAKECMDGOALS)): ; @$(MAKE) $@

else

OBJS = $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c))
LOCAL_HEADERS = $(wildcard src/*.h src/*/*.h)
INSTALL_SQL = $(sort $(wildcard src/install/[0-9]*.sql))
DATA_built = build/goflow--$(EXTVERSION).sql
DATA = $(wildcard src/install/goflow--*--*.sql)
EXTRA_CLEAN = build log results output_iso tmp_check tmp_check_iso

PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

# Calls within the library are direct ones, as with the hidden symbols that PostgreSQL 16 and later build extensions with.
ifeq ($(shell uname -s),Linux)
PG_CFLAGS += -fno-semantic-interposition
SHLIB_LINK += -Wl,-Bsymbolic-functions
endif

# Tests are found by their place.  sql/init.sql creates the extension and runs first.
REGRESS := init $(filter-out init,$(sort $(basename $(notdir $(wildcard sql/*.sql)))))
REGRESS_OPTS = --inputdir=.
ISOLATION := $(sort $(basename $(notdir $(wildcard test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test/isolation --load-extension=goflow
TAP_TESTS := $(if $(wildcard test/t/*.pl),1)
PROVE_TESTS = test/t/*.pl

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error PostgreSQL's server headers are missing: run "make setup", or say where they are with PG_CONFIG=/path/to/pg_config)
endif
include $(PGXS)

$(OBJS): $(LOCAL_HEADERS)

build/goflow--$(EXTVERSION).sql: $(INSTALL_SQL)
	mkdir -p build
	cat $^ > $@

endif

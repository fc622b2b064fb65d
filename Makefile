# goflow: build, install and test.  See README.md.
EXTENSION = goflow
MODULE_big = goflow
VERSION = 0.1.0

OBJS = $(patsubst %.c,%.o,$(wildcard src/*.c src/*/*.c))
LOCAL_HEADERS = $(wildcard src/*.h src/*/*.h)
INSTALL_SQL = $(sort $(wildcard src/install/[0-9]*.sql))
DATA_built = build/goflow--$(VERSION).sql
DATA = $(wildcard src/install/goflow--*--*.sql)

PG_CPPFLAGS = -I$(srcdir)/src
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(LOCAL_HEADERS)

build/goflow--$(VERSION).sql: $(INSTALL_SQL)
	mkdir -p build
	cat $^ > $@

-- What the workflows of the demo read and write.
CREATE SCHEMA debian;

-- The package index as it comes: one row per line.
CREATE TABLE debian.raw (
	line_no bigint GENERATED ALWAYS AS IDENTITY,
	line    text NOT NULL
);

-- Its lines of interest, by stanza.
CREATE TABLE debian.field (
	stanza bigint NOT NULL,
	name   text NOT NULL,
	value  text NOT NULL
);

CREATE TABLE debian.package (
	name           text PRIMARY KEY,
	version        text NOT NULL,
	section        text,
	maintainer     text,
	installed_kb   bigint,
	download_bytes bigint,
	depends        text,
	provides       text
);

-- "Depends: a | b, c" is requirement 1 with alternatives 1 and 2, and requirement 2.
CREATE TABLE debian.requirement (
	package     text NOT NULL,
	number      int NOT NULL,
	alternative int NOT NULL,
	name        text
);

-- Each requirement and the package that meets it; NULL if none does.
CREATE TABLE debian.link (
	package text NOT NULL,
	number  int NOT NULL,
	needs   text
);

CREATE TABLE debian.report (
	topic     text NOT NULL,
	rank      int NOT NULL,
	name      text NOT NULL,
	packages  bigint,
	megabytes numeric,
	PRIMARY KEY (topic, rank)
);

CREATE TABLE debian.review (
	package   text PRIMARY KEY,
	verdict   text NOT NULL,
	reason    text,
	execution uuid NOT NULL
);

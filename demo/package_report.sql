-- From the raw index to a report.  The nodes without an edge between them run in
-- parallel: sections, maintainers and sizes beside the dependencies.
SELECT goflow.define('package_report', $definition${
  "title": "What is in the package index",
  "input": {"top": "int = 5", "section": "text = 'metapackages'"},
  "nodes": {
    "stage": {
      "type": "sql", "rows": "none",
      "title": "Cut the lines into stanzas and fields",
      "sql": [
        "INSERT INTO debian.field",
        "SELECT l.stanza, split_part(l.line, ': ', 1), substr(l.line, strpos(l.line, ': ') + 2)",
        "  FROM (SELECT r.line, count(*) FILTER (WHERE r.line = '') OVER (ORDER BY r.line_no) AS stanza",
        "          FROM debian.raw r) l",
        " WHERE l.line ~ '^(Package|Version|Section|Maintainer|Installed-Size|Size|Depends|Pre-Depends|Provides): '"]},
    "clean": {
      "type": "sql", "after": ["stage"],
      "title": "One row per package, the last one if there are several",
      "sql": [
        "WITH kept AS (",
        "  INSERT INTO debian.package",
        "  SELECT DISTINCT ON (p.name) p.name, p.version, regexp_replace(p.section, '^.*/', ''),",
        "         regexp_replace(p.maintainer, ' *<.*$', ''), p.installed_kb, p.download_bytes, p.depends, p.provides",
        "    FROM (SELECT f.stanza,",
        "                 max(f.value) FILTER (WHERE f.name = 'Package') AS name,",
        "                 max(f.value) FILTER (WHERE f.name = 'Version') AS version,",
        "                 max(f.value) FILTER (WHERE f.name = 'Section') AS section,",
        "                 max(f.value) FILTER (WHERE f.name = 'Maintainer') AS maintainer,",
        "                 max(f.value) FILTER (WHERE f.name = 'Installed-Size')::bigint AS installed_kb,",
        "                 max(f.value) FILTER (WHERE f.name = 'Size')::bigint AS download_bytes,",
        "                 string_agg(f.value, ', ') FILTER (WHERE f.name IN ('Depends', 'Pre-Depends')) AS depends,",
        "                 max(f.value) FILTER (WHERE f.name = 'Provides') AS provides",
        "            FROM debian.field f",
        "           GROUP BY f.stanza) p",
        "   WHERE p.name IS NOT NULL AND p.version IS NOT NULL",
        "   ORDER BY p.name, p.stanza DESC",
        "  RETURNING 1)",
        "SELECT count(*) AS packages FROM kept"]},
    "quality": {
      "type": "sql", "after": ["clean"],
      "sql": [
        "SELECT count(*) FILTER (WHERE p.section IS NULL) AS without_section,",
        "       count(*) FILTER (WHERE p.installed_kb IS NULL) AS without_size",
        "  FROM debian.package p"]},
    "sound": {
      "type": "condition", "after": ["quality"],
      "if": "clean.packages > 100 AND quality.without_section + quality.without_size < clean.packages / 20"},
    "refuse": {
      "type": "sql", "after": ["sound:false"], "rows": "none",
      "sql": "INSERT INTO debian.report VALUES ('Refused', 1, 'the index has holes', clean.packages)"},

    "sections": {
      "type": "sql", "after": ["sound:true"], "rows": "many",
      "sql": [
        "SELECT coalesce(p.section, 'none') AS name, count(*) AS packages,",
        "       round(sum(p.installed_kb) / 1024.0) AS megabytes",
        "  FROM debian.package p GROUP BY 1 ORDER BY packages DESC, name LIMIT input.top"]},
    "maintainers": {
      "type": "sql", "after": ["sound:true"], "rows": "many",
      "sql": [
        "SELECT coalesce(p.maintainer, 'nobody') AS name, count(*) AS packages,",
        "       round(sum(p.installed_kb) / 1024.0) AS megabytes",
        "  FROM debian.package p GROUP BY 1 ORDER BY packages DESC, name LIMIT input.top"]},
    "sizes": {
      "type": "sql", "after": ["sound:true"], "rows": "many",
      "sql": [
        "SELECT c.number, c.label AS name, count(*) AS packages,",
        "       round(sum(p.installed_kb) / 1024.0) AS megabytes",
        "  FROM debian.package p",
        "  JOIN (VALUES (1, 'below 100 kB', 0, 100), (2, '100 kB to 1 MB', 100, 1024),",
        "               (3, '1 to 10 MB', 1024, 10240), (4, '10 to 100 MB', 10240, 102400),",
        "               (5, 'above 100 MB', 102400, 2147483647)) c(number, label, low, high)",
        "    ON p.installed_kb >= c.low AND p.installed_kb < c.high",
        " GROUP BY c.number, c.label"]},

    "split": {
      "type": "sql", "after": ["sound:true"],
      "title": "Cut Depends into requirements and alternatives",
      "sql": [
        "WITH made AS (",
        "  INSERT INTO debian.requirement",
        "  SELECT p.name, r.number, a.number, substring(a.text from '[a-z0-9][a-z0-9+.-]+')",
        "    FROM debian.package p,",
        "         string_to_table(p.depends, ',') WITH ORDINALITY r(text, number),",
        "         string_to_table(r.text, '|') WITH ORDINALITY a(text, number)",
        "  RETURNING 1)",
        "SELECT count(*) AS requirements FROM made"]},
    "resolve": {
      "type": "sql", "after": ["split"],
      "title": "Find the package that meets each requirement",
      "sql": [
        "WITH made AS (",
        "  INSERT INTO debian.link",
        "  SELECT DISTINCT ON (r.package, r.number) r.package, r.number, o.package",
        "    FROM debian.requirement r",
        "    LEFT JOIN (SELECT p.name, p.name AS package FROM debian.package p",
        "               UNION ALL",
        "               SELECT substring(v.text from '[a-z0-9][a-z0-9+.-]+'), p.name",
        "                 FROM debian.package p, string_to_table(p.provides, ',') v(text)) o ON o.name = r.name",
        "   ORDER BY r.package, r.number, o.package IS NULL, r.alternative, o.package <> r.name, o.package",
        "  RETURNING needs)",
        "SELECT count(*) AS links, count(*) FILTER (WHERE m.needs IS NULL) AS unmet FROM made m"]},
    "unresolvable": {
      "type": "sql", "after": ["resolve"], "rows": "many",
      "sql": [
        "SELECT r.name, count(DISTINCT r.package) AS packages",
        "  FROM debian.link l",
        "  JOIN debian.requirement r ON r.package = l.package AND r.number = l.number",
        " WHERE l.needs IS NULL",
        " GROUP BY r.name ORDER BY packages DESC, r.name LIMIT input.top"]},
    "wanted": {
      "type": "sql", "after": ["resolve"], "rows": "many",
      "title": "What most others need, directly or not",
      "sql": [
        "WITH RECURSIVE need(root, name) AS (",
        "    SELECT w.needs, w.needs",
        "      FROM (SELECT l.needs FROM debian.link l WHERE l.needs IS NOT NULL",
        "             GROUP BY l.needs ORDER BY count(*) DESC LIMIT 20) w",
        "    UNION",
        "    SELECT n.root, l.package FROM need n JOIN debian.link l ON l.needs = n.name)",
        "SELECT n.root AS name, count(*) - 1 AS packages",
        "  FROM need n GROUP BY n.root ORDER BY packages DESC, name LIMIT input.top"]},
    "heaviest": {
      "type": "sql", "after": ["resolve"], "rows": "many",
      "title": "What pulls in most, of the section given",
      "sql": [
        "WITH RECURSIVE need(root, name) AS (",
        "    SELECT p.name, p.name FROM debian.package p WHERE p.section = input.section",
        "    UNION",
        "    SELECT n.root, l.needs FROM need n JOIN debian.link l ON l.package = n.name",
        "     WHERE l.needs IS NOT NULL)",
        "SELECT n.root AS name, count(*) AS packages, round(sum(p.installed_kb) / 1024.0) AS megabytes",
        "  FROM need n JOIN debian.package p ON p.name = n.name",
        " GROUP BY n.root ORDER BY packages DESC, name LIMIT input.top"]},

    "publish": {
      "type": "sql",
      "after": ["sections", "maintainers", "sizes", "unresolvable", "wanted", "heaviest"],
      "title": "The rows of all branches become the report",
      "sql": [
        "WITH made AS (",
        "  INSERT INTO debian.report",
        "  SELECT 'Largest sections', row_number() OVER (ORDER BY s.packages DESC, s.name), s.name, s.packages, s.megabytes",
        "    FROM sections s",
        "  UNION ALL",
        "  SELECT 'Busiest maintainers', row_number() OVER (ORDER BY s.packages DESC, s.name), s.name, s.packages, s.megabytes",
        "    FROM maintainers s",
        "  UNION ALL",
        "  SELECT 'By installed size', s.number, s.name, s.packages, s.megabytes",
        "    FROM sizes s",
        "  UNION ALL",
        "  SELECT 'Needed by most', row_number() OVER (ORDER BY s.packages DESC, s.name), s.name, s.packages, NULL",
        "    FROM wanted s",
        "  UNION ALL",
        "  SELECT 'Pulls in most (' || input.section || ')',",
        "         row_number() OVER (ORDER BY s.packages DESC, s.name), s.name, s.packages, s.megabytes",
        "    FROM heaviest s",
        "  UNION ALL",
        "  SELECT 'Needed, but in no package', row_number() OVER (ORDER BY s.packages DESC, s.name), s.name, s.packages, NULL",
        "    FROM unresolvable s",
        "  RETURNING 1)",
        "SELECT count(*) AS lines FROM made"]}
  },
  "output": {
    "packages": "clean.packages",
    "links": "resolve.links",
    "unmet": "resolve.unmet",
    "lines": "publish.lines"}
}$definition$) AS version;

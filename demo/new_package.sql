-- Every row that is inserted into debian.package starts this one, in the
-- transaction of the INSERT: it looks whether the package could be installed.
SELECT goflow.define('new_package', $definition${
  "title": "Review of a new package",
  "input": {"name": "text", "depends": "text = ''"},
  "nodes": {
    "arrived": {
      "type": "trigger", "table": "debian.package", "events": ["insert"],
      "when": "NEW.version IS NOT NULL",
      "input": {"name": "NEW.name", "depends": "NEW.depends"}},
    "needs": {
      "type": "sql", "after": ["arrived"], "rows": "many",
      "title": "What it needs directly, and what is there",
      "sql": [
        "SELECT r.text AS requirement, bool_or(o.name IS NOT NULL) AS is_met, min(o.name) AS package",
        "  FROM string_to_table(input.depends, ', ') r(text),",
        "       string_to_table(r.text, '|') a(text)",
        "  LEFT JOIN debian.package o ON o.name = substring(a.text from '[a-z0-9][a-z0-9+.-]+')",
        " GROUP BY r.text"]},
    "verdict": {
      "type": "sql", "after": ["needs"],
      "sql": "SELECT count(*) FILTER (WHERE NOT n.is_met) AS missing, string_agg(n.requirement, ', ') FILTER (WHERE NOT n.is_met) AS names FROM needs n"},
    "installable": {
      "type": "condition", "after": ["verdict"], "if": "verdict.missing = 0"},
    "weigh": {
      "type": "sql", "after": ["installable:true"],
      "title": "What it pulls in, down to the last library",
      "sql": [
        "WITH RECURSIVE pulled(name) AS (",
        "    SELECT n.package FROM needs n",
        "    UNION",
        "    SELECT l.needs FROM pulled u JOIN debian.link l ON l.package = u.name WHERE l.needs IS NOT NULL)",
        "SELECT count(*) AS packages, round(sum(p.installed_kb) / 1024.0) AS megabytes",
        "  FROM pulled u JOIN debian.package p ON p.name = u.name"]},
    "accept": {
      "type": "sql", "after": ["weigh"], "rows": "none",
      "sql": [
        "INSERT INTO debian.review VALUES (input.name, 'accepted',",
        "    format('pulls in %s packages, %s MB', weigh.packages, weigh.megabytes), execution.id)"]},
    "reject": {
      "type": "sql", "after": ["installable:false"], "rows": "none",
      "sql": "INSERT INTO debian.review VALUES (input.name, 'rejected', 'missing: ' || verdict.names, execution.id)"}
  }
}$definition$) AS version;

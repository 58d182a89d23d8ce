-- A medium may be a set. A CHECK cannot be altered, and media cannot be dropped under the tables that refer to them; the text of the table is
-- changed as https://sqlite.org/lang_altertable.html#otheralter allows for changes that do not touch what is stored.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, '''image'', ''directory''', '''image'', ''directory'', ''set''')
WHERE type = 'table' AND name = 'medium';
PRAGMA writable_schema = RESET;

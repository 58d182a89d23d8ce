-- Full pages: these tables are written once. Names lie in the order of their ids, so that a block range index finds them.
CREATE UNIQUE INDEX dir_{n}_ino ON dir_{n} (ino) WITH (fillfactor = 100);
CREATE UNIQUE INDEX dir_{n}_seq ON dir_{n} (seq) WITH (fillfactor = 100);
CREATE INDEX path_{n}_id ON path_{n} USING brin (id) WITH (pages_per_range = 32);
CREATE INDEX path_{n}_ino ON path_{n} (ino) WITH (fillfactor = 100);
CREATE UNIQUE INDEX label_{n}_path ON label_{n} (path);
CREATE UNIQUE INDEX inode_{n}_ino ON inode_{n} (ino) WITH (fillfactor = 100);
CREATE UNIQUE INDEX stream_{n}_ino ON stream_{n} (ino, stream) WITH (fillfactor = 100);
CREATE UNIQUE INDEX result_{n}_ino ON result_{n} (ino, stream);
ANALYZE dir_{n} (ino, seq, parent);
ANALYZE path_{n} (ino, id, flags);
ANALYZE inode_{n} (ino, bits);
ANALYZE stream_{n} (ino);
ANALYZE label_{n};

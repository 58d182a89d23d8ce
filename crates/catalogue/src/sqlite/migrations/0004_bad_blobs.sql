-- Contents on record as damaged are few and are asked for often: by every copy, and for every scan when media are listed.
CREATE INDEX blob_bad ON blob (id) WHERE bad = 1;

-- The archive that the catalogue belongs to, by the digits in its file `archive-id`; NULL until one opens it for writing.
ALTER TABLE ntt_schema ADD COLUMN archive text;

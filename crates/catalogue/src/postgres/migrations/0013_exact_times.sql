-- A time in nanoseconds since 1970, to the microsecond that it lies in, also before 1970. All numbers are whole, or whole multiples that a float holds exactly: a fraction of
-- seconds was rounded to a float, and that to a microsecond beside the right one.
CREATE OR REPLACE FUNCTION ntt_time(nanos int8) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (timestamp '1970-01-01' + (nanos / 1000000000) * interval '1 second'
        + (nanos % 1000000000 / 1000 - (nanos % 1000 < 0)::int) * interval '1 microsecond') AT TIME ZONE 'UTC'
$$;

-- Bytes as text, as before, but for any plan: a block with EXCEPTION is a subtransaction, which a plan with parallel workers may not begin. What UTF-8 is (RFC 3629,
-- section 4) is decided by a pattern over the hexadecimal digits, because the server has no question for it before version 16.
CREATE OR REPLACE FUNCTION ntt_text(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    words text := encode(bytes, 'escape');
BEGIN
    IF words !~ '[\\\x01-\x1f\x7f]' THEN
        RETURN words;
    END IF;
    IF getdatabaseencoding() <> 'UTF8' OR encode(bytes, 'hex') !~ ('^(?:0[1-9a-f]|[1-7].|c[2-9a-f][89ab].|d.[89ab].'
        '|e0[ab].[89ab].|e[1-9abcef][89ab].[89ab].|ed[89].[89ab].'
        '|f0[9ab].[89ab].[89ab].|f[123][89ab].[89ab].[89ab].|f48.[89ab].[89ab].)*$') THEN
        RETURN ntt_bytes_as_hex(bytes);
    END IF;
    words := convert_from(bytes, 'UTF8');
    IF words ~ '[\\\x01-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]' THEN
        RETURN ntt_bytes_as_hex(bytes);
    END IF;
    RETURN words;
END
$$;

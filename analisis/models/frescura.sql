-- description: De cada tabla, cuándo llegó lo último y cuánto hace de eso.
-- question: ¿Cómo de reciente es lo que estoy viendo?
-- materialized: view
-- always: false
-- unique: tabla
-- not_null: tabla, ultima_carga, minutos
--
-- Out of the ledger. A run that finds nothing new writes no load: a table may be up to date though its last load is old.
SELECT
    stream AS tabla,
    max(loaded_at) AS ultima_carga,
    CAST(floor(extract(epoch FROM (now() - max(loaded_at))) / 60) AS integer) AS minutos,
    CAST(count(*) AS integer) AS cargas,
    CAST(sum(rows_extracted) AS bigint) AS filas
FROM _acequia_loads
GROUP BY stream

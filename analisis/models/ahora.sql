-- description: Las últimas 24 horas de actividad, hora a hora, hasta el último dato recibido.
-- question: ¿Qué está pasando ahora mismo en los cursos?
-- materialized: view
-- unique: hora
-- not_null: hora, actividades, participantes
-- depends_on: {{ ref('corte') }}
--
-- 24 hours, the last of them that of corte.momento, with those in which nothing happened. hora is a point in time. A view: while
-- acequia follows the source, it is as new as the last change that was loaded; llegada is when the newest of the hour's changes
-- was committed in the source; for rows that came with a snapshot, when that was taken.
WITH horas AS (
    SELECT date_trunc('hour', k.momento AT TIME ZONE 'Europe/Madrid') AT TIME ZONE 'Europe/Madrid'
        - CAST(s.atras AS integer) * interval '1 hour' AS hora
    FROM corte AS k
    CROSS JOIN generate_series(0, 23) AS s(atras)
)
SELECT
    h.hora,
    CAST(count(a.id) AS integer) AS actividades,
    CAST(count(DISTINCT a.participante_id) AS integer) AS participantes,
    CAST(coalesce(sum(CAST((a.detalles ->> 'duracion_s') AS decimal(12, 1))), 0) / 60 AS decimal(12, 1)) AS minutos,
    max(a._acequia_commit_ts) AS llegada
FROM horas AS h
LEFT JOIN actividades_participantes AS a ON a."timestamp" >= h.hora AND a."timestamp" < h.hora + interval '1 hour'
GROUP BY h.hora

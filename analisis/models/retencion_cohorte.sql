-- description: Por mes de inicio del curso y semana desde entonces, qué parte de los participantes sigue: está activa esa semana o más tarde.
-- question: ¿Cuándo abandonan, y va a mejor o a peor?
-- materialized: table
-- unique: mes, semana
-- not_null: mes, semana, inscritos, siguen, retencion
-- depends_on: {{ ref('engagement_participante') }}
-- depends_on: {{ ref('corte') }}
--
-- Counted, as in engagement_curso_semana, are those whose course lasts through the whole of that week, once it is over. Who
-- is still active can only be known of courses under way up to now, so their newest weeks are a lower bound.
WITH plazas AS (
    SELECT
        e.mes,
        s.semana,
        CAST(e.ultima_actividad AT TIME ZONE 'Europe/Madrid' AS date)
            >= e.fecha_inicio + 7 * (CAST(s.semana AS integer) - 1) AS sigue
    FROM engagement_participante AS e
    CROSS JOIN corte AS k
    CROSS JOIN generate_series(1, 12) AS s(semana)
    WHERE e.estado <> 'cancelado'
      AND e.fecha_inicio + 7 * CAST(s.semana AS integer) <= e.fecha_fin + 1
      AND e.fecha_inicio + 7 * CAST(s.semana AS integer) <= k.hoy
)
SELECT
    mes,
    CAST(semana AS integer) AS semana,
    CAST(count(*) AS integer) AS inscritos,
    CAST(count(*) FILTER (WHERE sigue) AS integer) AS siguen,
    CAST(1.0 * count(*) FILTER (WHERE sigue) / count(*) AS decimal(6, 4)) AS retencion
FROM plazas
GROUP BY mes, semana

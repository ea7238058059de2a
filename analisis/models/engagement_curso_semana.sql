-- description: Por curso y semana desde su inicio: cuántos siguen el curso, cuántos estuvieron activos esa semana, y cuánto hicieron.
-- question: ¿Qué curso pierde gente, y en qué semana?
-- materialized: table
-- unique: id_curso, semana
-- not_null: id_curso, curso, semana, inscritos, activos
-- depends_on: {{ ref('actividad') }}
-- depends_on: {{ ref('engagement_participante') }}
-- depends_on: {{ ref('corte') }}
--
-- Counted are the participants whose course lasts through the whole of that week, once the week is over: so that a share
-- falls because people leave, and not because courses end or the week is young. Cancelled sales do not count.
WITH plazas AS (
    SELECT e.id_participante, e.id_curso, e.curso, s.semana
    FROM engagement_participante AS e
    CROSS JOIN corte AS k
    CROSS JOIN generate_series(1, 12) AS s(semana)
    WHERE e.estado <> 'cancelado'
      AND e.fecha_inicio + 7 * CAST(s.semana AS integer) <= e.fecha_fin + 1
      AND e.fecha_inicio + 7 * CAST(s.semana AS integer) <= k.hoy
),
hecho AS (
    SELECT id_participante, semana, count(*) AS actividades, sum(minutos) AS minutos
    FROM actividad
    WHERE estado <> 'cancelado'
    GROUP BY id_participante, semana
)
SELECT
    p.id_curso,
    p.curso,
    CAST(p.semana AS integer) AS semana,
    CAST(count(*) AS integer) AS inscritos,
    CAST(count(h.id_participante) AS integer) AS activos,
    CAST(1.0 * count(h.id_participante) / count(*) AS decimal(6, 4)) AS participacion,
    CAST(coalesce(sum(h.actividades), 0) AS integer) AS actividades,
    CAST(1.0 * coalesce(sum(h.actividades), 0) / count(*) AS decimal(8, 2)) AS actividades_por_inscrito,
    CAST(coalesce(sum(h.minutos), 0) / 60 AS decimal(12, 1)) AS horas
FROM plazas AS p
LEFT JOIN hecho AS h ON h.id_participante = p.id_participante AND h.semana = p.semana
GROUP BY p.id_curso, p.curso, p.semana

-- title: A quién llamar esta semana
-- description: Participantes en riesgo de abandonar un curso en marcha: no han empezado, llevan diez días sin actividad, o su progreso no llega a la mitad de lo transcurrido. Primero, aquellos a quienes queda una semana o más para recuperarse.
-- limit: 10
SELECT
    e.participante,
    e.curso,
    e.cliente,
    e.motivo,
    CAST(round(e.progreso) AS integer) AS "progreso (%)",
    CAST(round(e.transcurrido) AS integer) AS "transcurrido (%)",
    e.dias_sin_actividad AS "días sin actividad",
    e.fecha_fin AS "acaba el"
FROM engagement_participante AS e
CROSS JOIN corte AS k
WHERE e.en_riesgo
ORDER BY
    CASE WHEN e.fecha_fin >= k.hoy + 7 THEN 0 ELSE 1 END,
    e.fecha_fin,
    coalesce(e.dias_sin_actividad, 999) DESC,
    e.curso, e.participante, e.id_participante

-- description: curso_resultado suma las mismas ventas e ingresos que ventas_mes, y los mismos participantes que engagement_participante.
-- depends_on: {{ ref('curso_resultado') }}
-- depends_on: {{ ref('ventas_mes') }}
-- depends_on: {{ ref('engagement_participante') }}
SELECT *
FROM (SELECT coalesce(sum(ventas), 0) AS ventas, coalesce(sum(canceladas), 0) AS canceladas,
             coalesce(sum(ingresos), 0) AS ingresos, coalesce(sum(participantes), 0) AS participantes
      FROM curso_resultado) AS c
CROSS JOIN (SELECT coalesce(sum(ventas), 0) AS ventas_mes, coalesce(sum(canceladas), 0) AS canceladas_mes,
                   coalesce(sum(ingresos), 0) AS ingresos_mes
            FROM ventas_mes WHERE id_curso IN (SELECT id FROM cursos)) AS m
CROSS JOIN (SELECT count(*) AS personas FROM engagement_participante
            WHERE estado <> 'cancelado' AND id_curso IN (SELECT id FROM cursos)) AS e
WHERE c.ventas <> m.ventas_mes OR c.canceladas <> m.canceladas_mes OR c.ingresos <> m.ingresos_mes
   OR c.participantes <> e.personas

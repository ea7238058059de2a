-- description: actividad tiene todas las actividades de la réplica, ni una más, y engagement_participante las suma.
-- depends_on: {{ ref('actividad') }}
-- depends_on: {{ ref('engagement_participante') }}
--
-- An activity is newer than its participant where participantes, read in full, was read earlier in the run: those count apart.
SELECT *
FROM (SELECT count(*) AS en_la_replica FROM actividades_participantes) AS r
CROSS JOIN (SELECT count(*) AS sin_participante
            FROM actividades_participantes AS a
            WHERE NOT EXISTS (
                SELECT 1 FROM participantes AS p JOIN ventas AS v ON v.id = p.venta_id WHERE p.id = a.participante_id
            )) AS s
CROSS JOIN (SELECT count(*) AS en_el_modelo FROM actividad) AS m
CROSS JOIN (SELECT coalesce(sum(actividades), 0) AS por_participante FROM engagement_participante) AS e
WHERE m.en_el_modelo <> r.en_la_replica - s.sin_participante OR e.por_participante <> m.en_el_modelo

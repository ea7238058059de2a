-- description: Cada curso: ventas, ingresos, ocupación, cancelaciones, notas, abandono y lo que ingresa cada hora impartida.
-- question: ¿Qué cursos conviene retirar, y cuáles impulsar?
-- materialized: table
-- unique: id_curso
-- not_null: id_curso, curso, ventas, canceladas, ingresos
-- relationships: id_curso -> cursos.id
-- depends_on: {{ ref('engagement_participante') }}
--
-- Hours count once a sale that was not cancelled. Who left is asked only of courses that have ended; a grade counts when it
-- was given, and passes from 5 on.
WITH vendido AS (
    SELECT
        curso_id,
        count(*) FILTER (WHERE estado <> 'cancelado') AS ventas,
        count(*) FILTER (WHERE estado = 'cancelado') AS canceladas,
        sum(precio_total) FILTER (WHERE estado <> 'cancelado') AS ingresos,
        sum(num_participantes) FILTER (WHERE estado <> 'cancelado') AS plazas
    FROM ventas
    GROUP BY curso_id
),
seguido AS (
    SELECT
        id_curso,
        count(*) FILTER (WHERE estado <> 'cancelado') AS participantes,
        count(*) FILTER (WHERE terminado) AS terminados,
        count(*) FILTER (WHERE abandono) AS abandonos,
        count(calificacion) AS notas,
        avg(calificacion) AS nota_media,
        count(*) FILTER (WHERE calificacion >= 5) AS aprobados
    FROM engagement_participante
    GROUP BY id_curso
)
SELECT
    c.id AS id_curso,
    c.nombre AS curso,
    c.duracion_horas AS horas,
    CAST(coalesce(v.ventas, 0) AS integer) AS ventas,
    CAST(coalesce(v.canceladas, 0) AS integer) AS canceladas,
    CAST(1.0 * v.canceladas / nullif(v.ventas + v.canceladas, 0) AS decimal(6, 4)) AS cancelacion,
    CAST(coalesce(v.ingresos, 0) AS decimal(18, 2)) AS ingresos,
    CAST(v.ingresos / nullif(c.duracion_horas * v.ventas, 0) AS decimal(18, 2)) AS ingresos_por_hora,
    CAST(coalesce(v.plazas, 0) AS integer) AS plazas,
    CAST(coalesce(s.participantes, 0) AS integer) AS participantes,
    CAST(1.0 * s.participantes / nullif(v.plazas, 0) AS decimal(6, 4)) AS ocupacion,
    CAST(coalesce(s.notas, 0) AS integer) AS notas,
    CAST(s.nota_media AS decimal(4, 2)) AS nota_media,
    CAST(1.0 * s.aprobados / nullif(s.notas, 0) AS decimal(6, 4)) AS aprobado,
    CAST(1.0 * s.abandonos / nullif(s.terminados, 0) AS decimal(6, 4)) AS abandono
FROM cursos AS c
LEFT JOIN vendido AS v ON v.curso_id = c.id
LEFT JOIN seguido AS s ON s.id_curso = c.id

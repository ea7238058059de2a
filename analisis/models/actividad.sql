-- description: Cada actividad con su participante, venta, curso y cliente; minutos y progreso, que vienen en «detalles», y el día y la hora en Madrid.
-- question: ¿Qué hizo cada participante, cuándo y en qué curso?
-- materialized: table
-- unique: id_actividad
-- not_null: id_actividad, id_participante, id_venta, curso, cliente, momento, dia, minutos
-- relationships: id_venta -> ventas.id
-- depends_on: {{ ref('clientes_crm') }}
--
-- One row an activity. progreso is NULL, and minutos 0, where an activity has no details. semana counts from 1, from the day
-- on which the course began; it is NULL where the sale has no such day yet.
WITH hechas AS (
    SELECT
        id,
        participante_id,
        tipo_actividad,
        "timestamp" AS momento,
        "timestamp" AT TIME ZONE 'Europe/Madrid' AS en_madrid,
        CAST(coalesce(CAST((detalles ->> 'duracion_s') AS decimal(12, 1)), 0) / 60 AS decimal(12, 2)) AS minutos,
        CAST((detalles ->> 'progreso') AS decimal(5, 1)) AS progreso
    FROM actividades_participantes
)
SELECT
    a.id AS id_actividad,
    a.participante_id AS id_participante,
    p.venta_id AS id_venta,
    v.curso_id AS id_curso,
    coalesce(cu.nombre, 'curso ' || CAST(v.curso_id AS varchar)) AS curso,
    v.cliente_id AS id_cliente,
    coalesce(cl.cliente, 'cliente ' || CAST(v.cliente_id AS varchar)) AS cliente,
    v.estado,
    a.tipo_actividad AS tipo,
    a.momento,
    CAST(a.en_madrid AS date) AS dia,
    CAST(extract(isodow FROM a.en_madrid) AS integer) AS dia_semana,
    CAST(extract(hour FROM a.en_madrid) AS integer) AS hora,
    CAST(floor((CAST(a.en_madrid AS date) - v.fecha_inicio) / 7.0) + 1 AS integer) AS semana,
    a.minutos,
    a.progreso
FROM hechas AS a
JOIN participantes AS p ON p.id = a.participante_id
JOIN ventas AS v ON v.id = p.venta_id
LEFT JOIN cursos AS cu ON cu.id = v.curso_id
LEFT JOIN clientes_crm AS cl ON cl.id_cliente = v.cliente_id

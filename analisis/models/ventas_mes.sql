-- description: Ventas, plazas, ingresos y cancelaciones por mes de la venta, curso y cliente, con la etapa del cliente en el CRM.
-- question: ¿Qué se vende, a quién, crece, y cuánto cuestan las cancelaciones?
-- materialized: table
-- unique: mes, id_curso, id_cliente
-- not_null: mes, id_curso, curso, id_cliente, cliente, etapa, ventas, ingresos, ingresos_cancelados
-- depends_on: {{ ref('clientes_crm') }}
--
-- Streams are read one after the other: a sale may have a course or client that was made after those were read, and is then shown
-- under its number until the next run.
WITH ocupadas AS (
    SELECT venta_id, count(*) AS personas FROM participantes GROUP BY venta_id
)
SELECT
    CAST(date_trunc('month', CAST(v.fecha_venta AS timestamp)) AS date) AS mes,
    v.curso_id AS id_curso,
    coalesce(cu.nombre, 'curso ' || CAST(v.curso_id AS varchar)) AS curso,
    v.cliente_id AS id_cliente,
    coalesce(cl.cliente, 'cliente ' || CAST(v.cliente_id AS varchar)) AS cliente,
    coalesce(cl.etapa, 'sin etapa') AS etapa,
    CAST(count(*) FILTER (WHERE v.estado <> 'cancelado') AS integer) AS ventas,
    CAST(count(*) FILTER (WHERE v.estado = 'cancelado') AS integer) AS canceladas,
    CAST(coalesce(sum(v.num_participantes) FILTER (WHERE v.estado <> 'cancelado'), 0) AS integer) AS plazas,
    CAST(coalesce(sum(o.personas) FILTER (WHERE v.estado <> 'cancelado'), 0) AS integer) AS plazas_ocupadas,
    CAST(coalesce(sum(v.precio_total) FILTER (WHERE v.estado <> 'cancelado'), 0) AS decimal(18, 2)) AS ingresos,
    CAST(coalesce(sum(v.precio_total) FILTER (WHERE v.estado = 'cancelado'), 0) AS decimal(18, 2)) AS ingresos_cancelados
FROM ventas AS v
LEFT JOIN cursos AS cu ON cu.id = v.curso_id
LEFT JOIN clientes_crm AS cl ON cl.id_cliente = v.cliente_id
LEFT JOIN ocupadas AS o ON o.venta_id = v.id
GROUP BY
    CAST(date_trunc('month', CAST(v.fecha_venta AS timestamp)) AS date),
    v.curso_id, cu.nombre, v.cliente_id, cl.cliente, coalesce(cl.etapa, 'sin etapa')

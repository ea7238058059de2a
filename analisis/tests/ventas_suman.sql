-- description: ventas_mes suma lo mismo que ventas: ventas, plazas, ingresos y cancelaciones.
-- depends_on: {{ ref('ventas_mes') }}
SELECT *
FROM (
    SELECT sum(ventas) AS ventas, sum(canceladas) AS canceladas, sum(plazas) AS plazas, sum(ingresos) AS ingresos,
           sum(ingresos_cancelados) AS ingresos_cancelados
    FROM ventas_mes
) AS m
CROSS JOIN (
    SELECT count(*) FILTER (WHERE estado <> 'cancelado') AS ventas_origen,
           count(*) FILTER (WHERE estado = 'cancelado') AS canceladas_origen,
           coalesce(sum(num_participantes) FILTER (WHERE estado <> 'cancelado'), 0) AS plazas_origen,
           coalesce(sum(precio_total) FILTER (WHERE estado <> 'cancelado'), 0) AS ingresos_origen,
           coalesce(sum(precio_total) FILTER (WHERE estado = 'cancelado'), 0) AS ingresos_cancelados_origen
    FROM ventas
) AS v
WHERE coalesce(m.ventas, 0) <> v.ventas_origen
   OR coalesce(m.canceladas, 0) <> v.canceladas_origen
   OR coalesce(m.plazas, 0) <> v.plazas_origen
   OR coalesce(m.ingresos, 0) <> v.ingresos_origen
   OR coalesce(m.ingresos_cancelados, 0) <> v.ingresos_cancelados_origen

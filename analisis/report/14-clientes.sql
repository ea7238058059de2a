-- title: Clientes
-- description: Lo que ingresó cada cliente, en euros, en los últimos doce meses completos y en los doce anteriores.
-- limit: 10
SELECT
    c.cliente,
    CASE c.etapa WHEN 'customer' THEN 'Cliente' WHEN 'opportunity' THEN 'Oportunidad' WHEN 'lead' THEN 'Prospecto'
        ELSE coalesce(c.etapa, '–') END AS "etapa",
    CAST(round(sum(m.ingresos) FILTER (WHERE m.mes >= k.desde)) AS bigint) AS "12 meses (€)",
    CAST(round(sum(m.ingresos) FILTER (WHERE m.mes < k.desde)) AS bigint) AS "12 anteriores (€)",
    CAST(round(100 * (sum(m.ingresos) FILTER (WHERE m.mes >= k.desde)
        / nullif(sum(m.ingresos) FILTER (WHERE m.mes < k.desde), 0) - 1)) AS integer) AS "cambio (%)",
    CAST(sum(m.ventas) FILTER (WHERE m.mes >= k.desde) AS integer) AS "ventas",
    c.ultima_venta AS "última venta"
FROM clientes_crm AS c
CROSS JOIN (
    SELECT CAST(date_trunc('month', CAST(hoy AS timestamp)) - interval '12 months' AS date) AS desde,
           CAST(date_trunc('month', CAST(hoy AS timestamp)) - interval '24 months' AS date) AS antes,
           CAST(date_trunc('month', CAST(hoy AS timestamp)) AS date) AS hasta
    FROM corte
) AS k
JOIN ventas_mes AS m ON m.id_cliente = c.id_cliente AND m.mes >= k.antes AND m.mes < k.hasta
GROUP BY c.cliente, c.etapa, c.ultima_venta
HAVING sum(m.ingresos) > 0
ORDER BY coalesce(sum(m.ingresos) FILTER (WHERE m.mes >= k.desde), 0) DESC, c.cliente

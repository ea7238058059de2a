-- title: Clientes
-- description: Cada cliente con sus ventas, las canceladas y lo que ha pagado.
-- limit: 10
SELECT cl.nombre AS cliente, count(*) AS ventas, count(CASE WHEN v.estado = 'cancelado' THEN 1 END) AS canceladas,
       sum(CASE WHEN v.estado <> 'cancelado' THEN v.precio_total ELSE 0 END) AS ingresos, max(v.fecha_venta) AS ultima_venta
FROM ventas v JOIN clientes cl ON cl.id = v.cliente_id
GROUP BY 1
ORDER BY 4 DESC, 1;

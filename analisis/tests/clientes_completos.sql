-- description: clientes_crm tiene exactamente los clientes de la operativa, y sus ingresos suman los de las ventas sin cancelar.
-- depends_on: {{ ref('clientes_crm') }}
SELECT 'falta o sobra' AS que, CAST(coalesce(c.id, k.id_cliente) AS varchar) AS detalle
FROM clientes AS c
FULL JOIN clientes_crm AS k ON k.id_cliente = c.id
WHERE c.id IS NULL OR k.id_cliente IS NULL
UNION ALL
SELECT 'ingresos', CAST(k.total AS varchar)
FROM (SELECT coalesce(sum(ingresos), 0) AS total FROM clientes_crm) AS k
CROSS JOIN (SELECT coalesce(sum(precio_total), 0) AS total FROM ventas
            WHERE estado <> 'cancelado' AND cliente_id IN (SELECT id FROM clientes)) AS v
WHERE k.total <> v.total

-- description: De las empresas del CRM, cuántas llegan a cada paso: son clientes, compran, no cancelan y repiten en doce meses.
-- question: ¿Dónde pierde clientes el embudo comercial?
-- materialized: table
-- unique: paso
-- not_null: paso, nombre, empresas
-- depends_on: {{ ref('clientes_crm') }}
--
-- Each step counts a part of the one before: companies are counted once a domain, or by themselves where they have none.
WITH vivas AS (
    SELECT DISTINCT coalesce(nullif(lower(trim(domain)), ''), id) AS empresa
    FROM companies
    WHERE NOT archived AND deleted_at IS NULL AND merged_into IS NULL
),
compras AS (
    SELECT
        cliente_id,
        count(*) AS pedidas,
        count(*) FILTER (WHERE estado <> 'cancelado') AS firmes,
        min(fecha_venta) FILTER (WHERE estado <> 'cancelado') AS primera
    FROM ventas
    GROUP BY cliente_id
),
empresas AS (
    SELECT
        e.empresa,
        max(CASE WHEN c.id_cliente IS NOT NULL THEN 1 ELSE 0 END) AS es_cliente,
        max(CASE WHEN v.pedidas > 0 THEN 1 ELSE 0 END) AS pide,
        max(CASE WHEN v.firmes > 0 THEN 1 ELSE 0 END) AS compra,
        max(CASE WHEN v.firmes > 0 AND EXISTS (
            SELECT 1 FROM ventas AS r
            WHERE r.cliente_id = v.cliente_id AND r.estado <> 'cancelado'
              AND r.fecha_venta > v.primera AND r.fecha_venta <= v.primera + 365
        ) THEN 1 ELSE 0 END) AS repite
    FROM vivas AS e
    LEFT JOIN clientes_crm AS c ON c.dominio = e.empresa
    LEFT JOIN compras AS v ON v.cliente_id = c.id_cliente
    GROUP BY e.empresa
),
pasos AS (
    SELECT 1 AS paso, 'Empresas en el CRM' AS nombre, count(*) AS empresas FROM empresas
    UNION ALL SELECT 2, 'Son clientes', sum(es_cliente) FROM empresas
    UNION ALL SELECT 3, 'Han pedido un curso', sum(pide) FROM empresas
    UNION ALL SELECT 4, 'Compran (sin cancelar)', sum(compra) FROM empresas
    UNION ALL SELECT 5, 'Repiten en 12 meses', sum(repite) FROM empresas
)
SELECT
    paso,
    nombre,
    CAST(coalesce(empresas, 0) AS integer) AS empresas,
    CAST(1.0 * empresas / nullif(lag(empresas) OVER (ORDER BY paso), 0) AS decimal(6, 4)) AS del_anterior,
    CAST(1.0 * empresas / nullif(first_value(empresas) OVER (ORDER BY paso), 0) AS decimal(6, 4)) AS del_total
FROM pasos

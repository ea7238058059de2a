-- description: Cada cliente con su empresa en el CRM y lo que ha comprado.
-- question: ¿Quién es este cliente en el CRM, en qué etapa está y qué nos ha comprado?
-- materialized: table
-- unique: id_cliente
-- unique: cliente
-- not_null: id_cliente, cliente, empresas_con_su_dominio, ventas, ingresos
-- relationships: id_cliente -> clientes.id
--
-- One row a client. Its company is the newest of the live ones (neither archived, nor deleted, nor merged into another) that
-- have its domain, however that is written. Two clients of one name are told apart by their numbers.
WITH empresas AS (
    SELECT
        id,
        name,
        lower(trim(domain)) AS dominio,
        lifecyclestage,
        industry,
        city,
        numberofemployees,
        hubspot_owner_id,
        count(*) OVER (PARTITION BY lower(trim(domain))) AS cuantas,
        row_number() OVER (PARTITION BY lower(trim(domain)) ORDER BY createdate DESC NULLS LAST, id DESC) AS lugar
    FROM companies
    WHERE NOT archived AND deleted_at IS NULL AND merged_into IS NULL AND trim(domain) <> ''
),
compras AS (
    SELECT
        cliente_id,
        count(*) AS ventas,
        sum(precio_total) AS ingresos,
        min(fecha_venta) AS primera_venta,
        max(fecha_venta) AS ultima_venta
    FROM ventas
    WHERE estado <> 'cancelado'
    GROUP BY cliente_id
)
SELECT
    c.id AS id_cliente,
    CASE WHEN count(*) OVER (PARTITION BY c.nombre) > 1
         THEN c.nombre || ' (' || CAST(c.id AS varchar) || ')' ELSE c.nombre END AS cliente,
    lower(trim(c.dominio)) AS dominio,
    CAST(c.fecha_registro AT TIME ZONE 'Europe/Madrid' AS date) AS alta,
    e.id AS id_empresa,
    e.name AS empresa,
    e.lifecyclestage AS etapa,
    e.industry AS sector,
    e.city AS ciudad,
    CAST(e.numberofemployees AS integer) AS empleados,
    e.hubspot_owner_id AS id_responsable,
    CAST(coalesce(e.cuantas, 0) AS integer) AS empresas_con_su_dominio,
    CAST(coalesce(v.ventas, 0) AS integer) AS ventas,
    CAST(coalesce(v.ingresos, 0) AS decimal(18, 2)) AS ingresos,
    v.primera_venta,
    v.ultima_venta
FROM clientes AS c
LEFT JOIN empresas AS e ON e.dominio = lower(trim(c.dominio)) AND e.lugar = 1
LEFT JOIN compras AS v ON v.cliente_id = c.id

-- description: Lo que no encaja entre el CRM y la operativa, caso por caso.
-- question: ¿Qué tiene que arreglar el equipo comercial en el CRM?
-- materialized: table
-- unique: hueco, id
-- not_null: hueco, id, nombre, arreglo
-- depends_on: {{ ref('clientes_crm') }}
WITH vivas AS (
    SELECT id, name, lower(trim(domain)) AS dominio, lifecyclestage, createdate,
           row_number() OVER (PARTITION BY lower(trim(domain)) ORDER BY createdate DESC NULLS LAST, id DESC) AS lugar
    FROM companies
    WHERE NOT archived AND deleted_at IS NULL AND merged_into IS NULL
)
SELECT
    'empresa sin cliente' AS hueco,
    e.id,
    coalesce(e.name, '(sin nombre)') AS nombre,
    e.dominio,
    e.lifecyclestage AS etapa,
    CAST(0 AS decimal(18, 2)) AS ingresos,
    CASE WHEN e.dominio IS NULL THEN 'Completar el dominio de la empresa'
         WHEN e.lifecyclestage = 'customer' THEN 'Es cliente según el CRM: corregir su dominio'
         ELSE 'Prospecto: ningún cliente tiene este dominio' END AS arreglo
FROM vivas AS e
LEFT JOIN clientes_crm AS c ON c.dominio = e.dominio
WHERE c.id_cliente IS NULL
UNION ALL
SELECT
    'empresa repetida', e.id, coalesce(e.name, '(sin nombre)'), e.dominio, e.lifecyclestage, CAST(0 AS decimal(18, 2)),
    'Fusionar con la empresa más reciente de este dominio'
FROM vivas AS e
WHERE e.dominio IS NOT NULL AND e.lugar > 1
UNION ALL
SELECT
    'cliente sin empresa', CAST(id_cliente AS varchar), cliente, dominio, CAST(NULL AS varchar), ingresos,
    CASE WHEN dominio IS NULL THEN 'Completar el dominio del cliente'
         ELSE 'Crear la empresa en el CRM, o corregir su dominio' END
FROM clientes_crm
WHERE id_empresa IS NULL
UNION ALL
SELECT
    'compra sin ser cliente', CAST(id_cliente AS varchar), cliente, dominio, etapa, ingresos,
    'Pasar la empresa a la etapa de cliente («customer»)'
FROM clientes_crm
WHERE id_empresa IS NOT NULL AND ventas > 0 AND coalesce(etapa, '') <> 'customer'
UNION ALL
SELECT
    'cliente que no compra', CAST(id_cliente AS varchar), cliente, dominio, etapa, ingresos,
    'Revisar la etapa: no hay ninguna venta'
FROM clientes_crm
WHERE id_empresa IS NOT NULL AND ventas = 0 AND etapa = 'customer'

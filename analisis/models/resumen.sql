-- description: Los indicadores de la cabecera: los últimos doce meses completos (o los últimos treinta días) frente a los anteriores.
-- question: ¿Cómo va la empresa, en una línea?
-- materialized: table
-- unique: orden
-- not_null: orden, indicador, valor
-- depends_on: {{ ref('ventas_mes') }}
-- depends_on: {{ ref('actividad') }}
-- depends_on: {{ ref('engagement_participante') }}
-- depends_on: {{ ref('corte') }}
WITH meses AS (
    SELECT
        m.*,
        CASE WHEN m.mes >= k.este_mes - interval '12 months' AND m.mes < k.este_mes THEN 1
             WHEN m.mes >= k.este_mes - interval '24 months' AND m.mes < k.este_mes - interval '12 months' THEN 2 END AS anyo
    FROM ventas_mes AS m
    CROSS JOIN (SELECT date_trunc('month', CAST(hoy AS timestamp)) AS este_mes FROM corte) AS k
),
vendido AS (
    SELECT
        sum(ingresos) FILTER (WHERE anyo = 1) AS ingresos,
        sum(ingresos) FILTER (WHERE anyo = 2) AS ingresos_antes,
        1.0 * sum(canceladas) FILTER (WHERE anyo = 1) / nullif(sum(ventas + canceladas) FILTER (WHERE anyo = 1), 0) AS canceladas,
        1.0 * sum(canceladas) FILTER (WHERE anyo = 2) / nullif(sum(ventas + canceladas) FILTER (WHERE anyo = 2), 0)
            AS canceladas_antes,
        1.0 * sum(plazas_ocupadas) FILTER (WHERE anyo = 1) / nullif(sum(plazas) FILTER (WHERE anyo = 1), 0) AS ocupacion,
        1.0 * sum(plazas_ocupadas) FILTER (WHERE anyo = 2) / nullif(sum(plazas) FILTER (WHERE anyo = 2), 0) AS ocupacion_antes
    FROM meses
),
activos AS (
    SELECT
        count(DISTINCT id_participante) FILTER (WHERE a.dia > k.hoy - 30) AS activos,
        count(DISTINCT id_participante) FILTER (WHERE a.dia <= k.hoy - 30) AS activos_antes
    FROM actividad AS a
    CROSS JOIN corte AS k
    WHERE a.dia > k.hoy - 60 AND a.dia <= k.hoy
),
personas AS (
    SELECT
        count(*) FILTER (WHERE en_riesgo) AS en_riesgo,
        count(*) FILTER (WHERE en_marcha) AS en_marcha,
        1.0 * count(*) FILTER (WHERE abandono AND fecha_fin > k.hoy - 365)
            / nullif(count(*) FILTER (WHERE terminado AND fecha_fin > k.hoy - 365), 0) AS abandono,
        1.0 * count(*) FILTER (WHERE abandono AND fecha_fin <= k.hoy - 365 AND fecha_fin > k.hoy - 730)
            / nullif(count(*) FILTER (WHERE terminado AND fecha_fin <= k.hoy - 365 AND fecha_fin > k.hoy - 730), 0)
            AS abandono_antes
    FROM engagement_participante
    CROSS JOIN corte AS k
)
SELECT 1 AS orden, 'Ingresos, 12 meses' AS indicador, 'euros' AS unidad,
       CAST(coalesce(ingresos, 0) AS decimal(18, 4)) AS valor, CAST(ingresos_antes AS decimal(18, 4)) AS antes
FROM vendido
UNION ALL
SELECT 2, 'Ventas canceladas', 'parte', CAST(coalesce(canceladas, 0) AS decimal(18, 4)),
       CAST(canceladas_antes AS decimal(18, 4))
FROM vendido
UNION ALL
SELECT 3, 'Plazas ocupadas', 'parte', CAST(coalesce(ocupacion, 0) AS decimal(18, 4)), CAST(ocupacion_antes AS decimal(18, 4))
FROM vendido
UNION ALL
SELECT 4, 'Abandonan el curso', 'parte', CAST(coalesce(abandono, 0) AS decimal(18, 4)), CAST(abandono_antes AS decimal(18, 4))
FROM personas
UNION ALL
SELECT 5, 'Activos, 30 días', 'personas', CAST(activos AS decimal(18, 4)), CAST(activos_antes AS decimal(18, 4))
FROM activos
UNION ALL
SELECT 6, 'En riesgo hoy', 'personas', CAST(en_riesgo AS decimal(18, 4)), CAST(NULL AS decimal(18, 4))
FROM personas

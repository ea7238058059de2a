-- title: Todos los cursos
-- description: Lo que ingresa cada curso y cómo les va a quienes lo siguen. Las partes, en tanto por ciento.
-- limit: 12
SELECT
    curso,
    ventas,
    CAST(round(ingresos) AS bigint) AS "ingresos (€)",
    CAST(round(ingresos_por_hora) AS integer) AS "€ por hora",
    CAST(100 * cancelacion AS decimal(5, 1)) AS "canceladas (%)",
    CAST(100 * ocupacion AS decimal(5, 1)) AS "ocupación (%)",
    participantes,
    nota_media AS "nota media",
    CAST(100 * aprobado AS decimal(5, 1)) AS "aprobados (%)",
    CAST(100 * abandono AS decimal(5, 1)) AS "abandonan (%)"
FROM curso_resultado
WHERE ventas + canceladas > 0
ORDER BY ingresos DESC, curso

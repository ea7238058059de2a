-- description: Participación, retención, cancelación, aprobados y abandono están entre 0 y 1.
-- depends_on: {{ ref('engagement_curso_semana') }}
-- depends_on: {{ ref('retencion_cohorte') }}
-- depends_on: {{ ref('curso_resultado') }}
SELECT 'participacion' AS parte, participacion AS valor FROM engagement_curso_semana WHERE participacion NOT BETWEEN 0 AND 1
UNION ALL
SELECT 'retencion', retencion FROM retencion_cohorte WHERE retencion NOT BETWEEN 0 AND 1
UNION ALL
SELECT 'cancelacion', cancelacion FROM curso_resultado WHERE cancelacion NOT BETWEEN 0 AND 1
UNION ALL
SELECT 'aprobado', aprobado FROM curso_resultado WHERE aprobado NOT BETWEEN 0 AND 1
UNION ALL
SELECT 'abandono', abandono FROM curso_resultado WHERE abandono NOT BETWEEN 0 AND 1

-- description: Solo está en riesgo quien sigue un curso en marcha, y siempre con su motivo.
-- depends_on: {{ ref('engagement_participante') }}
SELECT id_participante, estado, fecha_inicio, fecha_fin, motivo
FROM engagement_participante
WHERE en_riesgo <> (motivo IS NOT NULL)
   OR en_riesgo AND NOT en_marcha
   OR en_marcha AND (estado = 'cancelado' OR fecha_inicio IS NULL OR fecha_fin IS NULL)
   OR abandono AND NOT terminado

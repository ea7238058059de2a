-- description: Entre quienes cursan las mismas semanas, nadie vuelve después de haberse ido: «siguen» no crece de una semana a otra.
-- depends_on: {{ ref('retencion_cohorte') }}
SELECT mes, semana, siguen
FROM (
    SELECT mes, semana, siguen, lag(siguen) OVER (PARTITION BY mes ORDER BY semana) AS antes
    FROM retencion_cohorte
) AS r
WHERE siguen > antes
